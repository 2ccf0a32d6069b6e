"""Theory and simulation on scenarios drawn from everything theory answers: means and 95th percentiles.

Policies, laws, loads and classes were drawn at random, a few per kind of model. Exact results must lie within four
standard errors of the simulation, approximations within what they claim; the error bar itself must be small.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import pytest

from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PS,
    PSJF,
    SJF,
    SPRPT,
    SRPT,
    TRAIL,
    AccumulatingPriority,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    RandomOrder,
)
from qmodel.policy.preemption import Preemption
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.service.iteration_time import IterationTime
from qmodel.service.station import Station
from qmodel.service.transform import Cache, EarlyExit, ModelSwap, QueueCondition
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Erlang,
    Exponential,
    Gamma,
    Geometric,
    Hyperexponential,
    Lognormal,
    Poisson,
    PredictedSize,
    Renewal,
    RequestClass,
    Uniform,
    Weibull,
)
from qmodel.workload.markov_arrivals import Mmpp
from qmodel.workload.nonstationary import Closed
from qmodel.workload.pause import Pause

from .queues import Estimate

BURSTY = Mmpp(rates=(1.4, 0.2), generator=((-0.1, 0.1), (0.15, -0.15)))
ENGINE = IterationTime(base=0.010, per_sequence=2e-4, per_context_token=2e-7, per_prefill_token=2e-5)


def a(law=None, rate=1.0, name="a", **given):
    return RequestClass(name, given.pop("arrivals", Poisson(rate)), law, **given)


def scenario(*classes, load=None, policy=None, system=None, **given):
    made = Scenario(classes, policy=policy or FCFS(), system=system or System(), **given)
    return made if load is None else made.at_load(load)


def classes(*laws, rates=(0.3, 0.5, 0.4), **given):
    return [
        a(law, rate, f"c{k}", priority=k, **given) for k, (law, rate) in enumerate(zip(laws, rates, strict=False))
    ]


def tokens(rate, outputs=None, inputs=None):
    factors = {"input_tokens": inputs or Geometric(500.0), "output_tokens": outputs or Deterministic(10)}
    return RequestClass("a", Poisson(rate), factors=factors)


def batches(**given):
    return System(batching="dynamic", iteration_time=IterationTime(base=0.01, per_sequence=0.002), **given)


@dataclass(frozen=True)
class Case:
    """`within`: how far off an approximation may be, relative (a percentile twice); None for exact results."""

    scenario: Scenario
    within: float | None = None

    def allowed(self, metric: str) -> float:
        return (self.within or 0.0) * (2.0 if metric.startswith("p95") else 1.0)


H2, LOGNORMAL, WEIBULL = Hyperexponential(mean=1.0, scv=4.0), Lognormal(1.3, 2.2), Weibull(0.7, 1.9)
ERLANG, GAMMA, UNIFORM = Erlang(3, 0.8), Gamma(1.1, 0.4), Uniform(0.2, 1.7)
LRU = Cache(items=1000, capacity=100, zipf=0.9, eviction="lru", saved_fraction=0.7)
RELEASED = EarlyExit(fractions=(0.4, 1.0), probabilities=(0.5, 0.5), delivery="release")
PARETO = BoundedPareto(0.2, 60.0, 1.5)

CASES = {
    "fcfs, three classes": Case(scenario(*classes(H2, ERLANG, LOGNORMAL), load=0.83)),
    "lcfs": Case(scenario(a(GAMMA), load=0.72, policy=LCFS())),
    "lcfs-pr": Case(scenario(a(WEIBULL), load=0.66, policy=LCFSPreemptive())),
    "random": Case(scenario(*classes(UNIFORM, H2), load=0.7, policy=RandomOrder())),
    "np-priority": Case(scenario(*classes(LOGNORMAL, UNIFORM, H2), load=0.78, policy=NonPreemptivePriority())),
    "pr-priority": Case(scenario(*classes(H2, GAMMA, UNIFORM), load=0.81, policy=PreemptivePriority())),
    "pr-priority, srpt within": Case(
        scenario(*classes(WEIBULL, H2), load=0.75, policy=PreemptivePriority(within="srpt"))
    ),
    "np-priority, sjf within": Case(
        scenario(*classes(ERLANG, LOGNORMAL), load=0.74, policy=NonPreemptivePriority(within="sjf"))
    ),
    "accumulating": Case(scenario(*classes(GAMMA, H2), load=0.8, policy=AccumulatingPriority(rates=(3.0, 1.0)))),
    "ps": Case(scenario(*classes(LOGNORMAL, UNIFORM), load=0.68, policy=PS())),
    "dps": Case(
        scenario(a(Exponential(1.0), 0.3, "x", weight=3.0), a(Exponential(1.6), 0.2, "y"), load=0.76, policy=DPS())
    ),
    "sjf": Case(scenario(a(WEIBULL), load=0.85, policy=SJF())),
    "psjf": Case(scenario(*classes(LOGNORMAL, ERLANG), load=0.79, policy=PSJF())),
    "srpt": Case(scenario(*classes(PARETO, UNIFORM), load=0.82, policy=SRPT())),
    "las": Case(scenario(a(LOGNORMAL), load=0.77, policy=LAS())),
    "mlfq": Case(scenario(a(H2), load=0.73, policy=MLFQ(thresholds=(0.5, 1.5, 4.0)))),
    "gittins": Case(scenario(a(UNIFORM), load=0.8, policy=Gittins())),
    "sprpt, lognormal errors": Case(
        scenario(a(H2, predicted_size=PredictedSize("lognormal", scv=0.5)), load=0.75, policy=SPRPT())
    ),
    "trail": Case(
        scenario(a(Exponential(1.0), predicted_size=PredictedSize("exponential")), load=0.8, policy=TRAIL())
    ),
    "preemption cost": Case(
        scenario(*classes(GAMMA, UNIFORM), load=0.6, policy=PreemptivePriority(), preemption=Preemption(cost_s=0.1))
    ),
    "grain": Case(
        scenario(*classes(UNIFORM, H2), load=0.7, policy=PreemptivePriority(), preemption=Preemption(grain_s=0.3))
    ),
    "las, grain": Case(scenario(a(GAMMA), load=0.6, policy=LAS(), preemption=Preemption(grain_s=0.5))),
    "srpt, grain": Case(scenario(a(GAMMA), load=0.7, policy=SRPT(), preemption=Preemption(grain_s=0.25))),
    "mmpp": Case(scenario(a(LOGNORMAL, arrivals=BURSTY), load=0.7)),
    "mmpp beside poisson, ps": Case(scenario(a(ERLANG, arrivals=BURSTY), a(H2, 0.2, "b"), load=0.65)),
    "renewal": Case(scenario(a(Exponential(1.0), arrivals=Renewal(1.0, 0.25)), load=0.8)),
    "environment": Case(
        scenario(a(ERLANG, 0.5), system=System(environment=Environment((1.0, 0.3), ((-0.2, 0.2), (0.6, -0.6)))))
    ),
    "vacations": Case(scenario(a(GAMMA), load=0.7, system=System(vacation_s=Uniform(0.5, 2.0)))),
    "setup": Case(scenario(*classes(LOGNORMAL, ERLANG), load=0.6, system=System(setup_s=Erlang(2, 1.5)))),
    "patience": Case(scenario(a(Exponential(1.0), 1.1, patience=Exponential(3.0)))),
    "patience, 3 servers": Case(
        scenario(a(Exponential(1.0), 2.9, patience=Uniform(0.5, 4.0)), system=System(servers=3))
    ),
    "patience, M/G/1": Case(scenario(a(GAMMA, 0.8, patience=Deterministic(2.5)))),
    "buffer": Case(scenario(a(H2, 0.95), system=System(buffer=7))),
    "buffer, M/M/3": Case(scenario(a(Exponential(1.0), 2.8), system=System(servers=3, buffer=9))),
    "random routing": Case(scenario(a(LOGNORMAL), load=0.7, system=System(servers=3, routing=Routing("random")))),
    "round robin": Case(
        scenario(a(Exponential(1.0)), load=0.75, system=System(servers=3, routing=Routing("round-robin")))
    ),
    "jsq": Case(scenario(a(Exponential(1.0)), load=0.8, system=System(servers=2, routing=Routing("jsq")))),
    "jsq:2": Case(
        scenario(a(Exponential(1.0)), load=0.8, system=System(servers=20, routing=Routing("jsq", 2))), within=0.012
    ),
    "least work": Case(scenario(a(H2), load=0.75, system=System(servers=3, routing=Routing("least-work")))),
    "M/M/k": Case(scenario(a(Exponential(1.4)), load=0.85, system=System(servers=4))),
    "M/D/k": Case(scenario(a(Deterministic(1.0)), load=0.85, system=System(servers=3))),
    "M/H2/k": Case(scenario(a(H2), load=0.8, system=System(servers=2))),
    "M/G/k": Case(scenario(a(LOGNORMAL), load=0.8, system=System(servers=3)), within=0.05),
    "tandem": Case(
        scenario(
            RequestClass("a", Poisson(0.6), services={"x": Exponential(1.0), "y": Exponential(1.2)}),
            stations=(Station("x"), Station("y", servers=1, transfer_s=0.3)),
        )
    ),
    "tandem, general": Case(
        scenario(
            RequestClass("a", Poisson(0.6), services={"x": GAMMA, "y": H2}),
            stations=(Station("x"), Station("y")),
        ),
        within=0.08,
    ),
    "closed": Case(scenario(a(Exponential(1.0), arrivals=Closed(6, 3.0)))),
    "pause": Case(scenario(a(Exponential(0.5), 0.6, pause=Pause(0.5, Exponential(2.0))))),
    "cache": Case(
        scenario(a(GAMMA), load=0.7, transforms=[Cache(hit_ratio=0.4, saved_fraction=0.8, lookup_s=0.02)])
    ),
    "cache, lru": Case(
        scenario(
            a(GAMMA),
            load=0.7,
            transforms=[LRU],
        ),
        within=0.01,
    ),
    "early exit": Case(
        scenario(
            a(GAMMA),
            load=0.8,
            transforms=[RELEASED],
        )
    ),
    "model swap at a queue": Case(
        scenario(a(ERLANG, 1.1), transforms=[ModelSwap(QueueCondition(above=4), service_factor=0.5)])
    ),
    "hysteresis": Case(
        scenario(a(UNIFORM, 1.0), transforms=[ModelSwap(QueueCondition(above=5, below=2), service_factor=0.6)])
    ),
    "limited sharing": Case(scenario(a(H2), load=0.75, system=System(batching="processor-sharing", max_batch=4))),
    "dynamic batching": Case(scenario(tokens(4.0), system=batches(max_batch=8))),
    "static batching": Case(scenario(tokens(3.0), system=batches(max_batch=6, min_batch=3))),
    "bins": Case(
        scenario(tokens(3.0, Geometric(40.0)), system=batches(max_batch=8, min_batch=8, bins=2)), within=0.15
    ),
    "continuous": Case(
        scenario(
            tokens(4.0, Geometric(200.0)), system=System(batching="continuous", max_batch=32, iteration_time=ENGINE)
        ),
        within=0.03,
    ),
}


QUICK = ("lcfs", "pr-priority", "srpt", "ps", "las", "mmpp", "las, grain")
METRICS = ("mean_response_s", "p95_response_s")


def check(case: Case, requests: int, seed: int) -> int:
    """Hold every mean and percentile that both have against each other; how many there were."""
    found = analyse(case.scenario, percentiles=(95.0,))
    seen = simulate(case.scenario, requests=requests, seed=seed, percentiles=(95.0,), tell=None)
    assert (found.method == "exact") == (case.within is None)
    held = 0
    for part in found.classes:
        for metric in METRICS:
            theory, interval = part.metrics.get(metric), seen[part.name].ci95.get(metric)
            if theory is not None and interval is not None:
                _agree(f"{part.name} {metric}", theory, interval, case.allowed(metric) * theory)
                held += 1
    return held


def _agree(what: str, theory: float, interval: tuple[float, float], allowed: float) -> None:
    low, high = interval
    error = (high - low) / 2.0 / 1.96
    assert error < 0.07 * theory, f"{what}: standard error {error:g} of {theory:g} is too wide"
    assert abs(theory - (low + high) / 2.0) < 4.0 * error + allowed, f"{what}: {theory:g} against {interval}"


@pytest.mark.parametrize("name", QUICK)
def test_in_short(name):
    assert check(CASES[name], 200_000 if name == "las, grain" else 1_000_000, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_at_length(name):
    assert check(CASES[name], 1_000_000, seed=7)


def test_least_attained_service_in_steps_by_hand():
    """A queue of levels: from the lowest one, first come first served, each gets one step."""
    law, grain, load = UNIFORM, 0.2, 0.6
    made = scenario(a(law), load=load, policy=LAS(), preemption=Preemption(grain_s=grain))
    rng = np.random.default_rng(5)
    count = 150_000
    arrivals = np.cumsum(rng.exponential(law.mean / load, count)).tolist()
    sizes, responses = law.sample(rng, count).tolist(), []
    waiting, now, came = [], 0.0, 0
    while len(responses) < count:
        while came < count and arrivals[came] <= now:
            heapq.heappush(waiting, (0, came, sizes[came]))
            came += 1
        if not waiting:
            now = arrivals[came]
            continue
        level, who, left = heapq.heappop(waiting)
        now += min(grain, left)
        if left <= grain:
            responses.append(now - arrivals[who])
        else:
            heapq.heappush(waiting, (level + 1, who, left - grain))
    assert Estimate.of(responses).agrees(analyse(made, percentiles=())["all"].mean_response_s)
