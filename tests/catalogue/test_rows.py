"""Every row: it is whole, its settings are scenarios, and its acceptance is met."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from qmodel.catalogue import all_rows, find
from qmodel.catalogue.case import Case
from qmodel.catalogue.registry import MODULES
from qmodel.catalogue.row import FOLDER, Row
from qmodel.catalogue.running import run
from qmodel.errors import InputError
from qmodel.scenario_file import read_scenario

ROWS = all_rows()
QUICK = {
    "diffusion-server", "apparate", "nirvana", "hiddenkey", "cdmpp", "model-swap", "predictions", "qllm",
    "learning-to-rank", "rps-serve", "seallm", "uellm", "jitserve", "slos-serve", "drift", "annealing", "scls",
    "smooth-goodput",
}  # fmt: skip
"""Rows whose acceptance takes a second or two."""


def test_there_are_38_rows_in_order() -> None:
    assert [row.number for row in ROWS] == list(range(1, 39))
    assert len({row.name for row in ROWS}) == 38


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_whole(row: Row) -> None:
    assert row.idea and row.reference and row.title and len(row.title) <= 44
    assert row.text and len(row.settings) > 1
    assert len({setting.label for setting in row.settings}) == len(row.settings)
    read_scenario(row.path)
    for setting in row.settings:
        assert Case(row).scenario(setting.changes).classes


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_acceptance_is_short(row: Row) -> None:
    """A longer one would be a sign of a missing primitive."""
    module = import_module(row.accept.__module__)
    own = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    assert sum(len(inspect.getsource(function).splitlines()) for function in own) <= 60


@pytest.mark.parametrize("row", [row for row in ROWS if row.unchecked], ids=lambda row: row.name)
def test_assumptions_are_told(row: Row) -> None:
    """What stands for a paper without having been checked against it is named -like, and says what was assumed."""
    name, colon, assumed = row.unchecked.partition(": ")
    assert name.endswith("-like") and colon and len(assumed) > 20


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in QUICK], ids=lambda row: row.name)
def test_acceptance(row: Row) -> None:
    case = Case(row)
    missed = [check.says for check in row.accept(case) if not check.holds]
    assert not missed


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.name not in QUICK], ids=lambda row: row.name)
def test_acceptance_of_longer_ones(row: Row) -> None:
    case = Case(row)
    missed = [check.says for check in row.accept(case) if not check.holds]
    assert not missed


def test_running_a_row() -> None:
    ran = run(Case(find("cdmpp")))
    assert ran.holds and len(ran.answers) == 5
    data = ran.to_dict()
    assert data["accepted"] is True and data["results"][0]["setting"].startswith("10.85")


def test_find() -> None:
    assert find("R16").name == find("16").name == find("Model-Swap").name == "model-swap"
    with pytest.raises(InputError, match="did you mean 'vllm'"):
        find("vlm")


def test_every_scenario_belongs_to_a_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == {row.name for row in ROWS}
    assert len(MODULES) == 38
    link = Path(__file__).parents[2] / "experiments" / "catalogue"
    assert link.resolve() == FOLDER.resolve()
