"""Non-preemptive priority M/G/1: Cobham's means and the waiting-time transform of each priority.

Classes 1, 2, ... in order of priority, FCFS inside each; classes with the same priority number are one. With
W0 = sum_i lambda_i E[S_i^2] / 2 over all classes and sigma_k the load of priorities up to k,

    E[W_k] = W0 / ((1 - sigma_{k-1}) (1 - sigma_k)).

Transform: with H the higher and L the lower classes, theta = s + lambda_H (1 - G_H(s)) the busy period's
argument,

    W_k~(s) = ((1 - rho) theta + lambda_L (1 - S_L~(theta))) / (s - lambda_k (1 - S_k~(theta))).

Sources: Cobham, *Operations Research* 2 (1954) 70-76; Takacs, *Operations Research* 12 (1964) 464-472;
Conway, Maxwell & Miller, *Theory of Scheduling* (1967), section 8-6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import chain

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import Transform
from qmodel.theory.one_server.busy_period import prolonged
from qmodel.theory.one_server.delay_path import common_horizon, law_after_wait, wait_path
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON, after_wait_with
from qmodel.theory.one_server.second_moments import found_work, stacked
from qmodel.theory.one_server.second_moments import prolonged as prolonged_moments
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import Stream, levels, merged, stream
from qmodel.workload import Distribution


def residual_work(classes: Sequence[ServedClass]) -> float:
    """W0 = sum_i lambda_i E[S_i^2] / 2: mean residual service that an arrival finds (s)."""
    return math.fsum(served.rate * served.size.moment(2) for served in classes) / 2.0


def positive_wait(
    higher: Sequence[ServedClass],
    own: Sequence[ServedClass],
    lower: Sequence[ServedClass],
    load: float | None = None,
) -> Transform:
    """Transform of W_k where W_k > 0, of mass rho, the `load` of all classes (worked out if not given)."""
    idle = 1.0 - (math.fsum(served.load for served in (*higher, *own, *lower)) if load is None else load)

    @cache
    def streams() -> tuple[Stream, tuple[float, Distribution], Stream]:
        """Merged only when a law is asked for."""
        return stream(higher), merged(own), stream(lower)

    def transform(s: np.ndarray) -> np.ndarray:
        above, own_stream, below = streams()
        theta = prolonged(s, *above)
        own_work = own_stream[0] * (1.0 - own_stream[1].lst(theta))
        lower_work = 0.0 if below[1] is None else below[0] * (1.0 - below[1].lst(theta))
        return (idle * (theta - s + own_work) + lower_work) / (s - own_work)

    return transform


def non_preemptive(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean and law of the response under non-preemptive priority."""
    found: dict[str, ClassResult] = {}
    ordered = levels(classes)
    residual = residual_work(classes)
    load = math.fsum(served.load for served in classes)
    upper, lower_work = stacked(ordered), stacked(ordered[::-1])[::-1]
    horizon = common_horizon(classes)
    for k, own in enumerate(ordered):
        higher, lower = list(chain(*ordered[:k])), list(chain(*ordered[k + 1 :]))
        wait = formulas.COBHAM(residual, float(upper[k].first), float(upper[k + 1].first))
        path = wait_path(higher, own, lower, load)
        waited = prolonged_moments(found_work(upper[k + 1], lower_work[k + 1]), upper[k])
        by_roots = positive_wait(higher, own, lower, load) if higher else None
        laws = [law_after_wait(served, path, load, horizon, by_roots) for served in own]
        pairs = zip(own, laws, strict=True)
        found |= {served.name: after_wait_with(law, served, wait, waited) for served, law in pairs}
    return Result(
        classes=tuple(found[served.name] for served in classes),
        name="M/G/1 non-preemptive priority: Cobham",
        source=formulas.COBHAM.source,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, "service is never interrupted"),
    )
