"""Fleets of two kinds: by hand for exponential services, split evenly by what bounds leave, told on a terminal."""

from __future__ import annotations

import pytest

from qmodel.cli.plan_table import plan_lines
from qmodel.errors import InputError
from qmodel.planning import Kind, plan
from qmodel.planning.candidates import Setting
from qmodel.planning.fleets import Carried
from qmodel.planning.judging import Judge
from qmodel.planning.slo import bounds_of
from qmodel.planning.written import to_dict, to_json
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass

FAST = Kind("fast", {"class.jobs.service.mean": "0.25"}, price=3.5)
SLOW = Kind("slow", {"class.jobs.service.mean": "1.0"}, price=1.0)
ASKED = {"slos": ["response_s=2"], "servers": range(1, 8), "mix": True, "requests": 100_000}


@pytest.fixture
def jobs() -> Scenario:
    return Scenario((RequestClass("jobs", Poisson(3.9), Exponential(mean=1.0)),))


def test_one_of_each_by_hand(jobs: Scenario) -> None:
    """E[T] <= 2: 1 fast carries 3.5, 1 slow 0.5. Alone 2 fast (7) or 5 slow (5); together 4.5.

    At the best split 1 / (4 - a) = 1 / (1 - b), a + b = 3.9: a = 3.45.
    """
    found = plan(jobs, kinds=[FAST, SLOW], **ASKED)  # type: ignore[arg-type]
    fleet, winner = found.fleet, found.winner
    assert fleet is not None and winner is not None and found.met
    assert (winner.judged.price, winner.judged.servers) == (5.0, 5)
    assert (fleet.price, fleet.servers) == (4.5, 2)
    assert fleet.share == pytest.approx(3.45 / 3.9, abs=1e-3)
    for part in fleet.parts:
        assert next(iter(part.judged.values.values())) == pytest.approx(1 / 0.55, rel=5e-3)
        assert part.verdict in ("holds", "within noise")
    written = to_dict(found)["fleet"]
    assert written["price"] == 4.5 and len(written["parts"]) == 2 and '"fleet"' in to_json(found)
    text = "\n".join(plan_lines(found, 80))
    assert "two kinds: 2 servers, price 4.500; 88.5% of the arrivals to the first" in text
    assert "against the winner: price -10.0 %, 3 servers less" in text
    assert max(map(len, text.splitlines())) <= 80


def test_fewest_servers(jobs: Scenario) -> None:
    found = plan(jobs.at_rate(7.3), kinds=[FAST, SLOW], objective="servers", **ASKED)  # type: ignore[arg-type]
    assert found.winner is not None and found.winner.judged.servers == 2  # both fast: 2 * 4 > 7.3 + 1/2
    assert found.fleet is not None and found.fleet.servers > 2


def test_where_one_kind_alone_does_not_reach(jobs: Scenario) -> None:
    """One server of each kind at most: neither carries 3.9, both together do; 4.1 is beyond both."""
    few = {**ASKED, "servers": [1]}
    found = plan(jobs, kinds=[FAST, SLOW], objective="price", **few)  # type: ignore[arg-type]
    assert found.winner is None and found.met
    lost = plan(jobs.at_rate(4.1), kinds=[FAST, SLOW], objective="price", **few)  # type: ignore[arg-type]
    assert lost.fleet is None and not lost.met
    assert "no fleet of two kinds meets them" in "\n".join(plan_lines(lost, 80))
    assert to_dict(lost)["fleet"] is None
    plain = plan(jobs, kinds=[FAST, SLOW], **{**ASKED, "mix": False})  # type: ignore[arg-type]
    assert plain.fleet is None and "two kinds" not in "\n".join(plan_lines(plain, 80))


def test_engines_carry_in_proportion_and_what_is_hopeless_nothing() -> None:
    lengths = {"input_tokens": Deterministic(50), "output_tokens": Deterministic(20)}
    chat = RequestClass("chat", Poisson(2.0), factors=lengths)
    system = System(batching="continuous", max_batch=4, iteration_time=IterationTime(base=0.02))
    setting = Setting(Scenario((chat,), system=system), {"kind": "one"})
    carried = Carried(Judge(bounds_of(setting.scenario, ["response_s=1.0"]), requests=2_000))
    assert carried(setting, 3) == 3 * carried(setting, 1) > 2.0
    never = Carried(Judge(bounds_of(setting.scenario, ["response_s=0.3"]), requests=2_000))
    assert never(setting, 2) == 0.0


def test_what_cannot_be_mixed(jobs: Scenario) -> None:
    for given, words in (
        ({"kinds": [FAST]}, "two kinds"),
        ({"kinds": [FAST, SLOW], "objective": "rate"}, "servers or price"),
    ):
        with pytest.raises(InputError, match=words):
            plan(jobs, **{**ASKED, "requests": 20_000}, **given)  # type: ignore[arg-type]


def test_a_trace_is_not_dealt_out(jobs: Scenario) -> None:
    import numpy as np

    from qmodel.planning import Recorded

    trace = Recorded(np.arange(0.0, 500.0, 0.5))
    with pytest.raises(InputError, match="not a trace"):
        plan(jobs, kinds=[FAST, SLOW], trace=trace, **ASKED)  # type: ignore[arg-type]
