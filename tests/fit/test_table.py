import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.fit import read_profile

HEADER = (
    "run_id,target,device,phase,batch_size,steps,replicate,run_order,block,latency_s,energy_j,status,started_at"
)
ROWS = [
    "r,digits,cpu,denoise,1,5,0,3,0,0.0021,,ok,2026-01-01T00:00:00",
    "r,digits,cpu,denoise,1,5,1,1,1,0.0022,,ok,2026-01-01T00:00:01",
    "r,digits,cpu,denoise,4,10,0,2,0,0.0091,,ok,2026-01-01T00:00:02",
    "r,digits,cpu,denoise,4,5,0,4,1,0.0048,,ok,2026-01-01T00:00:03",
    "r,digits,cpu,denoise,64,10,0,5,1,,,out_of_memory,2026-01-01T00:00:04",
    "r,digits,cpu,denoise,64,50,0,7,1,,,out_of_memory,2026-01-01T00:00:05",
    "r,digits,cpu,denoise,8,10,0,6,1,,,failed: driver,2026-01-01T00:00:06",
]


@pytest.fixture
def write(tmp_path):
    def save(*lines, name="profile.csv", end="\n"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + end, encoding="utf-8")
        return path

    return save


def test_a_good_file(write):
    path = write(HEADER, *ROWS)
    m = read_profile(path)
    assert (m.factors, m.numeric, m.categorical, m.response) == (("batch_size", "steps"),) * 2 + ((), "latency_s")
    assert m.y.tolist() == [0.0021, 0.0022, 0.0091, 0.0048]
    assert m.frame["batch_size"].tolist() == [1.0, 1.0, 4.0, 4.0]
    assert m.frame["block"].tolist() == ["1:0", "1:1", "1:0", "1:1"]
    assert m.frame["run_order"].tolist() == [3, 1, 2, 4]
    assert (m.phase, m.target, m.device, m.fixed) == ("denoise", "digits", "cpu", {})
    assert m.skipped == {"out_of_memory": 2, "failed": 1}
    assert m.out_of_memory == ({"batch_size": 64.0, "steps": 10.0},)
    assert m.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert m.warnings == ("2 row(s) skipped: out_of_memory", "1 row(s) skipped: failed")


def test_two_files_keep_their_blocks_apart(write):
    a, b = write(HEADER, *ROWS, name="a.csv"), write(HEADER, *ROWS[:3], name="b.csv")
    m = read_profile([a, str(b)])
    assert len(m.frame) == 7
    assert sorted(m.frame["block"].unique()) == ["1:0", "1:1", "2:0", "2:1"]
    assert m.skipped == {"out_of_memory": 2, "failed": 1}
    assert m.sha256 not in (hashlib.sha256(a.read_bytes()).hexdigest(), hashlib.sha256(b.read_bytes()).hexdigest())


def test_phases(write):
    header = "phase,batch_size,input_tokens,context_tokens,latency_s"
    path = write(header, "prefill,1,64,,0.1", "prefill,2,64,,0.2", "decode,1,,512,0.01", "decode,2,,1024,0.02")
    with pytest.raises(
        InputError, match=r"column phase: holds 2: decode, prefill; choose one, as with --phase decode"
    ):
        read_profile(path, factors=["batch_size"])
    m = read_profile(path, phase="decode")
    assert (m.phase, m.factors) == ("decode", ("batch_size", "context_tokens"))
    m = read_profile(path, phase="prefill")
    assert (m.factors, dict(m.fixed)) == (("batch_size",), {"input_tokens": 64.0})
    assert "input_tokens has a single level, 64: its effect is unknown and it is left out" in m.warnings
    with pytest.raises(InputError, match=r"has no row 'decoed'; did you mean 'decode'\?"):
        read_profile(path, phase="decoed")
    assert read_profile(path, factors=["phase", "batch_size"]).categorical == ("phase",)


def test_where(write):
    path = write("target,n,latency_s", "a,1,0.1", "a,2,0.2", "b,1,0.3")
    with pytest.raises(InputError, match="column target: holds 2: a, b; choose one, as with --where target=a"):
        read_profile(path)
    assert read_profile(path, where={"target": "a"}).y.tolist() == [0.1, 0.2]
    with pytest.raises(InputError, match="column tier: is missing"):
        read_profile(path, where={"tier": "a"})


def test_several_devices_are_a_factor(write):
    m = read_profile(write("device,n,latency_s", "A100,1,0.1", "A100,2,0.2", "H100,1,0.05", "H100,2,0.1"))
    assert (m.factors, m.categorical, m.device) == (("n", "device"), ("device",), "A100, H100")
    assert "2 devices are mixed: device is taken as a factor" in m.warnings


def test_foreign_names_and_units(write):
    path = write(
        "Batch size,Denoising steps,Batch latency (s),Energy (J)", "1,25,46.1,10", "2,25,89.0,20", "2,50,170,30"
    )
    m = read_profile(path, response="Batch latency (s)", factors=["Batch size", "Denoising steps"])
    assert (m.factors, m.response) == (("batch_size", "denoising_steps"), "batch_latency_s")
    assert "column 'Batch size' is called batch_size here" in m.warnings
    assert read_profile(path, response="Energy (J)").response == "energy_j"
    assert read_profile(path, response="Energy (J)").factors == ("batch_size", "denoising_steps")


@pytest.mark.parametrize(
    ("column", "options", "response", "value"),
    [
        ("latency_ms", {"response": "latency_ms"}, "latency_s", 0.5),
        ("time_us", {"response": "time_us"}, "time_s", 0.0005),
        ("latency", {"response": "latency", "unit": "ns"}, "latency_s", 5e-7),
        ("latency_s", {"unit": "s"}, "latency_s", 500.0),
        ("power", {"response": "power", "unit": "W"}, "power_w", 500.0),
        ("score", {"response": "score", "unit": "1"}, "score", 500.0),
    ],
)
def test_units(write, column, options, response, value):
    m = read_profile(write(f"n,{column}", "1,500", "2,700"), **options)
    assert m.response == response
    assert m.y[0] == pytest.approx(value, rel=1e-15)


def test_a_response_that_some_rows_lack(write):
    m = read_profile(write("n,latency_s,energy_j,status", "1,1,5,ok", "2,1,,ok", "3,1,7,ok"), response="energy_j")
    assert (m.y.tolist(), m.skipped) == ([5.0, 7.0], {"without energy_j": 1})


def test_last_row_cut_short(write):
    m = read_profile(write("n,m,latency_s", "1,1,0.1", "2,2,0.2", "3,", end=""))
    assert len(m.frame) == 2
    assert m.warnings[0].endswith("line 4: the last row is cut short; it is not used")


def test_flagged_rows(write):
    m = read_profile(write("n,latency_s,valid", "1,1,true", "2,1,false"))
    assert m.warnings == ("1 row(s) are flagged as unsteady (valid = false); they are used",)


def test_byte_order_mark_quotes_and_blank_lines(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes('\ufeff"n",note,latency_s\r\n\r\n1,"a, b",0.1\r\n2,"c",0.2\r\n'.encode())
    m = read_profile(path)
    assert (m.factors, m.categorical) == (("n", "note"), ("note",))


BAD = [
    (["n,latency_ms", "1,5"], {}, "column latency_s: is missing, but there is latency_ms in ms; convert it"),
    (["n,latency", "1,5"], {}, "column latency_s: is missing, but there is 'latency' without a unit; --response"),
    (["n,time_s", "1,5"], {}, "column latency_s: is missing; known: n, time_s, or name another with --response"),
    (["n,latency", "1,5"], {"response": "latency"}, "column latency: does not name its unit; give --unit"),
    (["n,latency_ms", "1,5"], {"response": "latency_ms", "unit": "s"}, "unit: 's' contradicts the column name"),
    (["n,latency_s", "1,5"], {"unit": "hours"}, "unit: 'hours' is unknown"),
    (["n,latency_s", "1,0.1", "2,fast"], {}, "row 2 (line 3), column latency_s: 'fast' is not a finite number"),
    (["n,latency_s", "1,0.1", "", "2,1_0x"], {}, "row 2 (line 4), column latency_s: '1_0x' is not a finite number"),
    (["n,latency_s", "1,0.1", "2,NaN"], {}, "row 2 (line 3), column latency_s: 'NaN' is not a number"),
    (["n,latency_s", "1,0.1", "2,"], {}, "row 2 (line 3), column latency_s: is empty"),
    (["n,latency_s", "1,0.1", "2,inf"], {}, "row 2 (line 3), column latency_s: 'inf' is not a finite number"),
    (["n,latency_s", "1,0.1", "2,-0.5"], {}, "row 2 (line 3), column latency_s: -0.5 is negative; remove that row"),
    (["n,latency_s", "1,0.1", "2,-1"], {}, "-1 is negative; remove that row; -1 often stands for out of memory"),
    (["n,latency_s", "1,0.1", "2,0"], {}, "row 2 (line 3), column latency_s: 0 is zero"),
    (["n,latency_s", "1,", "2,"], {}, "column latency_s: holds no measurement"),
    (["batch_size,latency_s", "1,0.1", "two,0.2"], {}, "row 2 (line 3), column batch_size: 'two' is not a finite"),
    (["q,latency_s", "1,1", "2,1", "x,1"], {}, "row 3 (line 4), column q: 'x' is not a finite number"),
    (["n,latency_s", "1,0.1", ",0.2"], {}, "row 2 (line 3), column n: has no level"),
    (["n,latency_s", "1,0.1", "1,0.2"], {}, "no factor has more than one level; measure at least"),
    (["n,latency_s", "1,0.1,7"], {}, "line 2: has 3 fields, the header has 2"),
    (["n,latency_s,m", "1,0.1", "1,2,3"], {}, "line 2: has 2 fields, the header has 3"),
    (["n,n,latency_s", "1,1,1"], {}, "header: has column 'n' twice"),
    (["n,,latency_s", "1,1,1"], {}, "header: has a column without a name"),
    (["n,latency_s"], {}, "has a header but no rows"),
    (["", "  "], {}, "is empty"),
    (['{"a": 1}'], {}, "is not CSV"),
    (["n;latency_s", "1;0,5"], {}, "is not separated by commas: 'n;latency_s'"),
    (["n,latency_s", '1,"0.5'], {}, "is not CSV (unexpected end of data)"),
    (["n,latency_s,status", "1,0.5,okay"], {}, "row 1 (line 2), column status: 'okay' is unknown; known: ok"),
    (["n,latency_s,status", "1,,out_of_memory"], {}, "has no row with status ok (1 out_of_memory)"),
    (["n,latency_s", "1,1", "2,2"], {"factors": ["m"]}, "column m: is missing"),
    (["n,latency_s", "1,1", "2,2"], {"factors": ["latency_s"]}, "factors: 'latency_s' is the response"),
    (["a b,a_b,latency_s", "1,1,1", "2,2,2"], {}, "column a b: would be called a_b, which is taken"),
    (["id,latency_s", *(f"x{k},1" for k in range(41))], {}, "column id: has 41 different texts"),
]


@pytest.mark.parametrize(("lines", "options", "message"), BAD)
def test_bad_input_is_one_line(write, lines, options, message):
    path = write(*lines)
    with pytest.raises(InputError) as caught:
        read_profile(path, **options)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert str(path) in text or message.startswith(("unit", "factors", "column"))


def test_bad_paths(tmp_path, write):
    with pytest.raises(InputError, match="does not exist; check the path"):
        read_profile(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder; give the CSV files inside it"):
        read_profile(tmp_path)
    with pytest.raises(InputError, match="no file is given"):
        read_profile([])
    with pytest.raises(InputError, match="cannot be read"):
        read_profile("a\0b.csv")
    (tmp_path / "x.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_profile(tmp_path / "x.csv")
    a, b = write("n,latency_s", "1,1", name="a.csv"), write("n,m,latency_s", "1,1,1", name="b.csv")
    with pytest.raises(InputError, match=r"a\.csv, column m: is missing or empty, but .*b\.csv has it"):
        read_profile([a, b])
    with pytest.raises(InputError, match=r"a\.csv, column m: is missing"):
        read_profile([b, a])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_never_give_a_traceback(tmp_path_factory, data):
    """Any damage is either refused on one line or read into positive finite numbers."""
    good = "\n".join([HEADER, *ROWS]).encode()
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "delete"]))
        if kind == "set":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=6))
        elif kind == "delete":
            del content[at + 1 : at + data.draw(st.integers(2, 40))]
        else:
            del content[max(at, 1) :]
    path = tmp_path_factory.mktemp("fuzz") / "f.csv"
    path.write_bytes(bytes(content))
    try:
        m = read_profile(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert np.all(np.isfinite(m.y)) and np.all(m.y > 0)
        assert all(np.all(np.isfinite(m.frame[name])) for name in m.numeric)


def test_odd_times_in_a_column_of_another_name_are_named(tmp_path):
    """Three copies of each row pose as replicates, and one cell is faster than those with less work."""
    rows = [f"{b},{t},{2 + 0.3 * b + 0.0041 * b * t:.5f}" for b in (1, 2, 4, 8) for t in (64, 128, 256)]
    rows[-1] = "8,256,1.00007"
    (tmp_path / "own.csv").write_text("\n".join(["batch,tokens,time_ms", *rows, *rows, *rows]) + "\n")
    warnings = read_profile(tmp_path / "own.csv", response="time_ms").warnings
    assert any(text.startswith("copies: 24 of 36 rows repeat") and "(lines 14, 15" in text for text in warnings)
    assert any(text.startswith("implausible: at tokens = 256, batch = 8") and "13" in text for text in warnings)
