"""`qmodel import` and `qmodel fit` as typed: what is printed where, and what is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Done
from tests.interop import samples
from tests.interop.samples import SYNTHETIC

Command = Callable[..., Done]


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_trace_is_told_and_written(qmodel: Command, tmp_path: Path) -> None:
    done = qmodel("import", put(tmp_path, "x", samples.azure(200)), "-o", tmp_path / "log.csv")
    assert done.code == 0 and "Azure LLM inference trace (azure)" in done.out
    assert "ContextTokens -> input_tokens" in done.out
    assert "consistent with a Poisson process: 200 arrivals" in " ".join(done.out.split())
    assert 'replay: arrivals = "trace:log.csv"' in done.out
    frame = pd.read_csv(tmp_path / "log.csv")
    assert len(frame) == 200 and frame["input_tokens"].dtype.kind == "i"
    meta = tomllib.loads((tmp_path / "log.meta.toml").read_text())
    assert meta["source"]["kind"] == "azure" and meta["arrivals"]["tests"]["poisson"]
    assert meta["mapping"][0]["ours"] == "scheduled_s"


def test_lines_keep_to_eighty_columns(qmodel: Command, tmp_path: Path) -> None:
    for name, (file, text) in SYNTHETIC.items():
        lines = qmodel("import", put(tmp_path, file, text)).out.splitlines()[1:]
        assert max(len(line) for line in lines if "paste" not in line) <= 80, name


def test_what_was_written_reads_back_and_replays(qmodel: Command, tmp_path: Path) -> None:
    qmodel("import", put(tmp_path, "x", samples.vllm_serve(120)), "-o", tmp_path / "log.csv")
    again = qmodel("import", tmp_path / "log.csv")
    assert again.code == 0 and "qmodel request log (log)" in again.out
    words = ("--arrivals", f"trace:{tmp_path / 'log.csv'}", "--service", "exponential:0.01", "--json")
    found = json.loads(qmodel("predict", *words, "--method", "simulation", "--requests", "1000").out)
    assert found["results"][0]["rate"] == pytest.approx(4.0, rel=0.2)


def test_guidellm_is_refused_the_name(qmodel: Command, tmp_path: Path) -> None:
    document = json.loads(samples.guidellm(200))
    requests = document["benchmarks"][0]["requests"]["successful"]
    for k, request in enumerate(requests):  # each gap used ten times
        timings = request["info"]["timings"]
        shift = 1.7e9 + 10.0 * samples.poisson(20, 5.0)[k // 10] + 0.01 * (k % 10) - timings["targeted_start"]
        request["info"]["timings"] = {name: value + shift for name, value in timings.items()}
    done = qmodel("import", put(tmp_path, "g.json", json.dumps(document)))
    assert "poisson at 5/s: REFUSED, these arrivals are not Poisson" in done.out
    assert "warning: said to be Poisson, and is not: not Poisson (" in done.err


def test_a_fitted_process_can_be_asked_about(qmodel: Command, tmp_path: Path) -> None:
    import numpy as np

    from qmodel.workload.markov_arrivals import Mmpp

    times = Mmpp((20.0, 2.0), ((-0.1, 0.1), (0.05, -0.05))).times(np.random.default_rng(1), 500.0)
    rows = [[f"{t:.6f}", 10, 10] for t in times]
    path = put(tmp_path, "t.csv", samples.table("arrived_at,num_prefill_tokens,num_decode_tokens", rows))
    process = tmp_path / "p.json"
    done = qmodel("import", path, "--arrivals", process)
    assert done.code == 0 and f"wrote {process}" in done.err
    kind = json.loads(process.read_text())["process"]
    assert kind in ("mmpp", "map")
    words = ("--arrivals", f"{kind}:{process}", "--service", "exponential:0.05", "--json", "--requests", "1000")
    found = json.loads(qmodel("predict", *words, "--method", "simulation").out)
    assert found["results"][0]["rate"] == pytest.approx((times.size - 1) / (times[-1] - times[0]), rel=1e-6)


def test_no_process_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    path = put(tmp_path, "p.csv", samples.lambda_diffusers())
    from qmodel.cli import run

    assert run(["import", str(path), "--arrivals", str(tmp_path / "p.json")]) == 2
    assert not (tmp_path / "p.json").exists()


def test_an_answer_is_written(qmodel: Command, tmp_path: Path) -> None:
    scenario = put(tmp_path, "s.toml", "[policy]\npreset = 'ps'\n[[class]]\nname = 'chat'\narrivals = 'poisson:4'\n"
                                       "service = 'exponential:0.1'\n")  # fmt: skip
    out = tmp_path / "a.json"
    qmodel("import", put(tmp_path, "x", samples.vllm_serve(60)), "--answer", out, "--scenario", scenario)
    result = json.loads(out.read_text())["results"][0]
    assert (result["policy"], result["rate"], result["method"]) == ("ps", 4.0, "measured")
    assert result["source"].startswith("vLLM bench serve result: ")


def test_findings_are_warnings_with_lines(qmodel: Command, tmp_path: Path) -> None:
    done = qmodel("import", put(tmp_path, "x.csv", samples.splitwise()))
    assert "tensor_parallel = 2, batch_size = 64" in done.err and "(lines 20, 21, 22)" in done.err


def test_json_is_whole(qmodel: Command, tmp_path: Path) -> None:
    for name in ("azure", "splitwise", "llmperf", "metrics", "servegen"):
        file, text = SYNTHETIC[name]
        found = json.loads(qmodel("import", put(tmp_path, file, text), "--json").out)
        assert name.startswith(found["source"]["kind"]) and "NaN" not in json.dumps(found)


def test_formats_are_listed(qmodel: Command) -> None:
    assert "guidellm-csv" in qmodel("import", "-", "--from", "?").out


def test_any_csv(qmodel: Command, refused: Callable[..., str], tmp_path: Path) -> None:
    path = put(tmp_path, "x.csv", "n,t\n1,5.0\n2,7.0\n4,11.0\n")
    assert "never assumed" in refused("import", path, "--response", "t", "--factors", "n")
    done = qmodel("import", path, "--response", "t", "--factors", "n", "--unit", "ms", "-o", tmp_path / "o.csv")
    assert done.code == 0
    assert pd.read_csv(tmp_path / "o.csv")["latency_s"].tolist() == [0.005, 0.007, 0.011]


def test_levels_and_layers(qmodel: Command, refused: Callable[..., str], tmp_path: Path) -> None:
    path = put(tmp_path, "l.json", samples.vllm_latency())
    done = qmodel("import", path, "--level", "batch_size=8", "-o", tmp_path / "o.csv")
    assert done.code == 0 and set(pd.read_csv(tmp_path / "o.csv")["batch_size"]) == {8}
    lone = put(tmp_path, "attention.csv", samples.KERNELS["attention"])
    assert "does not exist" in refused("import", lone, "--layers", "4")
    put(tmp_path, "dense.csv", samples.KERNELS["dense"])
    put(tmp_path, "per_sequence.csv", samples.KERNELS["attention"])
    assert "is no table of per_sequence kernels" in refused("import", lone, "--layers", "4")


def test_faster_than_memory_is_named(qmodel: Command, refused: Callable[..., str], tmp_path: Path) -> None:
    path = put(tmp_path, "p.csv", samples.own_profile())
    assert "too fast" not in qmodel("import", path, "--device", "h200", "--reads", "1M").err
    done = qmodel("import", path, "--device", "h200", "--reads", "48G")  # 10 ms; the profile begins at 5 ms
    assert "faster than the 10 ms in which 4800 GB/s of memory could read 48 GB once" in done.err
    assert "go together" in refused("import", path, "--device", "h200")
    assert "did you mean" in refused("import", path, "--device", "h20", "--reads", "1G")
    trace = put(tmp_path, "t.csv", samples.azure())
    assert "is for measured times" in refused("import", trace, "--device", "h200", "--reads", "1G")


# --- qmodel fit -------------------------------------------------------------------------------------------


def test_fit_reads_the_files_of_others(qmodel: Command, tmp_path: Path) -> None:
    path = put(tmp_path, "x.csv", samples.splitwise())
    words = ("--phase", "prefill", "--where", "tensor_parallel=8")
    done = qmodel("fit", path, *words, "-o", tmp_path / "m.json")
    assert done.code == 0, done.err
    assert "tensor_parallel = 2, batch_size = 64" in done.err  # unprompted
    assert "Splitwise measurements; names: prompt_time -> latency_s" in done.err
    terms = json.loads((tmp_path / "m.json").read_text())
    assert terms["response"] == "latency_s"


def test_fit_of_a_tools_file_is_the_fit_of_its_import(qmodel: Command, tmp_path: Path) -> None:
    path = put(tmp_path, "x.csv", samples.lambda_diffusers())
    qmodel("import", path, "-o", tmp_path / "tidy.csv")
    direct, tidy = (qmodel("fit", one, "--where", "device=A10").out for one in (path, tmp_path / "tidy.csv"))
    assert direct.partition("latency =")[2] == tidy.partition("latency =")[2] != ""


@pytest.mark.parametrize("name", ["azure", "guidellm", "mlenergy-llm", "distserve"])
def test_fit_refuses_what_holds_no_service_times(name: str, refused: Callable[..., str], tmp_path: Path) -> None:
    file, text = SYNTHETIC[name]
    assert "no service times" in refused("fit", put(tmp_path, file, text))


def test_fit_reads_a_named_column_as_it_is(qmodel: Command, tmp_path: Path) -> None:
    path = put(tmp_path, "x.csv", samples.energy_diffusion())
    words = ("--response", "Batch latency (s)", "--unit", "s", "--factors", "Batch size,Denoising steps")
    assert qmodel("fit", path, *words).code == 0


@pytest.mark.parametrize("name", ["inferencex", "mlenergy-llm"])
def test_fit_of_a_served_column_is_warned_of(name: str, qmodel: Command, tmp_path: Path) -> None:
    file, text = SYNTHETIC[name]
    response, factor = {
        "inferencex": ("median_tpot", "max_concurrency"),
        "mlenergy-llm": ("Avg TPOT (s)", "Max BS (reqs)"),
    }[name]
    words = ("--response", response, "--unit", "s", "--factors", factor)
    assert (
        "is served latency, waiting and batching included" in qmodel("fit", put(tmp_path, file, text), *words).err
    )
