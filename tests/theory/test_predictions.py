"""Orders by predicted size: oracles, limits, simulations."""

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import PSJF, PSPJF, SJF, SPJF, SPRPT, SRPT, TRAIL
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.prediction.prediction_errors import SummedErrors, SummedSizes
from qmodel.workload import Deterministic, Exponential, Gamma, Lognormal, Mixture, PredictedSize
from tests.theory import queues
from tests.theory.scenarios import ORACLES, means, one, request_class

NOISY = {"predicted_size": PredictedSize("exponential")}


@pytest.mark.parametrize(("name", "policy"), [("spjf", SPJF()), ("pspjf", PSPJF()), ("sprpt", SPRPT())])
@pytest.mark.parametrize("load", ["0.5", "0.8"])
def test_exponential_oracles(name, policy, load):
    exact = ORACLES["M/M/1 with exponential predictions, mean T"][load][name]
    assert means(one(float(load), Exponential(1.0), policy, **NOISY)) == pytest.approx([exact], rel=1e-6)


def test_sprpt_in_bessel_functions():
    """Exponential sizes and errors: r(y) = lambda (1 - 2 y K_2(2 sqrt y)), and so on, integrated in 20 digits."""
    for load, exact in ((0.5, 1.6582831642134850), (0.8, 3.1375239891375228)):
        assert means(one(load, Exponential(1.0), SPRPT(), **NOISY)) == pytest.approx([exact], rel=1e-9)


TWINS = [(SPJF(), SJF()), (PSPJF(), PSJF()), (SPRPT(), SRPT())]


@pytest.mark.parametrize(("noisy", "exact"), TWINS, ids=lambda p: p.name)
def test_exact_predictions_are_sizes(noisy, exact):
    law = Mixture((0.5, 0.5), (Deterministic(0.5), Exponential(1.5)))
    assert means(one(0.8, law, noisy)) == pytest.approx(means(one(0.8, law, exact)), rel=1e-12)
    nearly = {"predicted_size": PredictedSize("lognormal", 1e-6)}
    smooth = Gamma(1.0, 0.5)
    assert means(one(0.8, smooth, noisy, **nearly)) == pytest.approx(means(one(0.8, smooth, exact)), rel=1e-4)


def test_trail_at_its_ends():
    """Never interruptible after a vanishing age: SPJF. Interruptible to the predicted end: SPRPT."""
    for law in (Exponential(1.0), Lognormal(1.0, 2.0)):
        trail = [means(one(0.8, law, TRAIL(limit=c), **NOISY))[0] for c in (1e-9, 0.5, 0.8, 1.0)]
        ends = [means(one(0.8, law, p, **NOISY))[0] for p in (SPJF(), SPRPT())]
        assert trail[0] == pytest.approx(ends[0], rel=1e-7)
        assert trail[3] == pytest.approx(ends[1], rel=1e-9)
        assert trail[0] > trail[1] > trail[2] > trail[3]


def exponential_guess(rng, sizes):
    return sizes * rng.exponential(1.0, len(sizes))


def lognormal_guess(rng, sizes):
    return sizes * Lognormal(1.0, 0.5).sample(rng, len(sizes))


def trail_rank(job):
    return -math.inf if job.attained >= 0.6 * job.predicted else job.predicted - job.attained


SIMULATED = {
    "spjf": (SPJF(), lambda job: job.predicted, None),
    "pspjf": (PSPJF(), lambda job: job.predicted, None),
    "sprpt": (SPRPT(), lambda job: job.predicted - job.attained, None),
    "trail": (TRAIL(limit=0.6), trail_rank, lambda job: (0.6 * job.predicted,)),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_classes_against_simulation(name):
    """Two classes with different errors, one of few sizes and one of all."""
    policy, rank, turns = SIMULATED[name]
    laws = [Mixture((0.5, 0.5), (Deterministic(0.5), Gamma(1.0, 0.01))), Exponential(2.0)]
    classes = [(0.4, laws[0], lognormal_guess), (0.25, laws[1], exponential_guess)]
    arriving = queues.sized_jobs(classes, 150_000, seed=8)
    served = queues.rank_queue(arriving, rank, policy.preemptive, turns or (lambda job: ()))
    errors = [PredictedSize("lognormal", 0.5), PredictedSize("exponential")]
    made = [
        request_class(f"c{k}", rate, law, predicted_size=error)
        for k, ((rate, law, _), error) in enumerate(zip(classes, errors, strict=True))
    ]
    answer = analyse(Scenario(made, policy=policy), percentiles=())
    for k in (0, 1):
        times = [job.done - job.arrival for job in served if job.number == k]
        assert queues.Estimate.of(times).agrees(answer[f"c{k}"].mean_response_s, within=0.025)


@pytest.mark.parametrize("limit", [0.3, 0.8, 1.0, math.inf])
def test_both_ways_of_summing_agree(limit):
    y = np.array([0.01, 0.3, 1.0, 3.0, 10.0])
    size, error = Lognormal(1.0, 2.0), Lognormal(1.0, 1.0)
    first, second = SummedSizes(size, error), SummedErrors(size, error)
    for k in (0, 1, 2):
        np.testing.assert_allclose(first.upto(k, y), second.upto(k, y), atol=1e-10)
        np.testing.assert_allclose(first.density(k, y), second.density(k, y), atol=1e-9)
    np.testing.assert_allclose(first.kept(y, limit), second.kept(y, limit), atol=1e-4)
    np.testing.assert_allclose(first.passing(y, limit), second.passing(y, limit), atol=1e-3)
    assert first.beyond(limit) == pytest.approx(second.beyond(limit), rel=1e-12)


def test_what_cannot_be_predicted_is_said():
    silent = analyse(one(0.5, Exponential(1.0), SPJF(), predicted_size=PredictedSize("none")))
    assert isinstance(silent, NotAnalysable) and "prediction" in silent.reason
    bit = {"predicted_size": PredictedSize("one-bit", threshold=1.0, accuracy=0.9)}
    mixed = [request_class("a", 0.2, Exponential(1.0), **bit), request_class("b", 0.2, Exponential(1.0), **NOISY)]
    assert isinstance(analyse(Scenario(mixed, policy=SPJF())), NotAnalysable)
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    assert isinstance(analyse(one(0.5, Exponential(1.0), SPJF(), transforms=[release], **NOISY)), NotAnalysable)
