"""Which points a sweep has, and what is refused before any of them is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, SRPT
from qmodel.scenario import Scenario, System
from qmodel.service.from_model import FittedModel
from qmodel.sweep import grid
from qmodel.workload import Exponential, Poisson, RequestClass

ONE = Scenario(classes=[RequestClass("chat", Poisson(0.5), Exponential(1.0))])
FILE = """
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 0.5 }
service  = { distribution = "lognormal", mean = 1.0, scv = 4.0 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.toml"
    path.write_text(FILE)
    return path


def test_every_combination_fields_outermost_policies_innermost() -> None:
    points = grid(ONE, {"system.servers": [1, 2], "class.chat.weight": [1.0, 3.0]}, [FCFS(), SRPT()], [0.2, 0.4])
    assert len(points) == 16
    told = [
        (p.settings["system.servers"], p.settings["class.chat.weight"], p.scenario.rate, p.scenario.policy.name)
        for p in points
    ]
    assert told[:5] == [(1, 1.0, 0.2, "fcfs"), (1, 1.0, 0.2, "srpt"), (1, 1.0, 0.4, "fcfs"), (1, 1.0, 0.4, "srpt"),
                        (1, 3.0, 0.2, "fcfs")]  # fmt: skip
    assert told == sorted(told, key=lambda point: point[:3])
    assert all(p.scenario.system.servers == p.settings["system.servers"] for p in points)
    assert all(p.scenario.classes[0].weight == p.settings["class.chat.weight"] for p in points)


def test_nothing_varied_is_the_scenario_itself() -> None:
    (point,) = grid(ONE)
    assert point.scenario.fingerprint == ONE.fingerprint and point.settings == {}


def test_whole_laws_and_policies_vary() -> None:
    laws = [{"distribution": "exponential", "mean": 2.0}, "lognormal:1,4"]
    points = grid(ONE, {"class.chat.service": laws, "policy.preset": ["fcfs", "srpt"]})
    assert [point.scenario.classes[0].service.mean for point in points] == [2.0, 2.0, 1.0, 1.0]
    assert [point.scenario.policy.name for point in points] == ["fcfs", "srpt"] * 2


def test_a_file_is_varied_as_it_is_set(file: Path) -> None:
    points = grid(str(file), {"class.chat.service.scv": [1.0, 9.0]}, settings={"system.servers": "2"})
    assert [point.scenario.classes[0].service.scv for point in points] == pytest.approx([1.0, 9.0])
    assert {point.scenario.system.servers for point in points} == {2}
    assert {point.scenario.name for point in points} == {"one"}
    (alone,) = grid(file, settings={"class.chat.service.scv": "3"})
    assert alone.scenario.classes[0].service.scv == pytest.approx(3.0)


def test_a_scenario_object_is_set_too() -> None:
    (point,) = grid(ONE, settings={"system.servers": "3"})
    assert point.scenario.system.servers == 3 and point.scenario.name == ONE.name


@pytest.mark.parametrize(
    ("vary", "place"),
    [
        ({"system.servers": []}, "--vary system.servers"),
        ({"system.server": [1]}, "system.server"),
        ({"class.nobody.weight": [1.0]}, "class.nobody.weight"),
        ({"system.servers": [1, -2]}, "servers"),
        ({"class.chat.service": ["gaussian:1"]}, "service"),
    ],
)
def test_a_field_or_value_that_cannot_be_is_refused(vary: dict, place: str) -> None:
    with pytest.raises(InputError, match=place):
        grid(ONE, vary)


def test_a_fitted_model_is_varied_by_its_file() -> None:
    class Model(FittedModel):  # type: ignore[misc]
        fingerprint = "m"

        def predict(self, factors):  # type: ignore[no-untyped-def]
            return 1.0

    scenario = Scenario(classes=ONE.classes, system=System(model=Model()))
    with pytest.raises(InputError, match="by its file"):
        grid(scenario, {"system.servers": [1]})
