"""Every format: recognised by its content alone, translated into seconds and tokens, what is odd named by row."""

from __future__ import annotations

import gzip
import json
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.interop import Imported, Options, read_file
from qmodel.interop.imported import LOG_COLUMNS
from qmodel.interop.registry import GENERIC, READERS
from tests.interop import samples
from tests.interop.samples import SYNTHETIC

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def read(tmp_path: Path):
    """Read a text (or bytes) as a file whose name says nothing."""

    def reader(content: str | bytes, kind: str | None = None, **options) -> Imported:
        path = tmp_path / "file"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_file(path, kind, Options(**options))

    return reader


def kinds(found: Imported) -> set[str]:
    return {one.kind for one in found.findings}


@pytest.mark.parametrize("name", sorted(SYNTHETIC))
def test_recognised_by_content_alone(name: str, read) -> None:
    found = read(SYNTHETIC[name][1])
    assert name.startswith(found.kind)
    assert len(found.kind) == max(len(r.kind) for r in READERS if name.startswith(r.kind))
    assert (len(found.frame) and not found.frame.index.has_duplicates) or found.shape in ("profile", "figures")
    if found.shape == "requests":
        assert list(found.frame)[: len(LOG_COLUMNS)] == list(LOG_COLUMNS)
        assert found.frame["scheduled_s"].iloc[0] == 0 and (np.diff(found.frame["scheduled_s"]) >= 0).all()


def test_every_reader_has_a_sample_and_one_name() -> None:
    names = [reader.kind for reader in (*READERS, GENERIC)]
    assert len(set(names)) == len(names)
    seen = {name for kind in SYNTHETIC for name in names if kind.startswith(name)}
    assert set(names) - seen == {"csv", "aiconfigurator"} - seen


def test_vllm_serve_counts_from_when_a_request_was_due(read) -> None:
    found = read(samples.vllm_serve(n=3, start_times=[10.0, 11.0, 13.0], queue_times=[0.5, 0.0, 0.0],
                                    latencies=[1.0, 2.0, 3.0], ttfts=[0.1, 0.2, 0.3]))  # fmt: skip
    frame = found.frame
    assert frame["scheduled_s"].tolist() == [0.0, 1.5, 3.5]
    assert frame["sent_s"].tolist() == [0.5, 1.5, 3.5]
    assert frame["first_token_s"].tolist() == pytest.approx([0.6, 1.7, 3.8])
    assert frame["done_s"].tolist() == [1.5, 3.5, 6.5]
    assert (found.nominal, found.nominal_rate) == ("poisson", 4.0)


def test_a_rate_of_infinity_or_bursts_are_not_poisson(read) -> None:
    assert read(samples.vllm_serve(request_rate="inf")).nominal is None
    assert read(samples.vllm_serve(burstiness=0.5)).nominal is None


def test_older_vllm_results_have_latencies_only(read) -> None:
    found = read(samples.vllm_serve(n=2, starts=False, ttfts=[0.1, 0.2], itls=[[0.01, 0.03], [0.02]],
                                    input_lens=[5, 6], output_lens=[3, 2], errors=["", ""]))  # fmt: skip
    assert found.shape == "latencies"
    assert found.frame["response_s"].tolist() == pytest.approx([0.14, 0.22])
    assert found.frame["tpot_s"].tolist() == pytest.approx([0.02, 0.02])


def test_failed_requests_keep_their_place(read) -> None:
    found = read(samples.vllm_serve(n=3, errors=["", "Traceback\nTimeoutError: late", ""]))
    assert found.frame["status"].tolist() == ["ok", "failed: TimeoutError: late", "ok"]
    assert np.isnan(found.frame["done_s"].iloc[1])


def test_lists_of_unequal_length_are_refused(read) -> None:
    with pytest.raises(InputError, match="input_lens: has 2 values for 3 requests"):
        read(samples.vllm_serve(n=3, input_lens=[1, 2]))


def test_vllm_summaries_are_targets_in_seconds(read) -> None:
    figures = read(samples.vllm_serve(detailed=False)).frame.set_index("metric")["value"]
    assert figures["mean_ttft_s"] == pytest.approx(0.020)
    assert figures["p50_ttft_s"] == pytest.approx(0.019)
    assert figures["p99_response_s"] == pytest.approx(0.100)
    assert figures["throughput"] == 4.0


def test_appended_runs_read_the_longest(read) -> None:
    found = read(samples.vllm_serve(n=5) + "\n" + samples.vllm_serve(n=9) + "\n")
    assert len(found.frame) == 9 and "several runs" in kinds(found)


def test_vllm_latency_takes_its_levels_from_the_user(read) -> None:
    found = read(samples.vllm_latency(), levels={"batch_size": "8", "input_tokens": "32"})
    assert found.frame["latency_s"].tolist() == [0.5, 0.51, 0.52]
    assert found.factors == ("batch_size", "input_tokens") and set(found.frame["batch_size"]) == {8.0}
    assert "no factors" in kinds(read(samples.vllm_latency()))


def test_metrics_measure_waiting_directly(read) -> None:
    figures = read(samples.METRICS).frame.set_index("metric")["value"]
    assert figures["mean_wait_s"] == pytest.approx(0.315)
    assert figures["mean_response_s"] == pytest.approx(2.1)
    assert figures["p50_wait_s"] == pytest.approx(0.3)
    assert figures["running"] == 3.0
    assert "p99_wait_s" not in figures  # beyond the last finite edge of the buckets


def test_guidellm_names_are_translated(read) -> None:
    found = read(gzip.compress(samples.guidellm().encode()))
    mapping = {one.theirs: one.ours for one in found.mapping}
    assert mapping["inter_token_latency_ms"] == "TPOT"
    assert mapping["time_per_output_token_ms"] == "(left out)"
    assert (found.nominal, found.nominal_rate) == ("poisson", 5.0)
    assert (found.frame["sent_s"] - found.frame["scheduled_s"]).to_numpy() == pytest.approx(0.002, abs=1e-6)


def test_guidellm_targets_that_were_never_set(read) -> None:
    document = json.loads(samples.guidellm())
    timings = document["benchmarks"][0]["requests"]["successful"][4]["info"]["timings"]
    timings["targeted_start"] = -0.95
    found = read(json.dumps(document))
    unset = next(one for one in found.findings if one.kind == "uninitialised")
    assert unset.rows == (5,)
    assert found.frame["scheduled_s"].max() < 100


def test_guidellm_csv_units_are_read_from_its_header(read) -> None:
    figures = read(samples.GUIDELLM_CSV).frame.set_index("metric")["value"].to_dict()
    assert figures == pytest.approx(
        {"mean_response_s": 0.138, "p50_response_s": 0.101, "mean_ttft_s": 0.0291, "mean_tpot_s": 0.00349}
    )


def test_aiperf_units_are_read(read) -> None:
    found = read(samples.aiperf())
    first = (found.frame["first_token_s"] - found.frame["sent_s"]).to_numpy()
    assert first == pytest.approx(0.020, abs=1e-6)
    micro = read(samples.aiperf().replace('"value": 20.0, "unit": "ms"', '"value": 20000.0, "unit": "us"'))
    assert micro.frame["first_token_s"].to_numpy() == pytest.approx(found.frame["first_token_s"].to_numpy())
    with pytest.raises(InputError, match="has the unit 'fortnights'"):
        read(samples.aiperf().replace('"unit": "ms"', '"unit": "fortnights"'))


def test_llmperf_computes_tpot(read) -> None:
    found = read(samples.llmperf(2))
    assert found.frame["tpot_s"].iloc[0] == pytest.approx((2.9 - 0.4) / 150)


def test_azure_stamps_have_seven_decimals(read) -> None:
    text = AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    assert read(text).frame["scheduled_s"].tolist() == pytest.approx([0.0, 4.314579], abs=1e-9)


def test_azure_of_2024_names_its_zone(read) -> None:
    text = AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:00.017335+00:00,2399,6\n"
    assert read(text).frame["scheduled_s"].tolist() == pytest.approx([0.0, 0.007405], abs=1e-9)


def test_mooncake_is_quantised_and_shares_prefixes(read) -> None:
    found = read(samples.mooncake())
    assert "quantised" in kinds(found)
    inputs = found.frame["input_tokens"].to_numpy()
    cached = found.frame["cached_tokens"].to_numpy()
    assert cached[0] == 0 and (cached[1:] == np.minimum(512, inputs[1:])).all()
    assert found.origin["prefix_hit"] == pytest.approx(cached.sum() / inputs.sum(), abs=1e-4)


def test_stamps_out_of_order_are_sorted_and_named(read) -> None:
    lines = samples.vidur_trace().strip().split("\n")
    lines[7], lines[8] = lines[8], lines[7]
    found = read("\n".join(lines) + "\n")
    assert next(one for one in found.findings if one.kind == "order").rows == (9,)


def test_a_lone_gap_is_named(read) -> None:
    lines = samples.vidur_trace().strip().split("\n")
    lines[1] = "-999999," + lines[1].split(",", 1)[1]
    assert next(one for one in read("\n".join(lines) + "\n").findings if one.kind == "gap").rows == (3,)


def test_burstgpt_failures(read) -> None:
    text = samples.burstgpt().replace("\n", "\n0,ChatGPT,10,0,10,Conversation log\n", 1)
    found = read(text)
    assert found.frame["status"].iloc[0] == "failed: no response" and "sentinel" in kinds(found)
    assert set(found.frame["class"]) == {"ChatGPT Conversation log"}


def test_servegen_with_and_without_header(read) -> None:
    with_header, bare = read(samples.servegen_windows()), read(samples.servegen_windows(header=False))
    assert with_header.frame["rate"].tolist() == bare.frame["rate"].tolist()
    assert (with_header.origin["clients"], bare.origin["clients"]) == (2, 1)
    assert bare.origin["rate_weighted_gap_cv"] == pytest.approx(1.2)


def test_servegen_lengths_from_an_archive(read) -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("data/chunk-0-dataset.json")
        member.size = len(samples.servegen_dataset())
        archive.addfile(member, BytesIO(samples.servegen_dataset().encode()))
    found = read(packed.getvalue())
    assert found.frame.values.tolist() == [
        ["input_tokens", 100, 0.5],
        ["input_tokens", 200, 0.5],
        ["output_tokens", 10, 1.0],
    ]


def test_vidur_operators_are_phases_and_products_are_summed(read) -> None:
    found = read(samples.vidur())
    frame = found.frame
    assert set(frame["phase"]) == {"attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "add", "gemm"}
    one = frame[(frame["phase"] == "gemm") & (frame["tokens"] == 1024) & (frame["tensor_parallel"] == 1)]
    assert one["latency_s"].item() == pytest.approx(4 * (0.02 + 2e-4 * 1024) * 1e-3)
    assert "averages" in kinds(found)


def test_a_vidur_table_in_another_unit_is_too_fast(read) -> None:
    lines = samples.vidur().strip().split("\n")
    rows = [line.split(",") for line in lines[1:]]
    shrunk = [[*(repr(float(x) * 1e-3) for x in row[:25]), *row[25:]] for row in rows]
    found = read("\n".join([lines[0], *(",".join(row) for row in shrunk)]) + "\n")
    assert "too fast" in kinds(found)


def test_splitwise_names_its_invalid_cells_unprompted(read) -> None:
    found = read(samples.splitwise())
    invalid = [one for one in found.findings if "tensor_parallel = 2, batch_size = 64" in one.sentence]
    assert len(invalid) == 1 and invalid[0].rows == (20, 21, 22)
    bad = found.frame[(found.frame["tensor_parallel"] == 2) & (found.frame["batch_size"] == 64)]
    assert set(bad["status"]) == {"failed: parts and whole disagree"} and len(bad) == 9
    assert (found.frame["status"] != "ok").sum() == 9


def test_llmservingsim_composes_iterations(read, tmp_path: Path) -> None:
    for kind, text in samples.KERNELS.items():
        (tmp_path / f"x_{kind}.csv").write_text(text)
    alone = read_file(tmp_path / "x_attention.csv").frame
    whole = read_file(tmp_path / "x_attention.csv", options=Options(layers=4)).frame
    k = ((alone["batch_size"] == 8) & (alone["context_tokens"] == 256) & (alone["prefill_tokens"] == 64)).to_numpy()
    kernel = 10.0 + 0.1 * 72  # 64 + 8 tokens
    head = np.interp(9, [4, 16], [1150.0, 1150.0])
    expected = 4 * alone["latency_s"][k].item() + 1e-6 * (4 * 8 * kernel + 2 * kernel + head)
    assert whole["latency_s"][k].item() == pytest.approx(expected)
    assert set(alone["phase"]) == {"decode", "mixed"}


def test_lambda_sentinels_are_out_of_memory(read) -> None:
    found = read(samples.lambda_diffusers())
    assert found.frame["status"].tolist().count("out_of_memory") == 1
    assert next(one for one in found.findings if one.kind == "sentinel").rows == (17,)
    assert found.frame["latency_s"].isna().sum() == 1


@pytest.mark.parametrize("text", [samples.aiconfigurator_silicon(), samples.energy_llm(), samples.inferencex()])
def test_served_figures_are_called_so(text: str, read) -> None:
    found = read(text)
    assert found.shape == "figures" and "served" in kinds(found)


def test_energy_is_that_of_the_batch(read) -> None:
    frame = read(samples.energy_diffusion()).frame
    assert (frame["energy_j"] == 500.0 * frame["batch_size"]).all()


def test_distserve_coefficients_are_no_measurements(read) -> None:
    found = read(samples.distserve())
    assert "fitted" in kinds(found) and found.frame["value"].iloc[0] == pytest.approx(0.022)


def test_little_of_a_series(read) -> None:
    figures = read(samples.vllm_series()).frame.set_index("metric")["value"]
    assert figures["mean_running"] == pytest.approx(np.mean([k % 5 for k in range(1, 20)]))


def test_any_csv_with_names(read) -> None:
    text = "n,t,extra\n1,5.0,a\n2,7.0,b\n"
    found = read(text, response="t", factors=("n",), unit="ms")
    assert found.frame["latency_s"].tolist() == [0.005, 0.007] and found.factors == ("n",)
    with pytest.raises(InputError, match="never assumed; give s, ms, us or ns"):
        read(text, response="t", factors=("n",))
    with pytest.raises(InputError, match=r"give --response COLUMN --factors"):
        read(text)
    with pytest.raises(InputError, match="contradicts"):
        read(text.replace("t,", "t_ms,"), response="t_ms", factors=("n",), unit="s")
    assert read(text.replace("t,", "t_us,"), response="t_us", factors=("n",)).frame["latency_s"].iloc[
        0
    ] == pytest.approx(5e-6)
    with pytest.raises(InputError, match="column m: is missing"):
        read(text, response="t", factors=("m",), unit="s")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\x1f\x8b\x08broken", "is not whole gzip"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16 text"),
        (b"a,b\n\xff,2\n", "is not UTF-8 text"),
        (b"a\0b,c\n", "is binary"),
        (b'{"benchmarks": [', "begins like JSON and is not whole"),
        (b"a,b\n1,2\n", "is a CSV file of no known tool"),
        (b"hello", "is of no known format"),
        (b'{"x": 1}', "is of no known format"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", "has a header but no rows"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n", "holds no dates"),
        (b"time_us,layer,tokens,tokens\n1,a,2,3\n", "has column 'tokens' twice"),
        (b"layer,tokens,time_us\na,1,2\nb,1,2,3,4\n", "is not whole CSV"),
        (b"layer,tokens,time_us\na,1,x\nb,1,y\n", "only 0 of 2 rows hold a time"),
        (b'{"benchmarks": [1]}', "holds no benchmark"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(content: bytes, complaint: str, read) -> None:
    with pytest.raises(InputError, match=complaint):
        read(content)


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_file(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a folder"):
        read_file(tmp_path)


def test_a_format_that_is_asked_for(read) -> None:
    with pytest.raises(InputError, match="did you mean 'azure'"):
        read(samples.azure(), "azur")
    with pytest.raises(InputError, match="guidellm result"):
        read('{"a": 1}', "guidellm")


def test_parquet_needs_its_extra(read) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"pip install 'qmodel\[parquet\]'"):
            read(b"PAR1....")
    else:
        with pytest.raises(InputError, match="is no whole parquet table"):
            read(b"PAR1....")


def test_kernel_tables_of_aiconfigurator(read) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    same = {"framework": "VLLM", "device": "H200", "op_name": "gemm", "gemm_dtype": "bf16", "n": 64, "k": 64}
    rows = [same | {"m": m, "latency": 0.01 * m, "power": 300.0} for m in (1, 2, 4)]
    out = BytesIO()
    pd.DataFrame(rows).to_parquet(out)
    found = read(out.getvalue())
    assert found.frame["latency_s"].tolist() == pytest.approx([1e-5, 2e-5, 4e-5])
    assert found.factors == ("phase", "m") and set(found.frame["device"]) == {"H200"}


def test_provenance_is_plain(read) -> None:
    facts = read(samples.azure()).provenance()
    assert facts["source"]["kind"] == "azure" and len(facts["source"]["sha256"]) == 64
    assert facts["table"]["rows"] == 60


def test_splitwise_below_the_memory_floor(read) -> None:
    """70 B weights of 16 bits over 8 H100: 5.2 ms an iteration at least."""
    lines = samples.splitwise().split("\n")
    cells = lines[30].split(",")
    assert cells[-1] == "8"
    cells[8] = "0.030"  # seconds where the others are milliseconds
    lines[30] = ",".join(cells)
    fast = [one for one in read("\n".join(lines)).findings if one.kind == "too fast"]
    assert [one.rows for one in fast] == [(31,)] and "5.224 ms" in fast[0].sentence


def test_devices_without_a_data_sheet_are_passed_over() -> None:
    import pandas as pd

    from qmodel.interop.floors import memory_findings

    rows = pd.DataFrame({"latency_s": [1e-6, 1e-6], "device": ["abacus", "L4"], "status": "ok"}, index=[2, 3])
    assert [one.rows for one in memory_findings(rows, 1e9)] == [(3,)]
    assert memory_findings(rows.drop(columns="device"), 1e9) == []
