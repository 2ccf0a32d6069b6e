"""Batches served as one where queries times keys cost time: iteration by iteration, simulated, refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS
from qmodel.scenario import Scenario
from qmodel.service.batch_time import batch_time, padded, until_longest
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.system import System
from qmodel.service.transform import EarlyExit
from qmodel.simulation import simulate
from qmodel.simulation.iterations.replaying import replay_run
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.kernels.batched import Iteration, batch_seconds
from qmodel.theory import analyse
from qmodel.theory.batch import multi_bin
from qmodel.workload import Deterministic, Exponential, Gamma, Poisson, RequestClass, Uniform

PACKED = IterationTime(0.01, 0.001, 1e-6, 5e-5, 2e-7)
LINEAR = replace(PACKED, per_query_key=0.0)


@pytest.mark.parametrize(("size", "each", "longest"), [(1, 100, 1), (3, 50, 20), (8, 0, 7), (8, 30, 200)])
def test_iteration_by_iteration(size, each, longest):
    first = PACKED.seconds(size, 0.0, size * each, prefills=size)
    decodes = [PACKED.seconds(size, size * (each + made)) for made in range(1, longest)]
    whole = until_longest(PACKED, size, float(size * each), np.array([float(longest)]))[0]
    assert whole == pytest.approx(first + math.fsum(decodes), rel=1e-12)
    compiled = Iteration(*vars(PACKED).values(), np.empty(0), np.empty(0))
    assert batch_seconds.py_func(compiled, size, float(size * each), float(longest)) == pytest.approx(
        whole, rel=1e-12
    )


def test_inputs_that_vary_count_by_the_mean_of_their_square():
    """E[(sum I)^2] of 5 exponential inputs of mean 80: 25 times 6400 and 5 times 6400 more."""
    taken = padded(PACKED, Exponential(80.0), Deterministic(1))
    assert taken.mean(5) == pytest.approx(LINEAR.seconds(5) + 5e-5 * 400 + 2e-7 * 30 * 6400, rel=1e-12)
    assert not taken.is_exact and padded(PACKED, Deterministic(80), Deterministic(1)).is_exact
    lengths, no_edge = Uniform(1, 100), np.empty(0)
    fixed, varying = (multi_bin.make_bins(PACKED, 80.0, lengths, no_edge, 5, s)[0] for s in (0.0, 6400.0))
    assert varying.time - fixed.time == pytest.approx(2e-7 * 5 * 6400, rel=1e-9)


def served(taken, inputs, rate=2.5, **given):
    one = RequestClass("a", Poisson(rate), factors={"input_tokens": inputs, "output_tokens": Uniform(0, 40)})
    return Scenario((one,), FCFS(), System(batching="dynamic", max_batch=4, iteration_time=taken, **given))


@pytest.mark.parametrize("inputs", [Deterministic(300), Gamma(300.0, 0.2)])
@pytest.mark.parametrize("system", [{}, {"min_batch": 4, "bins": 2}])
def test_the_analysis_meets_the_simulation(inputs, system):
    asked = served(PACKED, inputs, **system)
    told, found = analyse(asked, percentiles=())["all"], simulate(asked, requests=60_000, seed=4, tell=None)["all"]
    low, high = found.ci95["mean_response_s"]
    assert high - low < 0.05 * found.mean_response_s
    most = 0.08 if system else 0.01  # bins are an approximation by themselves
    assert told.mean_response_s == pytest.approx(found.mean_response_s, abs=most * low + (high - low))
    linear = analyse(served(LINEAR, inputs, **system), percentiles=())["all"]
    assert told.mean_response_s > 1.2 * linear.mean_response_s


def test_pairs_need_lengths():
    plain = RequestClass("a", Poisson(1.0), Exponential(1.0))
    with pytest.raises(InputError, match="no class brings"):
        batch_time(Scenario((plain,), FCFS(), System(batching="dynamic", iteration_time=PACKED)))


def test_tokens_that_leave_at_different_layers_have_no_pairs_of_their_own():
    leaving = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5), delivery="stop")
    assert Rules(LINEAR, early_exit=leaving).early_exit is leaving
    with pytest.raises(InputError, match="different layers; leave per_query_key out"):
        Rules(PACKED, early_exit=leaving)


def test_drafted_tokens_are_queries_too():
    """Alone, two drafts accepted never: 3 queries beside the keys of each context."""
    engine = Engine(speculative_tokens=2, acceptance=0.0)
    for taken in (LINEAR, PACKED):
        done = replay_run(taken, [0.0], [100], [5], engine=engine, tell=None).outcome.done_s[0]
        first = taken.seconds(1, 0.0, 100)
        decodes = [LINEAR.seconds(3, 100 + made) + taken.per_query_key * 3 * (100 + made) for made in range(1, 5)]
        assert done == pytest.approx(first + math.fsum(decodes), rel=1e-12)
