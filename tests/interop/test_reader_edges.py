"""Rarer contents of the known formats: several runs, failures, damaged parts, missing parts."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qmodel.interop
from qmodel.errors import InputError
from qmodel.interop import Imported, Options, read_file
from qmodel.interop.content import Content
from qmodel.interop.formats.prometheus import interpolated
from tests.interop import samples
from tests.interop.test_readers import AZURE, kinds, read  # noqa: F401  (a fixture)


def changed(text: str, **new) -> str:
    """guidellm's document with fields of its first benchmark replaced."""
    document = json.loads(text)
    document["benchmarks"][0] |= new
    return json.dumps(document)


def test_guidellm_takes_the_longest_benchmark(read) -> None:  # noqa: F811
    both = json.loads(samples.guidellm(10))["benchmarks"] + json.loads(samples.guidellm(25))["benchmarks"]
    found = read(json.dumps({"benchmarks": both}))
    assert len(found.frame) == 25 and next(f for f in found.findings if f.kind == "several runs").rows == (1,)


def test_guidellm_failures_and_ends_that_are_missing(read) -> None:  # noqa: F811
    document = json.loads(samples.guidellm(20))
    groups = document["benchmarks"][0]["requests"]
    groups["errored"] = [groups["successful"].pop()]
    groups["successful"][3]["info"]["timings"]["request_end"] = None
    groups["incomplete"] = ["not a request"]
    found = read(json.dumps(document))
    assert found.frame["status"].value_counts().to_dict() == {"ok": 18, "failed: error": 1, "failed: no end": 1}


def test_guidellm_without_requests(read) -> None:  # noqa: F811
    for requests in ({}, {"successful": []}, None):
        with pytest.raises(InputError, match="holds no request"):
            read(changed(samples.guidellm(5), requests=requests))
    assert read(changed(samples.guidellm(30), config=None)).nominal is None
    with pytest.raises(InputError, match="no arrival time"):
        read(json.dumps({"benchmarks": [{"requests": {"successful": [{"info": None}, {}]}}]}))


def test_guidellm_csv_cut_short(read) -> None:  # noqa: F811
    with pytest.raises(InputError, match="fewer than three header lines"):
        read("\n".join(samples.GUIDELLM_CSV.split("\n")[:3]))
    with pytest.raises(InputError, match="none of the known figures"):
        read(
            samples.GUIDELLM_CSV.replace("0.138", "x")
            .replace("0.101", "x")
            .replace("29.1", "")
            .replace("3.49", "-1")
        )
    with pytest.raises(InputError, match="is not CSV"):
        read(samples.GUIDELLM_CSV + '"' + "a" * 200_000)


def test_metrics_that_are_no_numbers(read) -> None:  # noqa: F811
    found = read(samples.METRICS + "vllm:num_preemptions_total{} NaN\nvllm:odd x\nnot a sample\n")
    assert next(one for one in found.findings if one.kind == "unreadable").rows == (13, 14)
    with pytest.raises(InputError, match="none of the known metrics"):
        read("vllm:something_else 1.0\n")
    two = read(samples.METRICS + 'vllm:num_requests_running{engine="1"} 2.0\n').frame.set_index("metric")["value"]
    assert two["running"] == 5.0  # summed over engines


def test_metrics_of_llama_cpp(read) -> None:  # noqa: F811
    text = "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:n_decode_total 40\n"
    assert read(text).frame.set_index("metric")["value"].to_dict() == {"running": 2, "waiting": 1, "iterations": 40}


def test_quantiles_of_buckets() -> None:
    assert interpolated({}, 0.5) is None and interpolated({1.0: 0.0}, 0.5) is None
    assert interpolated({float("nan"): 3.0}, 0.5) is None
    assert interpolated({1.0: 4.0, 2.0: 8.0}, 0.25) == 0.5
    assert interpolated({1.0: 4.0, float("inf"): 8.0}, 0.9) is None
    assert interpolated({1.0: 8.0, 2.0: 4.0}, 1.0) is None  # counts that fall: no quantile


def archive(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def test_archives(read) -> None:  # noqa: F811
    good = samples.servegen_dataset().encode()
    assert "unreadable" in kinds(read(archive(("a.json", good), ("b.json", b'{"0": 1}'), ("c.txt", b"x"))))
    for members in ((("a.txt", b"x"),), (("a.json", b"{"),)):
        with pytest.raises(InputError, match="archive without ServeGen's tables"):
            read(archive(*members))
    with pytest.raises(InputError, match="holds no table of lengths"):
        read(archive(("a.json", b'{"0": {"output_tokens": "{}"}}')))
    with pytest.raises(InputError, match="is not a whole archive"):
        read(archive(("a.json", good))[:700])


def test_gzip_that_unpacks_to_too_much(read, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("qmodel.interop.content.LARGEST", 10)
    with pytest.raises(InputError, match="unpacks to more than 2 GiB"):
        read(gzip.compress(b"a" * 11))


def test_a_name_no_file_can_have() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_file("a\0b")


def test_unknown_names_of_the_package() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = qmodel.interop.nothing


def test_headers_that_are_none() -> None:
    assert Content("x", b'"open\nrest', "").header in ((), ("open",), ('"open',), ("open\n",))
    assert Content("x", b"{}", "").header == () and Content("x", b"[1]", "").first_record == {}
    assert Content("x", b"a,b\n", "").first_record == {}


def test_integers_beyond_a_double(read) -> None:  # noqa: F811
    text = samples.llmperf(20).replace("151", "1" + "0" * 400, 1)
    found = read(text)
    assert np.isnan(found.frame["output_tokens"].iloc[0]) and "missing" in kinds(found)


def test_a_list_that_holds_hardly_an_object(read) -> None:  # noqa: F811
    first = json.loads(samples.llmperf(1))
    with pytest.raises(InputError, match="only 1 of 4 records are JSON objects"):
        read(json.dumps([*first, 1, 2, 3]))


def test_mooncake_without_blocks_and_with_large_ones(read) -> None:  # noqa: F811
    lines = [{"timestamp": 1000 * k, "input_length": 600, "output_length": 5} for k in range(30)]
    found = read("\n".join(map(json.dumps, lines)) + "\n")
    assert "cached_tokens" not in found.frame and not found.origin
    for line in lines:
        line["hash_ids"] = [10**12, "x"]
    assert read("\n".join(map(json.dumps, lines)) + "\n").frame["cached_tokens"].tolist()[1:] == [600.0] * 29
    broken = "\n".join(map(json.dumps, lines)) + "\nnot json\n"
    assert next(one for one in read(broken).findings if one.kind == "unreadable").rows == (31,)


def test_an_older_vllm_result_without_gaps(read) -> None:  # noqa: F811
    with pytest.raises(InputError, match="has 2 errors for 3 requests"):
        read(samples.vllm_serve(n=3, starts=False, errors=["", ""]))
    found = read(samples.vllm_serve(n=3, starts=False, itls=None))
    assert (found.frame["status"] == "failed: no latency").all()


def test_azure_without_dates(read) -> None:  # noqa: F811
    with pytest.raises(InputError, match="holds no dates"):
        read(AZURE + "yesterday,1,2\ntoday,3,4\n")


def test_a_dense_table_beside_that_lacks_a_kernel(tmp_path: Path) -> None:
    for kind, text in samples.KERNELS.items():
        (tmp_path / f"{kind}.csv").write_text(text.replace("act_fn", "other"))
    with pytest.raises(InputError, match="the dense file lacks act_fn"):
        read_file(tmp_path / "attention.csv", options=Options(layers=2))


def test_a_format_that_was_named_wrongly(read) -> None:  # noqa: F811
    with pytest.raises(InputError, match="none of the kernels' columns"):
        read("a,b\n1,2\n", "llmservingsim")
    with pytest.raises(InputError, match="is no CSV file"):
        read("{}", "csv")
    with pytest.raises(InputError, match="--response COLUMN --factors"):
        read("a,b\n1,2\n", "csv")
    with pytest.raises(InputError, match="is no unit of time"):
        read("a,b\n1,2\n", "csv", response="b", factors=("a",), unit="kg")


def test_levels_that_the_file_has(read) -> None:  # noqa: F811
    with pytest.raises(InputError, match="is a column of the file"):
        read(samples.lambda_diffusers(), levels={"batch_size": "3"})


def test_own_logs(read) -> None:  # noqa: F811
    assert read("arrival_s\n0.5\n1.0\n4.0\n").frame["scheduled_s"].tolist() == [0.0, 0.5, 3.5]
    with pytest.raises(InputError, match="has an arrival at -1 s"):
        read("scheduled_s,done_s\n-1,2\n0,3\n")
    bare = read("latency_s,batch_size\n0.5,1\n0.7,2\n")
    assert bare.factors == ("batch_size",) and set(bare.frame["status"]) == {"ok"}


def test_steps_out_of_order_fail(read) -> None:  # noqa: F811
    lines = samples.own_log().split("\n")
    cells = lines[5].split(",")
    cells[4] = str(float(cells[2]) - 5.0)
    lines[5] = ",".join(cells)
    found = read("\n".join(lines))
    assert found.frame["status"].iloc[4] == "failed: times out of order"
    assert next(one for one in found.findings if one.kind == "clock").rows == (6,)


def test_a_century_is_refused(read) -> None:  # noqa: F811
    with pytest.raises(InputError, match="spans more than a hundred years"):
        read("scheduled_s,done_s\n0,1\n1e11,1e11\n")


@pytest.fixture
def arrow(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for pyarrow that reads what the test puts in `table`."""

    class ArrowException(Exception):
        pass

    package, parquet = types.ModuleType("pyarrow"), types.ModuleType("pyarrow.parquet")
    package.ArrowException, package.parquet = ArrowException, parquet  # type: ignore[attr-defined]
    parquet.read_table = lambda file: types.SimpleNamespace(to_pandas=lambda: parquet.table)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    return parquet


def test_kernel_tables_by_a_stand_in(arrow: types.ModuleType, read) -> None:  # noqa: F811
    same = {"framework": "VLLM", "device": "H200", "op_name": "gemm", "gemm_dtype": "bf16", "n": 64, "k": 64}
    arrow.table = pd.DataFrame([same | {"m": m, "latency": 0.01 * m, "power": 300.0} for m in (1, 2, 4)])
    found: Imported = read(b"PAR1")
    assert found.frame["latency_s"].tolist() == pytest.approx([1e-5, 2e-5, 4e-5])
    assert found.factors == ("phase", "m") and set(found.frame["device"]) == {"H200"}
    assert set(found.frame["power_w"]) == {300.0}
    arrow.table = pd.DataFrame({"x": [1]})
    with pytest.raises(InputError, match="has no columns op_name and latency"):
        read(b"PAR1")

    def broken(file: object) -> None:
        raise OSError("not parquet")

    arrow.read_table = broken
    with pytest.raises(InputError, match="is no whole parquet table"):
        read(b"PAR1")
