"""M/G/1 under FCFS: the Pollaczek-Khinchine formula and transform.

Poisson arrivals (rate lambda), independent service times S of any law, one server, rho = lambda E[S] < 1:

    E[W] = lambda E[S^2] / (2 (1 - rho)),    W~(s) = (1 - rho) s / (s - lambda (1 - S~(s))),    T = W + S.

With several classes S is a request of any class, the wait is the same for all, and T_k = W + S_k. A result
delivered before its service ends has T_k = W + D_k. Sources: Pollaczek (1930); Khinchine (1932); Kleinrock,
*Queueing Systems I* (1975), sections 5.6-5.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import InvertedLaw, Law, Transform
from qmodel.theory.one_server.delay_path import common_horizon, law_after_wait, wait_path
from qmodel.theory.one_server.second_moments import Two, finite, found_work, work_of
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import delivery, merged
from qmodel.workload import Distribution
from qmodel.workload.partial import reciprocal_mean

POISSON = "Poisson arrivals"
INDEPENDENT = "service times independent of one another and of the arrivals"
ONE_SERVER = "one server, never idle while a request waits"


def mean_wait(rate: float, size: Distribution) -> float:
    """E[W] = lambda E[S^2] / (2 (1 - rho)); infinite if E[S^2] is.

    >>> from qmodel.workload import Exponential
    >>> round(mean_wait(0.8, Exponential(mean=1.0)), 12)
    4.0
    """
    return formulas.POLLACZEK_KHINCHINE(rate, size.moment(2), rate * size.mean)


def positive_wait(rate: float, size: Distribution) -> Transform:
    """Transform of W where W > 0, of mass rho: W~(s) - (1 - rho)."""
    load = rate * size.mean

    def transform(s: np.ndarray) -> np.ndarray:
        work = rate * (1.0 - size.lst(s))
        return (1.0 - load) * work / (s - work)

    return transform


def fcfs(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean and law of the response under first come, first served."""
    rate, size = merged(classes)
    load, waited = rate * size.mean, found_work(work_of(classes))
    wait, path, horizon = mean_wait(rate, size), wait_path((), classes, (), load), common_horizon(classes)
    laws = [law_after_wait(served, path, load, horizon) for served in classes]
    pairs = zip(laws, classes, strict=True)
    return Result(
        classes=tuple(after_wait_with(law, served, wait, waited) for law, served in pairs),
        name="M/G/1 FCFS: Pollaczek-Khinchine",
        source=formulas.POLLACZEK_KHINCHINE.source,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER),
    )


def after_wait(
    served: ServedClass,
    wait: float,
    positive: Transform,
    busy: float,
    waited: Two | None = None,
    horizon: float | None = None,
) -> ClassResult:
    """T = W + D for a wait independent of the service, positive with probability `busy`; `waited`: its moments.

    `horizon` (s): as in `InvertedLaw`, the same for all classes that share the wait.
    """
    given = delivery(served.service)

    def rest(s: np.ndarray) -> np.ndarray:
        return positive(s) * given.lst(s)

    law = InvertedLaw(rest, busy, lambda t: (1.0 - busy) * float(given.cdf(t)), given.mean, horizon=horizon)
    return after_wait_with(law, served, wait, waited)


def after_wait_with(law: Law, served: ServedClass, wait: float, waited: Two | None) -> ClassResult:
    """As `after_wait`, with this law of the response."""
    given = delivery(served.service)
    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=wait + given.mean,
        mean_slowdown=given_slowdown(served, wait),
        law=law,
        second_moment=None if waited is None else finite(waited.plus(Two(given.mean, given.variance)).second),
    )


def given_slowdown(served: ServedClass, wait: float) -> float:
    """E[T/S] = E[D/S] + E[W] E[1/S] for a wait independent of the size."""
    share = served.service.delivered_at
    return (1.0 if share is None else share.mean) + wait * reciprocal_mean(served.size)
