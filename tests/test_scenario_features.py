"""What is unusual about a scenario: read from a file, named, fingerprinted, and refused where it is not handled."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario
from qmodel.scenario_file import from_tables
from qmodel.scenario_tables import to_tables
from qmodel.service.environment import Environment
from qmodel.theory import analyse

CLASS = {"name": "chat", "arrivals": "poisson:0.4", "service": "exponential:1"}
SWITCHING = {"speeds": [1.0, 0.5], "generator": [[-1.0, 1.0], [3.0, -3.0]]}
PAUSE = {"probability": 0.5, "duration": "exponential:3", "kv": "discard"}
UNUSUAL = {
    "buffer": {"system": {"buffer": 9}},
    "routing": {"system": {"servers": 3, "routing": "jsq:2"}},
    "setup": {"system": {"setup_s": "deterministic:0.1"}},
    "vacation": {"system": {"vacation_s": "exponential:0.1"}},
    "environment": {"system": {"environment": SWITCHING}},
    "static-batching": {"system": {"batching": "dynamic", "max_batch": 8, "min_batch": 8}},
    "bins": {"system": {"batching": "dynamic", "max_batch": 8, "bins": [0.5, 2.0]}},
    "preemption-cost": {"policy": {"preset": "pr-priority", "preemption_cost_s": 0.01}},
    "grain": {"policy": {"preset": "pr-priority", "grain_s": 0.02}},
    "patience": {"class": [CLASS | {"patience": "exponential:5"}]},
    "pause": {"class": [CLASS | {"pause": PAUSE}]},
    "prefix-hit": {"class": [CLASS | {"prefix_hit": 0.25}]},
}


def spelled(tables: dict[str, object]) -> Scenario:
    return from_tables({"class": [CLASS]} | tables, "test", Path())


@pytest.mark.parametrize("word", UNUSUAL)
class TestFeature:
    def test_is_named(self, word: str) -> None:
        assert spelled(UNUSUAL[word]).features == {word}

    def test_changes_the_fingerprint(self, word: str) -> None:
        system = {
            k: v for k, v in UNUSUAL[word].get("system", {}).items() if k in ("servers", "batching", "max_batch")
        }
        policy = {k: v for k, v in UNUSUAL[word].get("policy", {}).items() if k == "preset"}
        plain = spelled({"system": system, "policy": policy})
        assert not plain.features
        assert spelled(UNUSUAL[word]).fingerprint != plain.fingerprint

    def test_its_tables_read_back(self, word: str) -> None:
        scenario = spelled(UNUSUAL[word])
        tables = to_tables(scenario)
        again = from_tables({k: v for k, v in tables.items() if v}, "again", Path())
        assert to_tables(again) == tables


TANDEM = {
    "station": [{"name": "encode", "transfer_s": 0.1}, {"name": "decode", "servers": 2}],
    "class": [{"name": "a", "arrivals": "poisson:0.5", "services": {"encode": 1.0, "decode": "exponential:3"}}],
}


class TestStations:
    def test_load_is_that_of_the_busiest(self) -> None:
        scenario = from_tables(TANDEM, "test", Path())
        assert scenario.features == {"stations"}
        assert scenario.utilisation == 0.75
        assert scenario.served[0].at_stations["decode"].mean == 3.0

    def test_an_unknown_station(self) -> None:
        tables = {**TANDEM, "station": [{"name": "encode"}]}
        with pytest.raises(InputError, match=r"class 'a', services, decode: is no station"):
            from_tables(tables, "test", Path())

    def test_a_class_that_visits_none(self) -> None:
        with pytest.raises(InputError, match="is missing"):
            from_tables({**TANDEM, "class": [CLASS]}, "test", Path())


class TestRefusals:
    def test_what_no_result_handles_is_named(self) -> None:
        tables = {"system": {"buffer": 9, "setup_s": 0.1}, "policy": {"preset": "srpt"}}
        refusal = analyse(spelled(tables))
        assert isinstance(refusal, NotAnalysable)
        assert "buffer with setup" in refusal.reason

    @pytest.mark.parametrize(
        ("system", "fault"),
        [
            ({"routing": "nearest"}, "'nearest' is unknown"),
            ({"routing": "random:2"}, "'random:2' is unknown"),
            ({"migration_s": 0.1}, "no meaning with one shared queue"),
            ({"servers": 2, "routing": "jsq", "migration_s": -1.0}, "is no time"),
            ({"buffer": 0}, "is below 1"),
            ({"min_batch": 2}, "no meaning with batching"),
            ({"batching": "dynamic", "max_batch": 4, "min_batch": 5}, "above max_batch"),
            ({"batching": "dynamic", "bins": 0}, "below 1"),
            ({"batching": "dynamic", "bins": [2.0, 1.0]}, "increase"),
            ({"environment": {"speeds": [0.0], "generator": [[0.0]]}}, "one above 0"),
            ({"environment": {"speeds": [1.0, 1.0], "generator": [[-1.0, 1.0]]}}, "not 2 by 2"),
            ({"environment": {"speeds": [1.0, 1.0], "generator": [[1.0, -1.0], [1.0, -1.0]]}}, "negative"),
            ({"environment": {"speeds": [1.0, 1.0], "generator": [[-1.0, 2.0], [1.0, -1.0]]}}, "sum to 0"),
            ({"environment": {"speeds": [1.0, 1.0], "generator": [[-1.0, 1.0], [0.0, 0.0]]}}, "never"),
        ],
    )
    def test_bad_systems(self, system: dict[str, object], fault: str) -> None:
        with pytest.raises(InputError, match=fault):
            spelled({"system": system})

    @pytest.mark.parametrize(
        ("given", "fault"),
        [
            ({"pause": PAUSE | {"probability": 1.0}}, "not between 0 and 1"),
            ({"prefix_hit": 1.0}, "is no share"),
            ({"services": {"encode": 1.0}}, "beside another size"),
        ],
    )
    def test_bad_classes(self, given: dict[str, object], fault: str) -> None:
        with pytest.raises(InputError, match=fault):
            spelled({"class": [CLASS | given]})


def test_one_server_needs_no_routing() -> None:
    assert spelled({"system": {"routing": "jsq"}}).features == frozenset()
    assert str(Routing.parse("jsq:2")) == "jsq:2"


def test_pauses_multiply_the_load() -> None:
    assert spelled({"class": [CLASS | {"pause": PAUSE}]}).utilisation == pytest.approx(0.8)


def test_a_fast_environment_of_three_states() -> None:
    chain = Environment((2.0, 1.0, 0.0), ((-2.0, 1.0, 1.0), (1.0, -2.0, 1.0), (1.0, 1.0, -2.0)))
    assert chain.mean_speed == pytest.approx(1.0)
