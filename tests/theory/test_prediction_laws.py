"""Correlated, one-bit, measured and exact predictions: limits, identities and simulation."""

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import (
    PSJF,
    PSPJF,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    NonPreemptivePriority,
    PreemptivePriority,
    Rank,
)
from qmodel.scenario import Scenario
from qmodel.theory import analyse
from qmodel.theory.prediction.prediction_copula import Correlated
from qmodel.theory.prediction.prediction_laws import Exact, predictors
from qmodel.theory.prediction.prediction_levels import guesses_of
from qmodel.workload import (
    Deterministic,
    Discrete,
    Empirical,
    Exponential,
    Gamma,
    Lognormal,
    Mixture,
    Poisson,
    PredictedSize,
    RequestClass,
    Uniform,
)
from tests.theory import queues
from tests.theory.scenarios import means, one, request_class

TWINS = [(SPJF(), SJF()), (PSPJF(), PSJF()), (SPRPT(), SRPT())]
POLICIES = [SPJF(), PSPJF(), SPRPT(), TRAIL(limit=0.6)]
FEW = Discrete((0.3, 1.0, 2.5), (0.3, 0.5, 0.2))


def copula(correlation):
    return {"predicted_size": PredictedSize("correlated", correlation=correlation)}


def bit(threshold=1.0, accuracy=0.8):
    return {"predicted_size": PredictedSize("one-bit", threshold=threshold, accuracy=accuracy)}


@pytest.mark.parametrize("law", [Exponential(1.0), FEW], ids=["smooth", "few"])
def test_full_correlation_knows_the_size(law):
    rate = 0.8 / law.mean
    for noisy, exact in TWINS:
        assert means(one(rate, law, noisy, **copula(1.0))) == pytest.approx(means(one(rate, law, exact)), rel=1e-9)
        near = means(one(rate, law, noisy, **copula(0.99)))
        assert 1.0 < near[0] / means(one(rate, law, exact))[0] < 1.04


def test_predictions_that_tell_nothing():
    """r = 0: sizes are independent of the prediction Y, so rho(y) = rho F(y); FCFS's wait, taken over U = F(Y)."""
    law, load = Gamma(1.0, 0.5), 0.8
    u = (np.arange(200_000) + 0.5) / 200_000
    wait = 0.5 * load * law.moment(2) * (1.0 / (1.0 - load * u) ** 2).mean()
    assert means(one(load, law, SPJF(), **copula(0.0))) == pytest.approx([wait + 1.0], rel=1e-6)


def test_better_correlation_is_better():
    for policy in (SPJF(), SPRPT()):
        found = [means(one(0.8, Lognormal(1.0, 2.0), policy, **copula(r)))[0] for r in (0.0, 0.4, 0.9)]
        assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("limit", [0.3, 0.8, math.inf])
def test_the_copula_sums_against_draws(limit):
    law, y = Lognormal(1.0, 1.0), np.array([0.1, 0.5, 1.0, 3.0])
    guess = PredictedSize("correlated", correlation=0.7)
    joint = Correlated(law, guess.normal_correlation, frozenset({1.0}))
    rng = np.random.default_rng(1)
    s = law.sample(rng, 400_000)
    told = guess.draw(s, law, rng)
    for i, at in enumerate(y):
        for k in (0, 1, 2):
            assert joint.upto(k, y)[i] == pytest.approx((s**k * (told <= at)).mean(), rel=0.02, abs=2e-3)
        gap = np.minimum(told - at, limit * told)
        kept = np.where(told > at, np.maximum(s - gap, 0.0) ** 2, 0.0)
        assert joint.kept(y, limit)[i] == pytest.approx(kept.mean(), rel=0.03)
        passing = (told - np.minimum(s, limit * told) <= at) & (at < told)
        assert joint.passing(y, limit)[i] == pytest.approx(passing.mean(), rel=0.02)
        near = np.abs(told - at) < 0.02 * at
        assert joint.density(1, y)[i] == pytest.approx((s * near).mean() / (0.04 * at), rel=0.1)
    left = np.maximum(s - min(limit, 1.0) * told, 0.0).mean()
    assert joint.beyond(limit) == pytest.approx(left, rel=0.03)
    assert joint.density(0, y) == pytest.approx(law.pdf(y), rel=1e-8)


@pytest.mark.parametrize("limit", [0.4, 1.0, math.inf])
def test_exact_predictions_as_a_joint_law(limit):
    law, y = Gamma(1.0, 0.5), np.array([0.2, 1.0, 2.5])
    joint = Exact(law)
    s = law.upper_quantile((np.arange(400_000) + 0.5) / 400_000)
    for i, at in enumerate(y):
        left = np.where(s > at, np.maximum(s - np.minimum(s - at, limit * s), 0.0) ** 2, 0.0).mean()
        assert joint.kept(y, limit)[i] == pytest.approx(left, rel=1e-4)
        passing = ((s - np.minimum(s, limit * s) <= at) & (at < s)).mean()
        assert joint.passing(y, limit)[i] == pytest.approx(passing, abs=1e-5)
    assert joint.beyond(limit) == pytest.approx(max(1.0 - limit, 0.0))


def test_exact_trail_keeps_between_srpt_and_sjf():
    for law in (Exponential(1.0), FEW):
        rate = 0.8 / law.mean
        found = [means(one(rate, law, TRAIL(limit=c)))[0] for c in (1e-9, 0.3, 0.7, 1.0)]
        assert found[0] == pytest.approx(means(one(rate, law, SJF()))[0], rel=1e-6)
        assert found[-1] == pytest.approx(means(one(rate, law, SRPT()))[0], rel=1e-9)
        assert found == sorted(found, reverse=True)


def test_a_bit_is_two_priorities():
    """SPJF: Cobham; PSPJF: preemptive priority; of the streams told short and told long."""
    law, guess = Exponential(1.0), bit()["predicted_size"]
    served = one(0.8, law, SPJF(), **bit()).served[0]
    streams = [request_class(f"g{i}", each.rate, each.law, priority=i) for i, each in enumerate(guesses_of(served))]
    for policy, priority in ((SPJF(), NonPreemptivePriority()), (PSPJF(), PreemptivePriority())):
        apart = means(Scenario(streams, policy=priority))
        shares = [p for _, p in guess.guesses(law)]
        mean = shares[0] * apart[0] + shares[1] * apart[1]
        assert means(one(0.8, law, policy, **bit())) == pytest.approx([mean], rel=1e-9)


def test_a_bit_at_its_ends():
    law = Lognormal(1.0, 2.0)
    fcfs = 0.5 * 0.8 * law.moment(2) / 0.2 + 1.0
    for policy in POLICIES:
        assert means(one(0.8, law, policy, **bit(accuracy=0.5)))[0] == pytest.approx(fcfs, rel=1e-9)
        assert means(one(0.8, law, policy, **bit(threshold=1e9)))[0] == pytest.approx(fcfs, rel=1e-9)
    worse, better = (means(one(0.8, law, SPJF(), **bit(1.5, accuracy)))[0] for accuracy in (0.7, 1.0))
    assert better < worse < fcfs


def pairs(n, seed=3):
    rng = np.random.default_rng(seed)
    sizes = rng.gamma(2.0, 0.5, n)
    return sizes, (sizes * rng.lognormal(-0.1, 0.5, n)).round(1)


def measured(n=40):
    sizes, predictions = pairs(n)
    return {"predicted_size": PredictedSize("file", sizes_s=tuple(sizes), predictions_s=tuple(predictions))}


def test_pairs_that_are_exact_are_sizes():
    sizes, _ = pairs(30)
    law = Empirical(sizes)
    exact = {"predicted_size": PredictedSize("file", sizes_s=tuple(sizes), predictions_s=tuple(sizes))}
    for noisy, plain in TWINS:
        assert means(one(0.7, law, noisy, **exact)) == pytest.approx(means(one(0.7, law, plain)), rel=1e-9)


def draws(guess, law):
    return lambda rng, sizes: guess["predicted_size"].draw(sizes, law, rng)


CASES = {
    "correlated": (Exponential(1.0), copula(0.6)),
    "correlated, few sizes": (FEW, copula(0.7)),
    "one bit": (Lognormal(1.0, 1.0), bit(1.2, 0.9)),
    "measured, as measured": (Empirical(pairs(40)[0]), measured()),
    "measured, of any size": (Gamma(1.0, 0.5), measured()),
}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@pytest.mark.parametrize("name", CASES)
def test_against_a_plain_simulation(name, policy):
    law, guess = CASES[name]
    rate = 0.7 / law.mean
    arriving = queues.sized_jobs([(rate, law, draws(guess, law))], 60_000, seed=8)
    ranks = {
        "spjf": lambda job: job.predicted,
        "pspjf": lambda job: job.predicted,
        "sprpt": lambda job: job.predicted - job.attained,
        "trail": lambda job: -math.inf if job.attained >= 0.6 * job.predicted else job.predicted - job.attained,
    }
    turns = (lambda job: (0.6 * job.predicted,)) if policy.name == "trail" else (lambda job: ())
    served = queues.rank_queue(arriving, ranks[policy.name], policy.preemptive, turns)
    estimate = queues.Estimate.of([job.done - job.arrival for job in served])
    assert estimate.agrees(means(one(rate, law, policy, **guess))[0], within=0.03)


def test_classes_of_smooth_predictions_go_together():
    """An exact class and a correlated one, against the same with next to no error."""
    classes = [
        request_class("a", 0.3, Gamma(1.0, 0.5)),
        request_class("b", 0.3, Mixture((0.5, 0.5), (Exponential(1.0), Gamma(2.0, 0.5))), **copula(0.8)),
    ]
    nearly = RequestClass("a", Poisson(0.3), Gamma(1.0, 0.5), predicted_size=PredictedSize("lognormal", 1e-6))
    for policy in (SPJF(), SPRPT()):
        found = means(Scenario(classes, policy=policy))
        assert found == pytest.approx(means(Scenario([nearly, classes[1]], policy=policy)), rel=2e-4)


def test_one_law_by_parts():
    served = Scenario([request_class("a", 0.5, Uniform(0.0, 2.0))]).served[0]
    ((share, joint),) = predictors(served)
    assert share == 1.0 and isinstance(joint, Exact) and 2.0 in joint.ends()


class Guess(Rank):
    """SPJF as a user would write it."""

    name, preemptive = "guess", True

    def rank(self, request, attained):
        return request.predicted_size


@pytest.mark.parametrize("name", CASES)
def test_ones_own_rank_by_predictions(name):
    law, guess = CASES[name]
    rate = 0.7 / law.mean
    own = means(one(rate, law, Guess(), **guess))
    assert own == pytest.approx(means(one(rate, law, PSPJF(), **guess)), rel=1e-2)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (
            [request_class("a", 0.2, FEW), request_class("b", 0.2, Exponential(1.0), **copula(0.5))],
            "class 'a' take",
        ),
        (
            [request_class("a", 0.2, Mixture((0.5, 0.5), (Exponential(1.0), Deterministic(1.0))), **copula(0.5))],
            "class 'a' take single values",
        ),
        ([request_class("a", 0.2, Empirical(np.arange(1.0, 500.0)), **copula(0.5))], "more than 400 sizes"),
        ([request_class("a", 0.2, Exponential(1.0), **measured(300))], "more than 200 measured sizes"),
    ],
)
def test_what_has_no_result_is_said(classes, words):
    answer = analyse(Scenario(classes, policy=SPRPT()).at_load(0.5))
    assert isinstance(answer, NotAnalysable) and words in answer.reason
