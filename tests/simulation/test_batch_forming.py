"""Static batches, bins, lengths, room and patience in batches; horizons from a given state; faults of ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, Policy, PreemptivePriority, Rank, RoundRobin
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.simulation import invariants, replay, simulate
from qmodel.simulation.batching import serve_batches
from qmodel.workload import Closed, Deterministic, Exponential, Piecewise, Poisson, RequestClass, Trace, Uniform
from tests.simulation.cases import drawn, one_class, standard_error

SEED = np.random.SeedSequence(2)


def batching(
    rate: float = 1.0, policy: Policy | None = None, patience: float | None = None, **system: object
) -> Scenario:
    law = None if patience is None else Deterministic(patience)
    one = RequestClass("a", Poisson(rate), Exponential(1.0), patience=law)
    taken = IterationTime(base=1.0, per_sequence=0.5)
    return Scenario((one,), policy or FCFS(), System(batching="dynamic", iteration_time=taken, **system))  # type: ignore[arg-type]


def with_lengths(rate: float, **system: object) -> Scenario:
    lengths = {"input_tokens": Deterministic(10), "output_tokens": Uniform(0, 100)}
    taken = IterationTime(base=0.01, per_sequence=0.001, per_context_token=1e-6, per_prefill_token=1e-5)
    one = RequestClass("a", Poisson(rate), factors=lengths)
    return Scenario((one,), system=System(batching="dynamic", iteration_time=taken, **system))  # type: ignore[arg-type]


def done(scenario: Scenario, arrival: list[float], service: list[float] | None = None) -> list[float]:
    given = service or [1.0] * len(arrival)
    return replay(scenario, arrival_s=arrival, service_s=given, tell=None).done_s.tolist()


def test_a_static_batch_waits_until_it_is_full() -> None:
    # 0 and 1 from 1 on; nobody comes any more, so 2 is served alone when the server is free
    assert done(batching(min_batch=2, max_batch=2), [0.0, 1.0, 2.0]) == [3.0, 3.0, 4.5]


def test_batches_are_of_one_bin_in_the_order_they_fill() -> None:
    scenario = batching(min_batch=2, max_batch=2, bins=(1.5,))
    assert done(scenario, [0.0, 0.25, 0.5, 0.75], [2.0, 1.0, 1.0, 2.0]) == [4.5, 2.5, 2.5, 4.5]


def test_room_and_patience_in_batches() -> None:
    outcome = replay(batching(max_batch=1, buffer=2), arrival_s=[0.0, 0.1, 0.2], service_s=[1.0] * 3, tell=None)
    assert outcome.rejected.tolist() == [False, False, True]
    outcome = replay(batching(max_batch=1, patience=0.5), arrival_s=[0.0, 0.1, 1.2], service_s=[1.0] * 3, tell=None)
    assert outcome.abandoned.tolist() == [False, True, False]
    assert outcome.done_s.tolist() == [1.5, 0.6, 3.0]


@pytest.mark.parametrize(
    "scenario",
    [
        batching(1.5, min_batch=2, max_batch=4, buffer=6, patience=1.0),
        batching(1.5, bins=3, max_batch=4, servers=2),
        with_lengths(4.0, min_batch=4, max_batch=4, bins=4),
        with_lengths(3.0, max_batch=8, bins=(20.0, 60.0)),
        batching(0.5, RoundRobin(), max_batch=4),
    ],
)
def test_invariants_hold_in_batches(scenario: Scenario) -> None:
    requests = drawn(scenario, 2_000)
    fates, batch, _ = serve_batches(scenario, requests, SEED)
    run = invariants.Records.of_fates(fates)
    invariants.conservation(run)
    invariants.causality(run)
    system = scenario.system
    invariants.caps(run, system.servers * (system.max_batch or 1), "in service")
    invariants.caps(run, system.buffer or 2_000)
    assert batch.max() <= (system.max_batch or 1)
    answer = simulate(scenario, requests=4_000, tell=None)
    assert answer.stable and answer["all"].mean_response_s > 0


def test_bins_raise_the_capacity() -> None:
    """One bin of batches until the longest of 8 is unstable at a rate that eight bins keep up with."""
    assert not simulate(with_lengths(6.0, min_batch=8, max_batch=8), requests=100, tell=None).stable
    assert simulate(with_lengths(6.0, min_batch=8, max_batch=8, bins=8), requests=2_000, tell=None).stable


def test_a_batch_runs_until_its_longest_output_is_out() -> None:
    """Batches of one: M/G/1 with the time of a request alone."""
    answer = simulate(with_lengths(1.0, max_batch=1), requests=100_000, tell=None)["all"]
    lengths = np.arange(1, 101)
    times = lengths * 0.011 + 1e-4 + 1e-6 * ((lengths - 1) * 10 + lengths * (lengths - 1) / 2)
    mean, square = times.mean(), (times**2).mean()
    expected = mean + square / (2 * (1 - mean))
    error = standard_error(answer.ci95["mean_response_s"])
    assert error < 0.02 * expected
    assert abs(answer.mean_response_s - expected) < 4 * error


def test_lengths_cannot_be_replayed() -> None:
    with pytest.raises(InputError, match="lengths are drawn"):
        done(with_lengths(1.0), [0.0])


def test_a_horizon_from_a_given_state() -> None:
    """Ten are there at first, and hardly anybody comes: the k-th waits for k services."""
    scenario = one_class(FCFS(), 1e-6, Deterministic(2.0))
    answer = simulate(scenario, horizon_s=1.0, replications=3, present={"a": 10}, tell=None)
    assert answer["all"].mean_response_s == pytest.approx(11.0)
    assert "with 10 present at first" in answer.result
    for present, line in (({"b": 1}, "is no class"), ({"a": -1}, "is no number of requests")):
        with pytest.raises(InputError, match=line):
            simulate(scenario, horizon_s=1.0, present=present, tell=None)
    with pytest.raises(InputError, match="needs a horizon"):
        simulate(scenario, present={"a": 1}, tell=None)
    closed = Scenario((RequestClass("a", Closed(2, 1.0), Exponential(1.0)),))
    with pytest.raises(InputError, match="is a closed population"):
        simulate(closed, horizon_s=1.0, present={"a": 1}, tell=None)


def test_an_overload_is_simulated_with_a_horizon_alone() -> None:
    scenario = one_class(FCFS(), 2.0)
    assert not simulate(scenario, tell=None).stable
    answer = simulate(scenario, horizon_s=50.0, replications=5, tell=None)
    assert not answer.stable
    assert any("unstable" in note for note in answer.notes)


def test_a_class_that_never_arrives_has_no_metrics() -> None:
    classes = RequestClass("a", Poisson(1.0), Exponential(0.5)), RequestClass("b", Poisson(1e-9), Exponential(0.5))
    answer = simulate(Scenario(classes), horizon_s=50.0, replications=2, tell=None)
    assert answer["a"].mean_response_s > 0
    assert answer["b"].mean_response_s is None


def test_rates_that_change_are_said_so() -> None:
    day = Piecewise(times_s=(0.0, 50.0), rates=(0.2, 0.8), period_s=100.0)
    answer = simulate(Scenario((RequestClass("a", day, Exponential(1.0)),)), requests=5_000, tell=None)
    assert any("changes with the time" in note for note in answer.notes)
    assert answer.run["warmup"] == 0


def test_a_trace_out_of_order_is_refused() -> None:
    with pytest.raises(InputError, match="arrival 3: comes before the one above it"):
        Trace((0.0, 2.0, 1.0))


class Leaving(Rank):
    """Raises what is no Exception."""

    preemptive = True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        raise SystemExit("no more")


class Pressed(Leaving):
    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt


@pytest.mark.parametrize("system", [System(), System(buffer=3), System(servers=2, routing=Routing("jsq"))])
def test_whatever_a_rank_raises_is_one_fault(system: System) -> None:
    scenario = Scenario(one_class(Leaving(), 0.5).classes, Leaving(), system)
    with pytest.raises(InputError, match="policy 'Leaving', rank: raised SystemExit: no more"):
        simulate(scenario, requests=100, tell=None)
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario.with_policy(Pressed()), requests=100, tell=None)


def test_a_rank_that_is_not_a_number_is_refused_by_the_general_loop() -> None:
    class Hole(Rank):
        preemptive = True

        def rank(self, request, attained):  # type: ignore[no-untyped-def]
            return math.nan

    scenario = Scenario(one_class(Hole(), 0.5).classes, Hole(), System(buffer=3))
    with pytest.raises(InputError, match="is not a number for request 1;"):
        simulate(scenario, requests=100, tell=None)


def test_accumulating_is_not_served_in_steps() -> None:
    scenario = Scenario(one_class(FCFS(), 0.5).classes, PreemptivePriority(), System(buffer=3))
    with pytest.raises(InputError, match="buffer: is not replayed in steps"):
        replay(scenario, arrival_s=[0.0], service_s=[1.0], grain_s=0.5, tell=None)
