"""A user's own rank: compiled where it can be, called in Python where not, and the same either way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import SRPT, Policy, Rank, RoundRobin
from qmodel.scenario import Scenario, System
from qmodel.simulation import replay, simulate
from qmodel.simulation.own_rank import Callback, compile_rank, own
from qmodel.simulation.serving import Rules, form_of, serve
from tests.simulation.cases import RANKED, column, drawn, jobs_of, one_class, preset, two_classes
from tests.simulation.reference import best_ranks, fluid


class Remaining(Rank):
    """SRPT, written by a user."""

    preemptive = True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return request.size - attained


class Tilted(Rank):
    """Uses attributes of its own and most of what a request shows."""

    preemptive = True
    tilt = 0.5

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = levels

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        step = 0.0
        for level in self.levels:
            step += attained >= level
        return step + self.tilt * request.priority + 0.01 * request.weight * request.lottery


class ByName(Rank):
    """Reads the class's name, which compiled code does not see."""

    preemptive = True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return 0.0 if request.class_name == "chat" else 1.0


class Patient(Rank):
    """Not preemptive: its rank counts at arrival."""

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return -request.size


class NotANumber(Rank):
    preemptive = True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return math.nan if attained > 0.2 else request.size


class Raising(Rank):
    preemptive = True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        raise KeyError(request.class_name)


def done(scenario: Scenario, count: int = 400) -> tuple[np.ndarray, list[str]]:
    requests = drawn(scenario, count)
    log, notes = serve(scenario.policy, requests, Rules.of(scenario))
    return log.done_s, notes


@pytest.mark.parametrize("servers", [1, 3])
def test_own_srpt_is_srpt(servers: int) -> None:
    scenario = two_classes(SRPT(), rate=0.9 * servers, system=System(servers=servers))
    times, notes = done(scenario.with_policy(Remaining()))
    np.testing.assert_allclose(times, done(scenario)[0], atol=1e-9)
    assert notes == []  # it never gets worse with age, so that it need not be looked at between events


def test_own_srpt_in_steps_is_srpt() -> None:
    scenario = two_classes(SRPT(), rate=0.9)
    requests = drawn(scenario, 400)
    columns = {"arrival_s": requests.arrival_s, "service_s": requests.service_s, "grain_s": 0.1, "tell": None}
    ours = replay(scenario.with_policy(Remaining()), **columns)
    np.testing.assert_array_equal(ours.done_s, replay(scenario, **columns).done_s)


def test_own_levels_are_found_within_a_look() -> None:
    """Attributes of the policy compile; the rank's jumps are seen a look late at most, so means agree closely."""
    policy = Tilted((0.5, 1.0, 2.0))
    assert compile_rank(policy) is not None
    scenario = two_classes(policy, rate=0.9)
    requests = drawn(scenario, 400)
    jobs = jobs_of(requests)
    fluid(jobs, best_ranks(policy, 1, policy.levels))
    times, notes = done(scenario)
    assert "looked at every" in notes[0]
    ours = times - requests.arrival_s
    assert ours.mean() == pytest.approx((column(jobs, "done") - requests.arrival_s).mean(), rel=0.02)


def test_a_rank_that_cannot_be_compiled_is_called_in_python() -> None:
    scenario = two_classes(ByName(), rate=0.9)
    times, notes = done(scenario)
    assert "called in Python" in notes[-1]
    # chat has priority 1, batch 0: the other way round than the preset would take them
    requests = drawn(scenario, 400)
    swapped = two_classes(preset("pr-priority"), rate=0.9)
    flipped = replay(
        swapped, arrival_s=requests.arrival_s, service_s=requests.service_s,
        class_index=1 - requests.class_index, tell=None,
    )  # fmt: skip
    np.testing.assert_allclose(times, flipped.done_s, atol=1e-9)


def test_python_and_compiled_ranks_give_the_same_bits() -> None:
    requests = drawn(two_classes(Remaining(), rate=0.9), 300)
    compiled, callback = own(Remaining(), requests)
    assert callback is None
    from qmodel.simulation.kernels import ordered
    from qmodel.simulation.kernels.columns import blank_log

    logs = []
    for function in (compiled.function, Callback(Remaining(), ("chat", "batch"))):
        log = blank_log(len(requests))
        order = ordered.Order(True, np.empty(0), 0.01)
        ordered.serve(requests.demand, compiled._replace(function=function), order, Rules().control, 1, log)
        logs.append(log)
    np.testing.assert_array_equal(logs[0].done_s, logs[1].done_s)


def test_not_preemptive_own_ranks() -> None:
    outcome = replay(one_class(Patient(), 0.5), arrival_s=[0.0, 0.1, 0.2], service_s=[1.0, 2.0, 3.0], tell=None)
    assert outcome.done_s.tolist() == [1.0, 6.0, 4.0]


@pytest.mark.parametrize("grain", [None, 0.1])
def test_a_rank_that_is_not_a_number_is_refused(grain: float | None) -> None:
    columns = {"arrival_s": [0.0, 0.1, 0.2], "service_s": [1.0, 2.0, 3.0], "tell": None}
    with pytest.raises(InputError, match="policy 'NotANumber', rank: is not a number for request 1;"):
        replay(one_class(NotANumber(), 0.5), grain_s=grain, **columns)


def test_a_rank_that_raises_is_refused() -> None:
    with pytest.raises(InputError, match="policy 'Raising', rank: raised KeyError: 'a'"):
        simulate(one_class(Raising(), 0.5), requests=100, tell=None)


def test_a_rank_by_predictions_that_are_not_made_is_refused() -> None:
    from dataclasses import replace

    from qmodel.workload import PredictedSize

    scenario = two_classes(preset("sprpt"))
    classes = (scenario.classes[0], replace(scenario.classes[1], predicted_size=PredictedSize("none")))
    with pytest.raises(InputError, match="class 'batch', predicted_size"):
        simulate(replace(scenario, classes=classes), requests=100, tell=None)


@pytest.mark.parametrize("name", RANKED)
def test_the_compiled_form_of_a_preset_is_its_rank(name: str) -> None:
    from qmodel.simulation.kernels.rank import rank_of

    scenario = two_classes(preset(name))
    requests = drawn(scenario, 50)
    form = form_of(scenario.policy, requests)
    assert form is not None
    for job in jobs_of(requests):
        for attained in (0.0, 0.3, 0.5, 0.9, 1.7, 5.0):
            assert rank_of(form, job.index, attained) == scenario.policy.rank(job.request, attained)


def test_a_subclass_with_its_own_rank_is_not_the_preset() -> None:
    class Reversed(SRPT):
        def rank(self, request, attained):  # type: ignore[no-untyped-def]
            return attained - request.size

    requests = drawn(two_classes(SRPT()), 20)
    assert form_of(Reversed(), requests) is None
    assert form_of(type("Renamed", (SRPT,), {"name": "mine"})(), requests) is not None


def test_a_subclass_of_round_robin_with_its_own_rank_is_ranked() -> None:
    class Mine(RoundRobin):
        def rank(self, request, attained):  # type: ignore[no-untyped-def]
            return request.arrival_s

    times, _ = done(two_classes(Mine()))
    np.testing.assert_allclose(times, done(two_classes(Policy()))[0], atol=1e-9)
