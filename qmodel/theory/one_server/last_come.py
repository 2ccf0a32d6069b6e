"""M/G/1 under LCFS, with and without preemption, and in random order.

Any order that knows no sizes and never interrupts has the mean wait of FCFS. Under LCFS an arrival that finds
the server busy waits for the residual service R and for everyone who comes meanwhile: with theta the argument
of the busy period, W~(s) = (1 - rho) + rho R~(theta), R~(s) = (1 - S~(s)) / (s E[S]). Under preemptive LCFS
each request is only delayed by later ones: T~(s) = D~(theta), E[T] = E[D] / (1 - rho), for any law of size. Both
are known as functions of theta and inverted along it (see `delay_path`), but for the preemptive law where point
masses interrupt, which has many itself.
Sources: Riordan, *Bell Syst. Tech. J.* 40 (1961) 787-793; Wishart, *Oper. Res.* 8 (1960) 591-599; Kleinrock,
*Queueing Systems II* (1976), section 3.4; Harchol-Balter (2013), sections 29.3 and 30.3.

Policy `random` draws a request's lot once, at arrival, and serves the lowest: a request of lot u has non-preemptive
priority over the share 1 - u, so that E[W^2 | u] = lambda E[S^3] / (3 (1 - rho u)^3)
+ u (lambda E[S^2])^2 / (1 - rho u)^4, and over all lots

    E[W^2] = lambda E[S^3] (2 - rho) / (6 (1 - rho)^2) + (lambda E[S^2])^2 (3 - rho) / (6 (1 - rho)^3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import InvertedLaw, Path, Transform, shared
from qmodel.theory.numerics.transforms import MANY_ATOMS, arrays_of, sum_of_atoms, transform
from qmodel.theory.one_server.atoms import cdf_of, interrupted_atoms
from qmodel.theory.one_server.busy_period import prolonged
from qmodel.theory.one_server.delay_path import Arrivals, common_horizon, law_after_wait, still_of
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON, after_wait_with, fcfs, mean_wait
from qmodel.theory.one_server.second_moments import Two, Work, finite, or_nothing, residual, work_of
from qmodel.theory.one_server.second_moments import prolonged as prolonged_moments
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import delivery, merged
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]
    Prolonging = Callable[[Complex], tuple[Complex, Complex]]

UNINTERRUPTED = "service is never interrupted"


def last_come_first_served(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean and law of the response under LCFS without preemption."""
    rate, size = merged(classes)
    wait, load = mean_wait(rate, size), rate * size.mean
    work = work_of(classes)
    waited = or_nothing(prolonged_moments(residual(work), work), load)
    path, horizon = _wait_path(classes), common_horizon(classes)
    positive = shared(lambda s: _positive_wait(prolonged(s, rate, size), rate, size))
    laws = [law_after_wait(served, path, load, horizon, positive) for served in classes]
    pairs = zip(laws, classes, strict=True)
    return Result(
        classes=tuple(after_wait_with(law, served, wait, waited) for law, served in pairs),
        name="M/G/1 LCFS",
        source="Riordan 1961; Wishart 1960",
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, UNINTERRUPTED),
    )


def _wait_path(classes: Sequence[ServedClass]) -> Path:
    """Of the wait where it is positive, along theta (see `delay_path`): rho R~(theta) = M(theta) / theta."""
    later = Arrivals.of(classes)

    def path(theta: Complex) -> tuple[Complex, Complex]:
        work = later.work(theta)
        s = theta - work
        return s, work / theta * later.stretch(theta) / s

    return shared(path)


def _positive_wait(theta: Complex, rate: float, size: Distribution) -> Complex:
    """rho R~(theta)."""
    return rate * (1.0 - size.lst(theta)) / theta


def random_order(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean response in random order: the means of FCFS."""
    plain = fcfs(classes)
    load, second, third = (float(each) for each in work_of(classes))
    mean = second / (2.0 * (1.0 - load))
    square = third * (2.0 - load) / (6.0 * (1.0 - load) ** 2) + second**2 * (3.0 - load) / (6.0 * (1.0 - load) ** 3)
    return replace(
        plain,
        classes=tuple(_unordered(part, Two(mean, square - mean**2)) for part in plain.classes),
        name="M/G/1 in random order: Pollaczek-Khinchine mean",
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, UNINTERRUPTED),
    )


def _unordered(part: ClassResult, waited: Two) -> ClassResult:
    given = delivery(part.served.service)
    return replace(part, law=None, second_moment=finite(waited.plus(Two(given.mean, given.variance)).second))


def preemptive_last_come(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean and law of the response under preemptive LCFS."""
    work = work_of(classes)
    laws = _by_roots(classes) if _has_few_values(classes) else _along_theta(classes)
    pairs = zip(classes, laws, strict=True)
    return Result(
        classes=tuple(_resumed(served, law, work) for served, law in pairs),
        name="M/G/1 preemptive LCFS: insensitive mean",
        source="Kleinrock 1976, section 3.4; Harchol-Balter 2013, section 30.3",
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, "interrupted work is kept, switching is free"),
    )


def _resumed(served: ServedClass, law: InvertedLaw, work: Work) -> ClassResult:
    given, share, load = delivery(served.service), served.service.delivered_at, float(work.first)
    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=formulas.PROCESSOR_SHARING(given.mean, load),
        mean_slowdown=formulas.PROCESSOR_SHARING(1.0 if share is None else share.mean, load),
        law=law,
        second_moment=finite(prolonged_moments(Two(given.mean, given.variance), work).second),
    )


def _has_few_values(classes: Sequence[ServedClass]) -> bool:
    """Whether some class has a few sizes, so that what it interrupts has point masses."""
    return any(0 < len(arrays_of(served.size)[0]) <= MANY_ATOMS for served in classes)


def _along_theta(classes: Sequence[ServedClass]) -> list[InvertedLaw]:
    """Point masses are where nobody interrupts."""
    later, horizon = Arrivals.of(classes), common_horizon(classes)

    @shared
    def prolonging(theta: Complex) -> tuple[Complex, Complex]:
        s = theta - later.work(theta)
        return s, later.stretch(theta) / s

    return [_law_along(delivery(served.service), prolonging, later.rate, horizon) for served in classes]


def _law_along(given: Distribution, prolonging: Prolonging, rate: float, horizon: float) -> InvertedLaw:
    values, masses = arrays_of(given)
    kept = masses * np.exp(-rate * values)

    def path(theta: Complex) -> tuple[Complex, Complex]:
        s, factor = prolonging(theta)
        found = transform(theta, given)
        if len(values):
            found = found - sum_of_atoms(s + rate, values, masses)
        return s, found * factor

    known = cdf_of(list(zip(values.tolist(), kept.tolist(), strict=True)))
    left = 1.0 - float(kept.sum())
    return InvertedLaw.along(path, left, known, given.mean, horizon, still_of(given), values)


def _by_roots(classes: Sequence[ServedClass]) -> list[InvertedLaw]:
    rate, size = merged(classes)
    theta = shared(lambda s: prolonged(s, rate, size))
    return [_law_by_roots(delivery(served.service), classes, theta, size.mean) for served in classes]


def _law_by_roots(
    given: Distribution, classes: Sequence[ServedClass], theta: Transform, horizon: float
) -> InvertedLaw:
    atoms = interrupted_atoms(given.atoms(), 1.0, classes)
    places, masses = (np.array([atom[i] for atom in atoms]) for i in (0, 1))

    def rest(s: np.ndarray) -> np.ndarray:
        return given.lst(theta(s)) - np.exp(-np.multiply.outer(s, places)) @ masses

    return InvertedLaw(rest, 1.0 - math.fsum(masses), cdf_of(atoms), given.mean, horizon=horizon)
