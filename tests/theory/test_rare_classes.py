"""A class that hardly ever comes has the answer of one that never does: no digits are lost on its way to rate 0."""

from __future__ import annotations

import math

import pytest

from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    LCFS,
    PS,
    PSJF,
    SJF,
    SRPT,
    AccumulatingPriority,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    RandomOrder,
)
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.theory import analyse
from qmodel.theory.servers.several_servers import number_more
from qmodel.workload import Deterministic, Exponential, Gamma, Pause, Poisson, PredictedSize, Renewal, RequestClass
from tests.theory.laws import UNIT

FAST = Environment((1.5, 0.5), ((-0.5, 0.5), (0.5, -0.5)))
ONE = [
    FCFS(), LCFS(), RandomOrder(), PS(), DPS(), SJF(), PSJF(), SRPT(), LAS(), Gittins(), LCFSPreemptive(),
    NonPreemptivePriority(), PreemptivePriority(), AccumulatingPriority(rates=(2.0, 1.0)),
    NonPreemptivePriority(within="srpt"), PreemptivePriority(within="srpt"),
]  # fmt: skip
SYSTEMS = {
    "two servers": (System(servers=2), FCFS()),
    "two servers, shared": (System(servers=2), PS()),
    "two servers, priority": (System(servers=2), NonPreemptivePriority()),
    "two servers, preemptive": (System(servers=2), PreemptivePriority()),
    "vacations": (System(vacation_s=UNIT), NonPreemptivePriority()),
    "setup": (System(setup_s=UNIT), NonPreemptivePriority()),
    "environment": (System(environment=FAST), FCFS()),
    "buffer": (System(buffer=4), FCFS()),
    "two places": (System(batching="processor-sharing", max_batch=2), FCFS()),
    "random": (System(servers=2, routing=Routing("random")), NonPreemptivePriority()),
    "round robin": (System(servers=2, routing=Routing("round-robin")), FCFS()),
    "least work": (System(servers=2, routing=Routing("least-work")), FCFS()),
}


def rare_one(rate, policy, system, law=UNIT, first=None, priority=1, **options):
    arrivals = first or Poisson(0.6 * system.servers)
    classes = [
        RequestClass("usual", arrivals, service=UNIT, priority=0, **options),
        RequestClass("rare", Poisson(rate), service=law, priority=priority, **options),
    ]
    return analyse(Scenario(classes, policy=policy, system=system), percentiles=())


def settles(policy, system, **given):
    """The rare class's own response changes in proportion to its rate, down to 1e-15 a second."""
    found = [rare_one(rate, policy, system, **given) for rate in (1e-7, 1e-11, 1e-15)]
    responses = [answer["rare"].mean_response_s for answer in found]
    assert responses[1:] == [pytest.approx(responses[0], rel=3e-6)] * 2
    usual = [answer["usual"].mean_response_s for answer in found]
    assert usual[1:] == [pytest.approx(usual[0], rel=3e-6)] * 2


@pytest.mark.parametrize("policy", ONE, ids=lambda policy: f"{policy.name} {getattr(policy, 'within', '')}")
@pytest.mark.parametrize("priority", [-1, 1])
def test_at_one_server(policy, priority):
    law = Exponential(1.5) if isinstance(policy, DPS) else Gamma(1.5, 0.4)
    settles(policy, System(), law=law, priority=priority)


@pytest.mark.parametrize("name", SYSTEMS)
def test_at_other_systems(name):
    system, policy = SYSTEMS[name]
    settles(policy, system, law=UNIT if "two" in name else Deterministic(0.7))


def test_beside_bursts_pauses_guesses_and_patience():
    settles(FCFS(), System(), first=Renewal(0.6, 0.5))
    settles(PS(), System(), pause=Pause(0.2, UNIT))
    settles(SRPT(), System(), predicted_size=PredictedSize("exponential"))
    settles(FCFS(), System(), patience=Exponential(3.0))


def test_who_is_always_interrupted_at_two_servers():
    """E[N] = 4 a / (4 - a^2) in M/M/2: one more of the lowest priority adds 4 (4 + a^2) / (4 - a^2)^2."""
    a = 1.2
    found = rare_one(1e-15, PreemptivePriority(), System(servers=2))["rare"].mean_response_s
    assert found == pytest.approx(4.0 * (4.0 + a * a) / (4.0 - a * a) ** 2, rel=1e-12)


@pytest.mark.parametrize("servers", [1, 2, 7, 200])
@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.3, 0.9), (0.5, 0.500001), (1e-9, 2e-9), (0.99, 0.999)])
def test_numbers_added_are_the_difference_of_numbers(servers, shares):
    """Against the sum over the states of M/M/k, in exact fractions of doubles."""
    from fractions import Fraction

    def number(load):
        a = Fraction(load)
        term = total = Fraction(1)
        mean = Fraction(0)
        for n in range(1, servers):
            term *= a / n
            total, mean = total + term, mean + n * term
        full, rho = term * a / servers, a / servers  # P(n = servers + i) falls as rho^i
        total += full / (1 - rho)
        mean += full * (servers / (1 - rho) + rho / (1 - rho) ** 2)
        return mean / total

    low, high = (share * servers for share in shares)
    exact = (number(high) - number(low)) / (Fraction(high) - Fraction(low))
    assert math.isclose(number_more(servers, low, high), float(exact), rel_tol=1e-11)
