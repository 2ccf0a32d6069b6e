"""The what-if table: no number cut at 80 columns, every cell labelled, units that read well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.answer import Answer, ClassAnswer, PolicyAnswer, percentile_name
from qmodel.cli.tables import answer_lines, caption, cut, legend, print_answer, share, significant, time_unit

LONG = "a-very-long-class-name-of-nightly-summaries"


def answer(
    policies: tuple[str, ...] = ("fcfs",),
    classes: tuple[str, ...] = ("chat",),
    percentiles: tuple[float, ...] = (50, 95, 99),
    rates: tuple[float, ...] = (0.8,),
    scale: float = 1.0,
) -> Answer:
    """Every number different, so that a lost one is missed."""
    results, number = [], 1000.0
    for rate in rates:
        for policy in policies:
            rows = []
            for name in ("all", *classes):
                metrics: dict[str, float | None] = {}
                for metric in ("mean_response_s", *map(percentile_name, percentiles)):
                    number += 1
                    metrics[metric] = number * scale
                rows.append(ClassAnswer(name, rate, metrics))
            results.append(PolicyAnswer(policy, rate, "exact", f"result of {policy}", rate, rows, "Source 1999"))
    return Answer("f", results)


def lines(given: Answer, percentiles: tuple[float, ...] = (50, 95, 99), width: int = 80) -> list[str]:
    return list(answer_lines(given, percentiles, width))


class TestNothingIsLost:
    @pytest.mark.parametrize("percentiles", [(99,), (50, 95, 99), (50, 90, 95, 99, 99.9)])
    @pytest.mark.parametrize("classes", [("chat",), ("chat", "batch"), ("chat", LONG, "embeddings")])
    @pytest.mark.parametrize("policies", [("fcfs",), ("fcfs", "np-priority", "my_orders:ShortestRemainingPrompt")])
    @pytest.mark.parametrize("rates", [(0.8,), (0.4, 0.8125)])
    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_every_number_stands_whole_inside_the_width(
        self, percentiles: tuple, classes: tuple, policies: tuple, rates: tuple, width: int
    ) -> None:
        given = answer(policies, classes, percentiles, rates)
        text = lines(given, percentiles, width)
        assert max(map(len, text)) <= width
        words = " ".join(text).split()
        for result in given.results:
            shown = result.classes[:1] if len(result.classes) == 2 else result.classes
            for one in shown:
                for value in one.metrics.values():
                    assert f"{value:.0f}" in words
        assert "..." not in " ".join(text) and "…" not in " ".join(text)

    def test_wide_tables_go_on_below(self) -> None:
        percentiles = (10, 25, 50, 75, 90, 95, 99, 99.9)
        text = lines(answer(classes=("chat", LONG), percentiles=percentiles), percentiles, 60)
        heads = [line for line in text if line.startswith("policy")]
        assert len(heads) == 2 and "p10" in heads[0] and "p99.9" in heads[1]
        assert all("class" in head and head.rstrip().endswith("method") for head in heads)

    def test_a_pipe_gets_names_in_full(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("COLUMNS", raising=False)
        print_answer(answer(classes=("chat", LONG)), (50, 95, 99))
        assert LONG in capsys.readouterr().out

    def test_columns_set_the_width(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "70")
        print_answer(answer(classes=("chat", LONG)), (50, 95, 99))
        text = capsys.readouterr().out
        assert LONG not in text and max(map(len, text.splitlines())) <= 70 and not re.search(r" +\n", text)


class TestContent:
    def test_one_class_is_one_row_a_policy(self) -> None:
        assert lines(answer(("fcfs", "ps"), percentiles=(99,)), (99,)) == [
            "response times in s at 0.8 requests/s, load 0.800",
            "",
            "policy  mean   p99  method",
            "--------------------------",
            "fcfs    1001  1002  exact ",
            "ps      1005  1006  exact ",
            "",
            "fcfs: result of fcfs (Source 1999)",
            "ps: result of ps (Source 1999)",
        ]

    def test_several_classes_are_rows_of_their_own(self) -> None:
        assert lines(answer(("fcfs", "ps"), ("a", "b"), percentiles=(99,)), (99,))[2:12] == [
            "policy  class  mean   p99  method",
            "---------------------------------",
            "fcfs    all    1001  1002  exact ",
            "        a      1003  1004        ",
            "        b      1005  1006        ",
            "",
            "ps      all    1007  1008  exact ",
            "        a      1009  1010        ",
            "        b      1011  1012        ",
            "",
        ]

    def test_rates_that_differ_are_columns(self) -> None:
        text = lines(answer(rates=(0.25, 12.5), percentiles=()), ())
        assert text[0] == "response times in s"
        assert text[2].split() == ["policy", "rate/s", "load", "mean", "method"]
        assert [line.split()[1] for line in text[4:6]] == ["0.25", "12.5"]

    def test_what_was_had_otherwise_is_marked(self) -> None:
        given = answer(percentiles=(99,))
        given.results[0].classes[0].methods["p99_response_s"] = "simulation"
        text = lines(given, (99,))
        assert "~1002" in text[4] and "~1001" not in text[4]
        assert text[-1] == "~ by simulation, intervals in --json"

    def test_unknown_and_unstable(self) -> None:
        given = answer(percentiles=(99,))
        given.results[0].stable = False
        given.results[0].classes[0].metrics = {"mean_response_s": None, "p99_response_s": None}
        assert lines(given, (99,))[4].split() == ["fcfs", "-", "-", "unstable"]

    def test_attainment_has_a_column_where_there_is_any(self) -> None:
        given = answer(("fcfs", "ps"), percentiles=())
        given.results[0].classes[0].metrics["attainment"] = 0.987
        text = lines(given, ())
        assert text[2].split("  ")[-2:] == ["in SLO", "method"]
        assert "98.70%" in text[4] and text[5].split() == ["ps", "1003", "-", "exact"]

    def test_times_are_scaled_together(self) -> None:
        text = lines(answer(scale=1e-6, percentiles=(99,)), (99,))
        assert text[0].startswith("response times in ms") and "1.001" in text[4] and "1.002" in text[4]

    def test_a_load_that_nobody_knows_is_not_named(self) -> None:
        seen = PolicyAnswer("fcfs", 6.0, "measured", "open-loop load over HTTP", None, [])
        assert caption(Answer("f", [seen]), "ms") == "response times in ms at 6 requests/s"

    def test_caption_of_nothing(self) -> None:
        assert caption(Answer("f", []), "s") == "response times in s"


class TestLegend:
    def test_notes_name_all_whom_they_concern(self) -> None:
        given = answer(("fcfs", "ps"))
        given.results[0].notes = ["shared", "own"]
        given.results[1].notes = ["shared"]
        assert legend(given)[2:] == ["fcfs, ps: shared", "fcfs: own"]

    def test_each_result_once(self) -> None:
        assert legend(answer(rates=(0.2, 0.4))) == ["fcfs: result of fcfs (Source 1999)"]

    def test_a_result_without_a_source(self) -> None:
        given = answer()
        given.results[0].source = ""
        assert legend(given) == ["fcfs: result of fcfs"]

    def test_long_lines_are_wrapped_with_an_indent(self) -> None:
        given = answer()
        given.results[0].notes = ["word " * 40]
        text = lines(given)
        assert max(map(len, text)) <= 80 and any(line.startswith("  word") for line in text)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "-"),
            (float("nan"), "-"),
            (float("inf"), "-"),
            (0.0, "0"),
            (23.02585, "23.03"),
            (0.00123456, "0.001235"),
            (12345.6, "12346"),
            (9.99996, "10.00"),
            (999.96, "1000"),
            (0.99999, "1.000"),
            (1.5e-7, "1.5e-07"),
            (2.5e9, "2.5e+09"),
            (-3.14159, "-3.142"),
        ],
    )
    def test_significant(self, value: float | None, text: str) -> None:
        assert significant(value) == text

    @given(st.floats(1e-12, 1e15))
    def test_significant_is_right_and_short(self, value: float) -> None:
        text = significant(value)
        assert float(text) == pytest.approx(value, rel=5.1e-4) and len(text) <= 9

    @pytest.mark.parametrize(
        ("seconds", "unit"),
        [([5.0], "s"), ([0.004, 0.02], "ms"), ([2e-6, 5e-6], "us"), ([1e-9], "us"), ([], "s"), ([None, 0.0], "s")],
    )
    def test_time_unit(self, seconds: list, unit: str) -> None:
        assert time_unit(seconds)[0] == unit

    def test_share(self) -> None:
        shown = [share(value) for value in (None, 0.0, 0.5, 0.99994, 0.999951, 1.0)]
        assert shown == ["-", "0.00%", "50.00%", "99.99%", ">99.99%", "100.00%"]

    @pytest.mark.parametrize(("width", "text"), [(17, "nightly-summaries"), (11, "night..ries"), (8, "nig..ies")])
    def test_cut(self, width: int, text: str) -> None:
        assert cut("nightly-summaries", width) == text


def test_the_real_thing(qmodel, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = qmodel("predict", "two.toml", "--percentiles", "50,90,95,99,99.9", "--policy", "fcfs,np-priority")
    assert done.code == 0 and max(map(len, done.out.splitlines())) <= 80
    assert "2.143" in done.out and "6.714" in done.out and "np-priority" in done.out
