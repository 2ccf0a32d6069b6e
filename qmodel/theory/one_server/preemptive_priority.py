"""Preemptive-resume priority M/G/1: means and response-time transform of each priority.

Classes in order of priority, FCFS inside each; work of lower priorities is invisible. With sigma_k the load
of priorities up to k and D_k the service until delivery (S_k unless the result goes out earlier),

    E[T_k] = E[D_k] / (1 - sigma_{k-1}) + sum_{i<=k} lambda_i E[S_i^2] / (2 (1 - sigma_{k-1}) (1 - sigma_k)).

An arrival finds the work V of an M/G/1 queue of the classes up to k, and V + D_k is prolonged by the busy
periods of the higher classes: with theta = s + lambda_H (1 - G_H(s)),

    T_k~(s) = (1 - sigma_k) theta / (s - lambda_k (1 - S_k~(theta))) * D_k~(theta).

Sources: Gaver, *J. R. Statist. Soc.* B 24 (1962) 73-90; Conway, Maxwell & Miller, *Theory of Scheduling*
(1967), section 8-7; Harchol-Balter (2013), section 32.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import InvertedLaw
from qmodel.theory.numerics.transforms import MANY_ATOMS, arrays_of, sum_of_atoms, transform
from qmodel.theory.one_server.atoms import cdf_of, interrupted_atoms
from qmodel.theory.one_server.busy_period import prolonged
from qmodel.theory.one_server.delay_path import Arrivals, common_horizon, still_of
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON
from qmodel.theory.one_server.second_moments import Two, Work, finite, found_work, stacked
from qmodel.theory.one_server.second_moments import prolonged as prolonged_moments
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import Stream, delivery, levels, merged, stream
from qmodel.workload import Distribution
from qmodel.workload.partial import reciprocal_mean


def preemptive_resume(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean and law of the response under preemptive-resume priority."""
    found: dict[str, ClassResult] = {}
    higher: list[ServedClass] = []
    ordered = levels(classes)
    works = stacked(ordered)
    horizon = common_horizon(classes)
    for own, above, upto in zip(ordered, works, works[1:], strict=False):
        found |= {served.name: _class_result(served, higher, own, above, upto, horizon) for served in own}
        higher = [*higher, *own]
    return Result(
        classes=tuple(found[served.name] for served in classes),
        name="M/G/1 preemptive-resume priority",
        source=formulas.PREEMPTIVE_RESUME.source,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, "interrupted work is kept, switching is free"),
    )


def _class_result(
    served: ServedClass, higher: list[ServedClass], own: list[ServedClass], above: Work, upto: Work, horizon: float
) -> ClassResult:
    """`above` is the work of the higher classes, `upto` that of the class's own priority too; `horizon`: as in
    `InvertedLaw`."""
    given = delivery(served.service)
    loads = float(above.first), float(upto.first)
    response = formulas.PREEMPTIVE_RESUME(given.mean, float(upto.second) / 2.0, *loads)
    queued = formulas.PREEMPTIVE_RESUME(0.0, float(upto.second) / 2.0, *loads)
    whole = found_work(upto).plus(Two(given.mean, given.variance))
    share = served.service.delivered_at
    own_share = (1.0 if share is None else share.mean) / (1.0 - loads[0])
    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=response,
        mean_slowdown=own_share + queued * reciprocal_mean(served.size),
        law=_law(served, higher, own, loads[1], horizon),
        second_moment=finite(prolonged_moments(whole, above).second),
    )


def _law(
    served: ServedClass, higher: list[ServedClass], own: list[ServedClass], upto: float, horizon: float
) -> InvertedLaw:
    """By the way that the point masses of what interrupts allow."""
    few = [1 for other in higher if 0 < len(arrays_of(other.size)[0]) <= MANY_ATOMS]
    return _by_roots(served, higher, own, upto) if few else _along_theta(served, higher, own, upto, horizon)


def _along_theta(
    served: ServedClass, higher: list[ServedClass], own: list[ServedClass], upto: float, horizon: float
) -> InvertedLaw:
    """Point masses are where nobody is present and nobody interrupts."""
    given = delivery(served.service)
    above, mine = Arrivals.of(higher), Arrivals.of(own)
    values, masses = arrays_of(given)
    masses = (1.0 - upto) * masses
    kept = masses * np.exp(-above.rate * values)

    def path(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = theta - above.work(theta)
        found = (1.0 - upto) * theta / (s - mine.work(theta)) * transform(theta, given)
        if len(values):
            found -= sum_of_atoms(s + above.rate, values, masses)
        return s, found * above.stretch(theta) / s

    known = cdf_of(list(zip(values.tolist(), kept.tolist(), strict=True)))
    left = 1.0 - float(kept.sum())
    return InvertedLaw.along(path, left, known, given.mean, horizon, still_of(given), values)


def _by_roots(served: ServedClass, higher: list[ServedClass], own: list[ServedClass], upto: float) -> InvertedLaw:
    given = delivery(served.service)
    atoms = interrupted_atoms(given.atoms(), 1.0 - upto, higher)
    places = np.array([time for time, _ in atoms])
    masses = np.array([mass for _, mass in atoms])

    @cache
    def streams() -> tuple[Stream, tuple[float, Distribution]]:
        """Merged only when the law is asked for."""
        return stream(higher), merged(own)

    def rest(s: np.ndarray) -> np.ndarray:
        above, (own_rate, own_size) = streams()
        theta = prolonged(s, *above)
        whole = (1.0 - upto) * theta / (s - own_rate * (1.0 - own_size.lst(theta))) * given.lst(theta)
        return whole - np.exp(-np.multiply.outer(s, places)) @ masses

    return InvertedLaw(rest, 1.0 - float(masses.sum()), cdf_of(atoms), scale=given.mean)
