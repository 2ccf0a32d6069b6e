"""M/G/1 whose server is away when work comes: multiple vacations, or a setup time after each idle spell.

Vacations V, again and again until one ends with a request there: the wait is that of M/G/1 plus a vacation's
residual, independent of it. Setup D: the first request of a busy period waits for D, and those who come meanwhile
for what is left of it. With H the higher and L the lower classes, theta = s + lambda_H (1 - G_H(s)):

    vacations:  W~ = W_PK~ (1 - V~(s)) / (s E[V]);
                non-preemptive priority: Cobham with W0 + (1 - rho) E[V^2] / (2 E[V]), and
                W_k~(s) = ((1 - rho) (1 - V~(theta)) / E[V] + lambda_L (1 - S_L~(theta)))
                          / (s - lambda_k (1 - S_k~(theta)));
    setup:      W~ = W_PK~ (D~(s) + lambda (1 - D~(s)) / s) / (1 + lambda E[D]);
                non-preemptive priority: Cobham with W0 + (1 - rho) (E[D] + lambda E[D^2] / 2) / (1 + lambda E[D]).

Orders blind to size that never interrupt (LCFS, random) have the mean of FCFS. Sources: Levy & Yechiali,
*Management Science* 22 (1975) 202-211; Fuhrmann & Cooper, *Oper. Res.* 33 (1985) 1117-1129; Welch, *Oper. Res.* 12
(1964) 736-752; Takagi, *Queueing Analysis 1* (1991), chapters 2 and 3.

>>> from qmodel.theory import formulas
>>> round(formulas.SETUP(0.8, 2.0, 0.8, 2.0, 8.0) + 1.0, 12)  # M/M/1, exponential setup of mean 2: E[T]
7.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, NonPreemptivePriority, RandomOrder
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import InvertedLaw, Transform
from qmodel.theory.one_server.busy_period import prolonged
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON, after_wait, given_slowdown, positive_wait
from qmodel.theory.one_server.np_priority import residual_work
from qmodel.theory.premises import unmet
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.theory.supply import delivery, levels, merged, stream
from qmodel.workload import Distribution

NON_PREEMPTIVE = (FCFS, LCFS, RandomOrder, NonPreemptivePriority)


def vacations(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """Every class's response when the server takes vacations (`system.vacation_s`)."""
    law, classes = scenario.system.vacation_s, scenario.served
    blocked = _blocked(scenario)
    if blocked is not None or law is None:
        return blocked or NotAnalysable("there is no vacation", "one")
    if isinstance(scenario.policy, NonPreemptivePriority):
        extra = law.moment(2) / (2.0 * law.mean)
        results = _by_priority(classes, extra, lambda *streams: _vacation_wait(law, *streams))
    else:
        rate, size = merged(classes)
        wait = formulas.VACATIONS(rate, size.moment(2), rate * size.mean, law.mean, law.moment(2))
        waited = _vacation_wait(law, [], classes, [])
        results = [after_wait(served, wait, waited, 1.0) for served in classes]
    name = "M/G/1 with multiple vacations"
    return _result(scenario, results, name, formulas.VACATIONS.source, "vacations independent of all else")


def setups(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """Every class's response when the server, off while idle, takes time to come on (`system.setup_s`)."""
    law, classes = scenario.system.setup_s, scenario.served
    blocked = _blocked(scenario)
    if blocked is not None or law is None:
        return blocked or NotAnalysable("there is no setup", "one")
    rate, size = merged(classes)
    if isinstance(scenario.policy, NonPreemptivePriority):
        extra = (law.mean + 0.5 * rate * law.moment(2)) / (1.0 + rate * law.mean)
        results = _by_priority(classes, extra, None)
    else:
        wait = formulas.SETUP(rate, size.moment(2), rate * size.mean, law.mean, law.moment(2))
        results = [_after_setup(served, wait, law, rate, size) for served in classes]
    name = "M/G/1 with setup times"
    return _result(
        scenario, results, name, formulas.SETUP.source, "off as soon as idle, setup begins at the next arrival"
    )


def _blocked(scenario: Scenario) -> NotAnalysable | Unstable | None:
    load = math.fsum(served.load for served in scenario.served)
    return unmet(scenario, NON_PREEMPTIVE) or (Unstable(load) if load >= 1.0 else None)


def _result(scenario: Scenario, results: Sequence[ClassResult], name: str, source: str, away: str) -> Result:
    ordered = isinstance(scenario.policy, FCFS | NonPreemptivePriority)
    return Result(
        classes=tuple(part if ordered else replace(part, law=None) for part in results),
        name=f"{name}, {scenario.policy.name}",
        source=source,
        assumptions=(POISSON, INDEPENDENT, "one server", away, "service is never interrupted"),
    )


Streams = Callable[[Sequence[ServedClass], Sequence[ServedClass], Sequence[ServedClass]], Transform]


def _by_priority(classes: Sequence[ServedClass], extra: float, transform: Streams | None) -> list[ClassResult]:
    """Cobham's means with `extra` (s) more of residual work while the server is free; laws where there are any."""
    found: dict[str, ClassResult] = {}
    ordered = levels(classes)
    residual = residual_work(classes) + (1.0 - math.fsum(served.load for served in classes)) * extra
    for k, own in enumerate(ordered):
        higher, lower = list(chain(*ordered[:k])), list(chain(*ordered[k + 1 :]))
        above = math.fsum(served.load for served in higher)
        wait = formulas.COBHAM(residual, above, above + math.fsum(served.load for served in own))
        for served in own:
            if transform is None:
                found[served.name] = _mean_only(served, wait)
            else:
                found[served.name] = after_wait(served, wait, transform(higher, own, lower), 1.0)
    return [found[served.name] for served in classes]


def _mean_only(served: ServedClass, wait: float) -> ClassResult:
    given = delivery(served.service)
    return ClassResult(served, given.mean, wait + given.mean, mean_slowdown=given_slowdown(served, wait))


def _vacation_wait(
    law: Distribution, higher: Sequence[ServedClass], own: Sequence[ServedClass], lower: Sequence[ServedClass]
) -> Transform:
    """Transform of the wait, all of it: a vacation's residual has no point mass at 0."""
    above, (rate, size), (low_rate, low_size) = stream(higher), merged(own), stream(lower)
    idle = (1.0 - math.fsum(served.load for served in (*higher, *own, *lower))) / law.mean

    def transform(s: np.ndarray) -> np.ndarray:
        theta = prolonged(s, *above)
        away = idle * (1.0 - law.lst(theta))
        low = 0.0 if low_size is None else low_rate * (1.0 - low_size.lst(theta))
        return np.asarray((away + low) / (s - rate * (1.0 - size.lst(theta))))

    return transform


def _after_setup(
    served: ServedClass, wait: float, law: Distribution, rate: float, size: Distribution
) -> ClassResult:
    """T = W + D with the point masses apart: no work found, and a setup of exactly one of its atoms."""
    given = delivery(served.service)
    working, first = positive_wait(rate, size), 1.0 / (1.0 + rate * law.mean)
    free = 1.0 - rate * size.mean
    atoms = [(value, free * first * p) for value, p in law.atoms()]
    places, masses = (np.array([atom[i] for atom in atoms]) for i in (0, 1))

    def rest(s: np.ndarray) -> np.ndarray:
        whole = law.lst(s)
        on = first * (whole + rate * (1.0 - whole) / s)
        return ((free + working(s)) * on - np.exp(-np.multiply.outer(s, places)) @ masses) * given.lst(s)

    def known(t: float) -> float:
        return float(given.cdf(t - places) @ masses) if atoms else 0.0

    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=wait + given.mean,
        mean_slowdown=given_slowdown(served, wait),
        law=InvertedLaw(rest, 1.0 - math.fsum(masses), known, scale=given.mean),
    )
