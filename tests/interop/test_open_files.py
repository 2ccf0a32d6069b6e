"""The open data: every file is recognised, and holds what its README says."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from qmodel.fit.arrivals import characterise
from qmodel.interop import Options, read_file
from tests.interop.samples import DATA

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the open data are not in {DATA} (set QMODEL_DATA)")
KINDS = {
    "bench/guidellm.csv": ("guidellm-csv", 12),
    "bench/guidellm_0.8.1_poisson20_bug.json.gz": ("guidellm", 400),
    "bench/vllm_bench_serve_detailed.json": ("vllm-serve", 60),
    "profiling/distserve_profiler-a100-80g.distserve.json": ("distserve", 63),
    "profiling/lambda_diffusers_sd14.csv": ("lambda-diffusers", 80),
    "profiling/llmservingsim_RTX4090_llama3.1-8b_tp1_attention.csv": ("llmservingsim", 8643),
    "profiling/mlenergy_v2_diffusion_a100.csv": ("mlenergy-diffusion", 54),
    "profiling/mlenergy_v2_llm_a100.csv": ("mlenergy-llm", 190),
    "profiling/splitwise_perf_llama2-70b.csv": ("splitwise", 1890),
    "profiling/vidur_a100_dgx_all_reduce.csv": ("vidur", 6958),
    "profiling/vidur_a100_llama3-8b_mlp.csv": ("vidur", 20064),
    "serving/aiconfigurator_silicon_hopper.csv": ("aiconfigurator-silicon", 1884),
    "serving/inferencex_token_position_qwen3.5.csv": ("inferencex", 45),
    "serving/llmperf_anyscale_7b_individual.json": ("llmperf", 150),
    "serving/llmservingsim_RTX4090_Llama-3.1-8B_requests.jsonl": ("vllm-requests", 300),
    "serving/llmservingsim_RTX4090_Llama-3.1-8B_timeseries.csv": ("vllm-series", 5),
    "traces/azure_llm_2023_code.csv": ("azure", 8819),
    "traces/mooncake_fast25_conversation.jsonl": ("mooncake", 12031),
    "traces/servegen_m-small_client_windows.csv": ("servegen", 40095),
    "traces/sharegpt_8k_lengths_llama2tok.csv": ("vidur-trace", 30731),
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_recognised(name: str) -> None:
    found = read_file(DATA / name)
    assert (found.kind, len(found.frame)) == KINDS[name]


def findings(name: str, kind: str) -> list:
    return [one for one in read_file(DATA / name).findings if one.kind == kind]


def test_guidellm_is_refused_the_name_of_poisson() -> None:
    found = read_file(DATA / "bench/guidellm_0.8.1_poisson20_bug.json.gz")
    shown = characterise(found.frame["scheduled_s"], found.nominal_rate, found.nominal)
    assert found.nominal == "poisson" and shown.refused_name
    assert shown.tests.rate == pytest.approx(27.7, abs=0.05)
    assert shown.tests.cv == pytest.approx(1.56, abs=0.01)
    assert shown.tests.lag1 == pytest.approx(0.27, abs=0.01)
    assert dict(shown.shape.dispersion)[1.0] == pytest.approx(12, abs=1)
    assert shown.shape.repeated_gaps > 0.5


def test_vllm_keeps_the_name() -> None:
    found = read_file(DATA / "bench/vllm_bench_serve_detailed.json")
    assert not characterise(found.frame["scheduled_s"], found.nominal_rate, found.nominal).refused_name


def test_azure_gaps_apart_from_bursts() -> None:
    shown = characterise(read_file(DATA / "traces/azure_llm_2023_code.csv").frame["scheduled_s"])
    assert shown.shape.cv == pytest.approx(13.2, abs=0.1)
    assert [round(dict(shown.shape.dispersion)[w]) for w in (1.0, 10.0, 60.0)] == [13, 72, 167]
    quiet = shown.shape.silences
    assert quiet is not None and 0.6 < quiet.share < 0.8 and 1.5 < quiet.cv_without < 3.1


def test_azure_prompts_are_capped() -> None:
    caps = findings("traces/azure_llm_2023_code.csv", "atom")
    assert any("input_tokens are from 7435 to 7437, the largest of all: a cap" in one.sentence for one in caps)


def test_mooncake_stamps_are_quantised() -> None:
    (one,) = findings("traces/mooncake_fast25_conversation.jsonl", "quantised")
    assert "grid of 3 s and 90 %" in one.sentence


def test_splitwise_invalid_cells_and_copies() -> None:
    cells = [one.sentence for one in findings("profiling/splitwise_perf_llama2-70b.csv", "implausible")]
    for device in ("a100-80gb", "h100-80gb"):
        assert any(f"on {device} with tensor_parallel = 2, batch_size = 64" in one for one in cells)
    assert not any("tensor_parallel = 4" in one or "tensor_parallel = 8" in one for one in cells)
    (copies,) = findings("profiling/splitwise_perf_llama2-70b.csv", "copies")
    assert copies.count == 180  # 10 of each base cell: 2 devices x 3 degrees x 3 phases


def test_aiconfigurator_repeats() -> None:
    (copies,) = findings("serving/aiconfigurator_silicon_hopper.csv", "copies")
    assert copies.count == 222


def test_sharegpt_repeats_a_fifth() -> None:
    (copies,) = findings("traces/sharegpt_8k_lengths_llama2tok.csv", "copies")
    assert copies.count / 30731 == pytest.approx(0.20, abs=0.01)


def test_servegen_totals() -> None:
    origin = read_file(DATA / "traces/servegen_m-small_client_windows.csv").origin
    assert (origin["clients"], round(origin["mean_total_rate"])) == (43, 1196)
    assert origin["rate_weighted_gap_cv"] == pytest.approx(3.58, abs=0.01)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs the parquet extra")
def test_aiconfigurator_parquet() -> None:
    found = read_file(DATA / "profiling/aiconfigurator_h200_vllm0.22_gemm.parquet")
    assert len(found.frame) == 65268 and set(found.factors) == {"phase", "gemm_dtype", "m", "n", "k"}


def test_decode_iteration_composed_over_layers() -> None:
    """32 times attention and the kernels of a layer (two norms), and once embedding, final norm and head."""
    stem = str(DATA / "profiling/llmservingsim_RTX4090_llama3.1-8b_tp1_")
    frame = read_file(f"{stem}attention.csv", options=Options(layers=32)).frame
    at = (frame["phase"] == "decode") & (frame["batch_size"] == 64) & (frame["context_tokens"] == 1024)
    dense = pd.read_csv(f"{stem}dense.csv").query("tokens == 64").set_index("layer")["time_us"]
    once = dense["embedding"] + dense["final_layernorm"]
    layer = dense.sum() - once + dense["layernorm"]
    head = pd.read_csv(f"{stem}per_sequence.csv").query("sequences == 64")["time_us"].sum()
    attention = pd.read_csv(f"{stem}attention.csv").query(
        "prefill_chunk == 0 and n_decode == 64 and kv_decode == 1024"
    )
    expected = 1e-6 * (32 * (attention["time_us"].item() + layer) + once + head)
    assert frame.loc[at, "latency_s"].item() == pytest.approx(expected, rel=1e-12)
    assert np.isfinite(frame.loc[frame["status"] == "ok", "latency_s"]).all()
