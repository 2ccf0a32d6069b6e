"""Percentiles at loads 0.1 and 0.99, out to p99.99: closed forms, a chain's steps, other orders, means."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import poisson

from qmodel.policy import FCFS, LAS, PSJF, SJF, SRPT, NonPreemptivePriority, PreemptivePriority
from qmodel.theory import analyse
from qmodel.theory.dispatch import result_of
from qmodel.workload import Deterministic, Hyperexponential
from tests.theory.laws import UNIT
from tests.theory.scenarios import one, several

LOADS = (0.1, 0.99)
LEVELS = (50.0, 95.0, 99.0, 99.99)


def found(answer, name):
    return [answer[name].metrics[f"p{p:g}_response_s"] for p in LEVELS]


def reached(late, scale):
    """Where P(T > t) comes down to each level."""
    return [brentq(lambda t, p=p: late(t) - 1.0 + p / 100.0, 0.0, 60.0 * scale, xtol=1e-12) for p in LEVELS]


@pytest.mark.parametrize("load", LOADS)
def test_first_come_first_served(load):
    exact = [-math.log(1.0 - p / 100.0) / (1.0 - load) for p in LEVELS]
    assert found(analyse(one(load, UNIT, FCFS()), percentiles=LEVELS), "a") == pytest.approx(exact, rel=2e-5)


class Passage:
    """P(T > t) of the time that a chain takes down and out, deaths at rate 1, by its steps at a Poisson process.

    `begin`: chances of its places at first, the lowest one first; no birth is in the lowest if it is a service
    that nothing interrupts.
    """

    def __init__(self, births, begin, lowest_births, most):
        self.rate = 1.0 + births
        up = np.full(len(begin), births)
        up[0], up[-1] = lowest_births, 0.0
        chances = begin.copy()
        self.left = [chances.sum()]
        for _ in range(most):
            moved = up * chances
            stay = chances * (self.rate - 1.0) - moved
            stay[1:] += moved[:-1]
            stay[:-1] += chances[1:]
            chances = stay / self.rate
            self.left.append(chances.sum())

    def __call__(self, t):
        return float(poisson.pmf(np.arange(len(self.left)), self.rate * t) @ self.left)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("preemptive", [True, False])
def test_two_exponential_priorities(load, preemptive):
    """The low class finds n others and, as later ones of the high class pass it, waits until a chain is at 0."""
    high = 0.4 * load
    policy = PreemptivePriority() if preemptive else NonPreemptivePriority()
    answer = analyse(several([(high, UNIT), (load - high, UNIT)], policy), percentiles=LEVELS)
    present = np.arange(2500 if load > 0.5 else 60)
    steps = 6000 if load > 0.5 else 120
    if preemptive:
        upper = [-math.log(1.0 - p / 100.0) / (1.0 - high) for p in LEVELS]
        assert found(answer, "c0") == pytest.approx(upper, rel=2e-5)
        late = Passage(high, (1.0 - load) * load**present, high, steps)
    else:
        gap = 1.0 - high  # a wait, where there is one, is exponential of this rate

        def first(t):
            both = (math.exp(-gap * t) - gap * math.exp(-t)) / (1.0 - gap)
            return load * both + (1.0 - load) * math.exp(-t)

        assert found(answer, "c0") == pytest.approx(reached(first, 1.0 / gap), rel=2e-5)
        late = Passage(high, (1.0 - load) * load**present, 0.0, steps)

    scale = 0.3 / (1.0 - load) / (1.0 - high)
    assert found(answer, "c1") == pytest.approx(reached(late, scale), rel=5e-5)


def crommelin(load, t):
    """P(W <= t) of M/D/1 with service 1: (1 - rho) sum_k (rho (k - t))^k exp(-rho (k - t)) / k!, k up to t."""
    terms = [
        (load * (k - t)) ** k / math.factorial(k) * math.exp(-load * (k - t)) for k in range(math.floor(t) + 1)
    ]
    return (1.0 - load) * math.fsum(terms)


@pytest.mark.parametrize("policy", [FCFS(), SRPT(), SJF(), PSJF()], ids=lambda p: p.name)
@pytest.mark.parametrize("load", [0.1, 0.7])
def test_equal_sizes_are_served_in_order_of_arrival(policy, load):
    law = result_of(one(load, Deterministic(1.0), policy)).classes[0].law
    for t in (1.5, 2.3, 4.4, 7.6):
        assert law.cdf(t) == pytest.approx(crommelin(load, t - 1.0), abs=2e-5)


@pytest.mark.parametrize("load", LOADS)
def test_two_sizes_by_size_are_two_priorities(load):
    small, large = (0.5 * load, Deterministic(1.0)), (0.5 * load / 3.0, Deterministic(3.0))
    for by_size, by_class in ((SJF(), NonPreemptivePriority()), (PSJF(), PreemptivePriority())):
        sized = result_of(several([small, large], by_size)).classes
        ranked = result_of(several([small, large], by_class)).classes
        for one_way, other in zip(sized, ranked, strict=True):
            for t in (3.3, 7.7, 0.7 / (1.0 - load), 5.3 / (1.0 - load)):
                assert one_way.law.cdf(t) == pytest.approx(other.law.cdf(t), abs=3e-5)


@pytest.mark.parametrize("load", LOADS)
def test_equal_sizes_by_age_are_served_after_all_others(load):
    """LAS: as a request of a lower preemptive priority whose class next to never comes."""
    aged = result_of(one(load, Deterministic(1.0), LAS())).classes[0].law
    last = several([(load, Deterministic(1.0)), (1e-9, Deterministic(1.0))], PreemptivePriority())
    behind = result_of(last).classes[1].law
    for t in (1.3, 2.6, 4.4, 2.3 / (1.0 - load), 90.7 / (1.0 - load)):
        assert aged.cdf(t) == pytest.approx(behind.cdf(t), abs=3e-5)


def mean_of(law, panels):
    """The integral of P(T > t), in log t between the ends of panels."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    whole = panels[0]
    for low, high in zip(np.log(panels[:-1]), np.log(panels[1:]), strict=True):
        for x, w in zip(nodes, weights, strict=True):
            t = math.exp(low + 0.5 * (high - low) * (x + 1.0))
            whole += 0.5 * (high - low) * w * t * (1.0 - law.cdf(t))
    return whole


@pytest.mark.parametrize("policy", [SJF(), PSJF(), SRPT(), LAS()], ids=lambda p: p.name)
@pytest.mark.parametrize("load", LOADS)
def test_laws_by_size_have_the_means_of_the_formulas(policy, load):
    """At 0.99 half of the mean is beyond p99, and an error of 1e-6 at t = 1e5 is 1 % of it."""
    part = result_of(one(load, Hyperexponential(1.0, 2.0), policy)).classes[0]
    last = 60.0 if load < 0.5 else 1e5
    panels = [1e-4, 0.1, 1.0, *np.geomspace(3.0, last, 3 if load < 0.5 else 9)]
    assert mean_of(part.law, panels) == pytest.approx(part.mean_response, rel=2e-3 if load < 0.5 else 1.2e-2)
