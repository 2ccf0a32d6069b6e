"""A row's answers at 80 columns: no line is wider, nothing is lost, changes of shares are in points."""

from __future__ import annotations

import pytest

from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.catalogue.case import Case
from qmodel.catalogue.registry import all_rows, find
from qmodel.catalogue.row import Setting
from qmodel.catalogue.running import Ran
from qmodel.cli.catalogue_table import change, how, otherwise, table
from qmodel.cli.catalogue_text import notes, verdict, whom
from qmodel.cli.tables import significant


def ran_of(row, values: float = 1234.5, methods: dict[str, str] | None = None) -> Ran:
    """A row whose settings all answer with these values."""
    settings = tuple(Setting(one.label) for one in row.settings)
    names = {metric.rpartition(":")[0] or "all" for metric in row.shown} | {"all"}
    shown = {metric.rpartition(":")[2]: values for metric in row.shown}
    classes = [ClassAnswer(name, 1.0, dict(shown), methods=methods or {}) for name in sorted(names)]
    answers = tuple(PolicyAnswer("fcfs", 1.0, "approximation", "a formula", 0.5, classes) for _ in settings)
    return Ran(Case(row), settings, answers)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_no_line_is_wider_than_the_terminal_and_all_metrics_are_there(row) -> None:
    lines = list(table(ran_of(row), 80))
    assert max(map(len, lines)) <= 80
    cells = sum(line.count("1234") + line.count("1235") for line in lines)
    assert cells == len(row.settings) * len(row.shown)
    assert sum("method" in line for line in lines) == 1


def test_what_was_had_otherwise_is_marked() -> None:
    ran = ran_of(find("seallm"), methods={"p95_response_s": "simulation"})
    lines = list(table(ran, 80))
    assert sum(line.count("~") for line in lines) == len(ran.settings)
    assert otherwise(ran) == ["simulation"]
    assert notes(ran)[1:] == ["all: a formula", "~ by simulation, intervals in --json"]
    assert otherwise(ran_of(find("seallm"))) == []


def test_one_setting_has_nothing_to_be_held_against() -> None:
    ran = ran_of(find("seallm"))
    alone = Ran(ran.case, ran.settings[:1], ran.answers[:1])
    assert not any("baseline" in line for line in table(alone, 80))
    assert whom(["fcfs"], 1) == "fcfs"


def test_an_answer_without_a_steady_state_is_told_and_has_no_change() -> None:
    ran = ran_of(find("diffusion-server"))
    lost = PolicyAnswer("fcfs", 1.0, "exact", "unstable queue", 1.2, [ClassAnswer("all", 1.0, {})], stable=False)
    lines = list(table(Ran(ran.case, ran.settings, (*ran.answers[:-1], lost)), 80))
    assert how(lost) == "unstable" and any(line.endswith("unstable") for line in lines)
    assert lines[-1].split()[-1] == "-"
    assert verdict(Ran(ran.case, (), (), (), 0.25)).endswith("accepted, 0 of 0 checks met (0.2 s)")


def test_changes() -> None:
    assert change("attainment", 0.5, 0.6) == "-10.0 pp"
    assert change("attainment", 0.99999, 1.0) == "0.0 pp"
    assert change("mean_wait_s", 1.0004, 1.0) == "0.0 %"
    assert significant(1234.5) == "1234"
