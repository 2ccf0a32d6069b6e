"""Every spelling of a law or an arrival process, both ways, and what is said of every wrong one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.workload import (
    ArrivalProcess,
    BoundedPareto,
    Deterministic,
    Discrete,
    Distribution,
    Empirical,
    Erlang,
    Exponential,
    Gamma,
    Geometric,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Poisson,
    Renewal,
    Scaled,
    Trace,
    Uniform,
    Weibull,
)
from qmodel.workload.distribution import Shifted
from qmodel.workload.grammar import (
    LAWS,
    PROCESSES,
    arrivals_from_table,
    arrivals_to_table,
    law_to_table,
    parse_arrivals,
    parse_service,
    service_from_table,
)

INLINE: dict[str, tuple[Distribution, dict]] = {
    "exponential:2": (Exponential(2.0), {"mean": 2}),
    "deterministic:0.5": (Deterministic(0.5), {"value": 0.5}),
    "erlang:4,1": (Erlang(4, 1.0), {"k": 4, "mean": 1}),
    "gamma:2,0.5": (Gamma(2.0, 0.5), {"mean": 2, "scv": 0.5}),
    "hyperexponential:1,4": (Hyperexponential(1.0, 4.0), {"mean": 1, "scv": 4}),
    "lognormal:2,4": (Lognormal(2.0, 4.0), {"mean": 2, "scv": 4}),
    "weibull:1,2.5": (Weibull(1.0, 2.5), {"mean": 1, "scv": 2.5}),
    "uniform:1,3": (Uniform(1.0, 3.0), {"low": 1, "high": 3}),
    "pareto:1,2.5": (Pareto(1.0, 2.5), {"mean": 1, "alpha": 2.5}),
    "bounded_pareto:1,100,1.5": (BoundedPareto(1.0, 100.0, 1.5), {"low": 1, "high": 100, "alpha": 1.5}),
    "geometric:180": (Geometric(180.0), {"mean": 180}),
}
ROUND_TRIPS: list[Distribution] = [
    *(law for law, _ in INLINE.values()),
    Discrete((1.0, 3.0), (0.25, 0.75)),
    Scaled(Lognormal(2.0, 4.0), 0.25),
    Shifted(Exponential(1.0), 0.5),
    Mixture((0.25, 0.75), (Deterministic(1.0), Scaled(Gamma(2.0, 0.5), 3.0))),
]


class TestSpellings:
    @pytest.mark.parametrize("text", INLINE)
    def test_inline(self, text: str) -> None:
        assert parse_service(text) == INLINE[text][0]
        assert type(parse_service(text)) is type(INLINE[text][0])

    @pytest.mark.parametrize("text", INLINE)
    def test_table(self, text: str) -> None:
        law, parameters = INLINE[text]
        assert service_from_table({"distribution": text.partition(":")[0], **parameters}, "here") == law

    @pytest.mark.parametrize("text", INLINE)
    def test_text_in_a_file(self, text: str) -> None:
        assert service_from_table(text, "here") == INLINE[text][0]

    def test_every_law_is_tried(self) -> None:
        assert {text.partition(":")[0] for text in INLINE} == set(LAWS)

    def test_a_bare_number_is_a_constant(self) -> None:
        assert service_from_table(20, "here") == Deterministic(20.0)

    def test_scientific_notation_and_blanks(self) -> None:
        assert parse_service(" lognormal:1e-3, 4 ") == Lognormal(1e-3, 4.0)

    def test_discrete(self) -> None:
        table = {"distribution": "discrete", "values": [1, 2.5], "probabilities": [0.25, 0.75]}
        assert service_from_table(table, "here") == Discrete((1, 2.5), (0.25, 0.75))

    def test_empirical_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "sizes.csv").write_text("id,seconds\n1,0.5\n2,1.5\n3,1.5\n")
        law = Empirical([0.5, 1.5, 1.5])
        assert parse_service("empirical:sizes.csv:seconds", tmp_path) == law
        table = {"distribution": "empirical", "file": "sizes.csv", "column": "seconds"}
        assert service_from_table(table, "here", tmp_path) == law

    def test_a_byte_order_mark_is_no_part_of_the_column_name(self, tmp_path: Path) -> None:
        (tmp_path / "sizes.csv").write_bytes("\ufeffseconds\n2\n".encode())
        assert parse_service("empirical:sizes.csv:seconds", tmp_path).mean == 2.0

    def test_colons_in_the_path(self, tmp_path: Path) -> None:
        (tmp_path / "a:b.csv").write_text("seconds\n2\n")
        assert parse_service("empirical:a:b.csv:seconds", tmp_path).mean == 2.0

    def test_arrivals(self, tmp_path: Path) -> None:
        (tmp_path / "log.csv").write_text("arrival_s\n0\n1\n4\n")
        for inline, table, expected in (
            ("poisson:0.8", {"process": "poisson", "rate": 0.8}, Poisson(0.8)),
            ("renewal:2,0.5", {"process": "renewal", "rate": 2, "scv": 0.5}, Renewal(2.0, 0.5)),
            ("trace:log.csv", {"process": "trace", "file": "log.csv"}, Trace((0.0, 1.0, 4.0))),
        ):
            assert parse_arrivals(inline, tmp_path) == expected
            assert arrivals_from_table(table, "here", tmp_path) == expected
            assert arrivals_from_table(inline, "here", tmp_path) == expected

    def test_a_request_log_is_a_trace(self, tmp_path: Path) -> None:
        (tmp_path / "log.csv").write_text("request_id,scheduled_s\na,0.5\nb,1.0\n")
        assert parse_arrivals("trace:log.csv", tmp_path) == Trace((0.5, 1.0))


class TestRoundTrip:
    @pytest.mark.parametrize("law", ROUND_TRIPS, ids=lambda law: type(law).__name__)
    def test_laws(self, law: Distribution) -> None:
        assert service_from_table(law_to_table(law), "here") == law

    def test_an_empirical_law_returns_as_the_same_table(self) -> None:
        law = Empirical([1.0, 2.0, 2.0])
        again = service_from_table(law_to_table(law), "here")
        assert again.atoms() == law.atoms() and law_to_table(again) == law_to_table(law)

    @pytest.mark.parametrize(
        "process", [Poisson(0.8), Renewal(2.0, 0.5), Trace((0.5, 1.0, 4.0))], ids=lambda p: type(p).__name__
    )
    def test_processes(self, process: ArrivalProcess) -> None:
        assert arrivals_from_table(arrivals_to_table(process), "here") == process

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(sorted(LAWS)), st.lists(st.floats(1.0, 1e6), min_size=3, max_size=3, unique=True))
    def test_any_parameters(self, kind: str, values: list[float]) -> None:
        low, *_, high = sorted(values)
        given_values = {"k": 3, "low": low, "high": high}
        table = {"distribution": kind, **{name: given_values.get(name, high) for name in LAWS[kind][1]}}
        law = service_from_table(table, "here")
        assert service_from_table(law_to_table(law), "here") == law

    def test_laws_and_processes_of_the_user_have_no_spelling(self) -> None:
        class Own(Exponential):
            pass

        class OwnProcess(ArrivalProcess):
            rate = 1.0

            def times(self, rng, horizon_s):
                return []

            def at_rate(self, rate):
                return self

        with pytest.raises(InputError, match="law Own: has no spelling"):
            law_to_table(Own(1.0))
        with pytest.raises(InputError, match="arrivals OwnProcess: has no spelling"):
            arrivals_to_table(OwnProcess())


BAD_SERVICE = {
    "": "is empty; known: ",
    "exponental:1": "'exponental' is unknown; did you mean 'exponential'?",
    "lognormal": "has 0 of 2 values; write lognormal:MEAN,SCV",
    "lognormal:1": "has 1 of 2 values; write lognormal:MEAN,SCV",
    "exponential:1,2": "has 2 of 1 values; write exponential:MEAN",
    "exponential:fast": "holds text where a number should be; write exponential:MEAN",
    "exponential:": "has 0 of 1 values",
    "exponential:nan": "exponential, mean: nan is not a positive number",
    "exponential:inf": "is too large",
    "exponential:-1": "exponential, mean: -1.0 is not a positive number; give a value above 0",
    "exponential:0": "is not a positive number",
    "exponential:1e999": "is too large",
    "erlang:1.5,1": "erlang, k: 1.5 is not a whole number of phases",
    "erlang:nan,1": "erlang, k: nan is not a positive number",
    "hyperexponential:1,0.5": "scv: 0.5 is below 1; use gamma or erlang",
    "uniform:3,1": "[3.0, 1.0] is no interval",
    "pareto:1,0.5": "leaves the mean infinite",
    "empirical:": "needs a file and a column; write empirical:FILE.csv:COLUMN",
    "empirical:file.csv": "needs a file and a column",
    "empirical:file.csv:": "needs a file and a column",
    "discrete:1": "'discrete' is unknown",
}


@pytest.mark.parametrize("text", BAD_SERVICE)
def test_bad_inline_services(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_service(text)
    assert str(caught.value).startswith(f"service '{text}'") and BAD_SERVICE[text] in str(caught.value)


BAD_ARRIVALS = {
    "": "is empty",
    "poison:1": "did you mean 'poisson'?",
    "poisson:-1": "poisson, rate: -1.0 is not a positive number",
    "renewal:1": "has 1 of 2 values; write renewal:RATE,SCV",
    "renewal:1,1e9": "renewal, scv: 1e+09 is out of reach; give at most 10000",
    "trace:": "needs a file; write trace:FILE.csv",
    "trace": "needs a file",
}


@pytest.mark.parametrize("text", BAD_ARRIVALS)
def test_bad_inline_arrivals(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_arrivals(text)
    assert str(caught.value).startswith(f"arrivals '{text}'") and BAD_ARRIVALS[text] in str(caught.value)


def nested(depth: int) -> dict:
    law: dict = {"distribution": "exponential", "mean": 1}
    for _ in range(depth):
        law = {"distribution": "scaled", "factor": 2, "law": law}
    return law


EXPONENTIAL = {"distribution": "exponential", "mean": 1}
BAD_TABLES = {
    "none": ({}, "here.distribution: is missing; known: exponential"),
    "a list of kinds": ({"distribution": ["exponential"]}, "here.distribution: ['exponential'] is unknown"),
    "kind": ({"distribution": "lognormale", "mean": 1}, "did you mean 'lognormal'?"),
    "unknown key": ({"distribution": "exponential", "maen": 1}, "here.maen: is not known; did you mean 'mean'?"),
    "missing key": ({"distribution": "lognormal", "mean": 1}, "here.scv: is missing; needs mean, scv"),
    "text": ({"distribution": "exponential", "mean": "1"}, "here.mean: '1' is not a number"),
    "true": ({"distribution": "exponential", "mean": True}, "here.mean: True is not a number"),
    "negative": ({"distribution": "exponential", "mean": -1}, "here.mean: -1 is not a positive number"),
    "nan": ({"distribution": "exponential", "mean": math.nan}, "here.mean: nan is not a positive number"),
    "huge": ({"distribution": "exponential", "mean": 10**400}, "here.mean: is too large"),
    "no table": (["exponential", 1], "here: ['exponential', 1] is not a number"),
    "zero constant": (0, "here.value: 0 is not a positive number"),
    "one value": ({"distribution": "discrete", "values": 5, "probabilities": [1]}, "here.values: 5 is no list"),
    "text value": (
        {"distribution": "discrete", "values": [1, "a"], "probabilities": [0.5, 0.5]},
        "here.values.1: 'a' is not a number",
    ),
    "sum": (
        {"distribution": "discrete", "values": [1, 2], "probabilities": [0.5, 0.6]},
        "here.probabilities: must be >= 0 and sum to 1",
    ),
    "lengths": (
        {"distribution": "discrete", "values": [1, 2], "probabilities": [1.0]},
        "here, discrete: needs one probability per value",
    ),
    "huge value": (
        {"distribution": "discrete", "values": [10**300, 2], "probabilities": [0.5, 0.5]},
        "here.values: must be finite",
    ),
    "mixture of no list": (
        {"distribution": "mixture", "laws": EXPONENTIAL, "probabilities": [1.0]},
        "here.laws: {'distribution': 'exponential', 'mean... is no list",
    ),
    "mixture of text": (
        {"distribution": "mixture", "laws": ["fast"], "probabilities": [1.0]},
        "here.laws.0: service 'fast': 'fast' is unknown",
    ),
    "mixture sum": (
        {"distribution": "mixture", "laws": [EXPONENTIAL, EXPONENTIAL], "probabilities": [0.5, 0.4]},
        "here, mixture: probabilities must be >= 0 and sum to 1",
    ),
    "inside a mixture": (
        {"distribution": "mixture", "laws": [{"distribution": "exponential", "mean": 0}], "probabilities": [1.0]},
        "here.laws.0.mean: 0 is not a positive number",
    ),
    "factor": ({"distribution": "scaled", "factor": "2", "law": EXPONENTIAL}, "here.factor: '2' is not a number"),
    "offset": ({"distribution": "shifted", "offset": -1, "law": EXPONENTIAL}, "here.offset: -1 is not a positive"),
    "no law": ({"distribution": "scaled", "factor": 2}, "here.law: is missing; needs factor, law"),
    "depth": (nested(30), "is nested too deep; at most 20 laws"),
    "empirical file": ({"distribution": "empirical", "file": 3, "column": "a"}, "here.file: 3 is no text"),
    "empirical column": ({"distribution": "empirical", "file": "a.csv", "column": 1}, "here.column: 1 is no text"),
    "null character": (
        {"distribution": "empirical", "file": "a\0b", "column": "a"},
        "here.file: holds a null character",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables(name: str) -> None:
    table, expected = BAD_TABLES[name]
    with pytest.raises(InputError) as caught:
        service_from_table(table, "here")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_deep_but_allowed() -> None:
    assert service_from_table(nested(19), "here").mean == 2.0**19


BAD_PROCESSES = {
    "none": ({}, "here.process: is missing; known: poisson, renewal, trace"),
    "kind": ({"process": "poisson process", "rate": 1}, "did you mean 'poisson'?"),
    "number": (0.8, "here: 0.8 is no table; e.g. { process = 'poisson', rate = 0.5 }"),
    "text": ("poisson", "here: arrivals 'poisson': has 0 of 1 values; write poisson:RATE"),
    "negative": ({"process": "poisson", "rate": -0.5}, "here.rate: -0.5 is not a positive number"),
    "text rate": ({"process": "poisson", "rate": "fast"}, "here.rate: 'fast' is not a number"),
    "no file": ({"process": "trace"}, "here.file: is missing"),
    "both": ({"process": "trace", "times_s": [0, 1], "file": "a"}, "here.file: is not known"),
    "times": ({"process": "trace", "times_s": [0, "a"]}, "here.times_s.1: 'a' is not a number"),
    "unsorted": ({"process": "trace", "times_s": [0, 2, 1]}, "arrival 3: comes before the one above it"),
}


@pytest.mark.parametrize("name", BAD_PROCESSES)
def test_bad_process_tables(name: str) -> None:
    table, expected = BAD_PROCESSES[name]
    with pytest.raises(InputError) as caught:
        arrivals_from_table(table, "here")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_every_process_has_a_table_and_a_line() -> None:
    assert set(PROCESSES) == {"poisson", "renewal"}


class TestFilesOfNumbers:
    """Faults of the CSV files behind empirical laws and traces, named by file and line."""

    def read(self, path: Path, content: bytes | None) -> str:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            parse_service(f"empirical:{path.name}:seconds", path.parent)
        with pytest.raises(InputError):
            parse_arrivals(f"trace:{path.name}", path.parent)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        assert "No such file or directory; check the path" in self.read(tmp_path / "a.csv", None)

    def test_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").mkdir()
        assert "Is a directory" in self.read(tmp_path / "a.csv", None)

    def test_cyclic_link(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").symlink_to(tmp_path / "a.csv")
        assert "Too many levels of symbolic links" in self.read(tmp_path / "a.csv", None)

    def test_empty(self, tmp_path: Path) -> None:
        assert "is empty; give a header" in self.read(tmp_path / "a.csv", b"")

    def test_no_rows(self, tmp_path: Path) -> None:
        assert "column seconds: holds no values" in self.read(tmp_path / "a.csv", b"seconds\n")

    def test_binary(self, tmp_path: Path) -> None:
        assert "is not text; save it as UTF-8" in self.read(tmp_path / "a.csv", bytes(range(128, 256)) * 9)

    def test_endless_cell(self, tmp_path: Path) -> None:
        assert "is not CSV: field larger" in self.read(tmp_path / "a.csv", b"seconds\n" + b"1" * 200_000)

    def test_column(self, tmp_path: Path) -> None:
        line = self.read(tmp_path / "a.csv", b"second,id\n1,2\n")
        assert "column seconds: is missing; did you mean 'second'?" in line

    @pytest.mark.parametrize("cell", [b"fast", b"nan", b"-1", b"inf", b""])
    def test_cell(self, tmp_path: Path, cell: bytes) -> None:
        line = self.read(tmp_path / "a.csv", b"seconds,arrival_s\n1,1\n" + cell + b"," + cell + b"\n")
        assert f"line 3, seconds: '{cell.decode()}' is not a number >= 0; correct or remove that row" in line

    def test_short_row(self, tmp_path: Path) -> None:
        assert "line 2, seconds: '' is not" in self.read(tmp_path / "a.csv", b"id,seconds,arrival_s\n1\n")

    def test_only_zeros(self, tmp_path: Path) -> None:
        assert "not all 0" in self.read(tmp_path / "a.csv", b"seconds\n0\n0\n")

    def test_trace_faults_name_the_file(self, tmp_path: Path) -> None:
        for content, fault in (
            ("1\n", "needs at least two"),
            ("1\n3\n2\n", "arrival 3: comes before the one above it; sort by time"),
            ("5\n5\n", "all arrivals come at once"),
        ):
            (tmp_path / "log.csv").write_text("arrival_s\n" + content)
            with pytest.raises(InputError) as caught:
                parse_arrivals("trace:log.csv", tmp_path)
            assert str(tmp_path / "log.csv") in str(caught.value) and fault in str(caught.value)
