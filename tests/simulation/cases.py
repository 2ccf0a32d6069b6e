"""Scenarios and requests that the tests of the simulator share."""

from __future__ import annotations

import numpy as np

from qmodel.policy import PRESETS, Policy, Request, make_policy
from qmodel.scenario import Scenario, System
from qmodel.simulation.draw import draw
from qmodel.simulation.requests import Requests
from qmodel.workload import Distribution, Exponential, Poisson, PredictedSize, RequestClass
from tests.simulation.reference import Job

SMALL_LEVELS = (0.5, 1.0, 2.0)


def preset(name: str) -> Policy:
    """A preset whose options fit services of about a second."""
    options = {"mlfq": {"thresholds": SMALL_LEVELS}, "round-robin": {"quantum": 0.25}}
    return make_policy(name, **options.get(name, {}))


EVERY_PRESET = list(PRESETS)
GENERAL = ("accumulating", "gittins")
"""Only the general loop knows these."""
QUICK = [name for name in EVERY_PRESET if name not in GENERAL]
RANKED = [name for name in QUICK if name not in ("ps", "dps", "round-robin")]


def two_classes(
    policy: Policy, rate: float = 0.8, law: Distribution | None = None, system: System | None = None
) -> Scenario:
    """Two classes that differ in everything a policy may look at."""
    law = law or Exponential(mean=1.0)
    classes = (
        RequestClass("chat", Poisson(0.4 * rate), law, priority=1, weight=2.0, slo={"response_p99_s": 4.0},
                     predicted_size=PredictedSize("exponential")),
        RequestClass("batch", Poisson(0.6 * rate), law, priority=0, weight=0.5, slo={"response_s": 9.0},
                     predicted_size=PredictedSize("lognormal", scv=0.5)),
    )  # fmt: skip
    return Scenario(classes=classes, policy=policy, system=system or System())


def one_class(policy: Policy, rate: float, law: Distribution | None = None, **slo: float) -> Scenario:
    """One class with a Poisson stream."""
    law = law or Exponential(mean=1.0)
    return Scenario(classes=(RequestClass("a", Poisson(rate), law, slo=slo),), policy=policy)


def drawn(scenario: Scenario, count: int, seed: int = 3) -> Requests:
    """The requests of one run."""
    return draw(scenario, count, np.random.SeedSequence(seed))


def jobs_of(requests: Requests) -> list[Job]:
    """The same requests for the reference."""
    rows = zip(
        requests.arrival_s.tolist(),
        requests.service_s.tolist(),
        requests.predicted_s.tolist(),
        requests.priority.astype(int).tolist(),
        requests.weight.tolist(),
        requests.deadline_s.tolist(),
        requests.lottery.tolist(),
        requests.long_s.tolist(),
        strict=True,
    )
    return [
        Job(i, Request(a, s, p, priority, w, d, lot), s, long)
        for i, (a, s, p, priority, w, d, lot, long) in enumerate(rows)
    ]


def column(jobs: list[Job], name: str) -> np.ndarray:
    """One attribute of all jobs."""
    values = np.array([getattr(job, name) for job in jobs])
    assert not np.isnan(values).any()
    return values


def standard_error(interval: tuple[float, float]) -> float:
    """Of an interval by 20 batches."""
    return (interval[1] - interval[0]) / 2 / 2.093
