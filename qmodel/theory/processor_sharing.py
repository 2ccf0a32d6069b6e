"""M/G/1 processor sharing: everyone present at the same speed.

A request of size x stays x / (1 - rho) on average, whatever the law of sizes (insensitivity), so

    E[T_k] = E[D_k] / (1 - rho),    E[T/S] = 1 / (1 - rho).

Holds with an infinite second moment too. The law of the response is in `sharing_law`; its variance given x is

    Var[T(x)] = 2/(1 - rho)^2 int_0^x (x - y) P(W > y) dy,    W the wait under FCFS.

Sources: Yashkov, *Probl. Control Inf. Theory* 12 (1983); Ott, *J. Appl. Prob.* 21 (1984) 360-378; Kleinrock, *J.
ACM* 14 (1967) 242-261; Sakata, Noguchi & Oizumi, *Operations Research* 19 (1971) 371-385.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.inversion import InvertedLaw
from qmodel.theory.m_g_1 import INDEPENDENT, POISSON, positive_wait
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.sharing_law import SharingLaw
from qmodel.theory.sizes import SizeGrid, components
from qmodel.theory.supply import delivery, merged
from qmodel.workload import Discrete, Distribution, Gamma, Hyperexponential
from qmodel.workload.distribution import Scaled
from qmodel.workload.partial import limited_moment

MOST_COMPONENTS = 8
LEFT = 1e-12
"""Share of the mean size beyond which nothing more is left to integrate."""


def processor_sharing(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean response under processor sharing."""
    load = math.fsum(served.load for served in classes)
    return Result(
        classes=tuple(_class_result(served, load, merged(classes)) for served in classes),
        name="M/G/1 processor sharing: insensitive mean",
        source=formulas.PROCESSOR_SHARING.source,
        assumptions=(POISSON, INDEPENDENT, "the server is split evenly among all present, at no cost"),
    )


def _class_result(served: ServedClass, load: float, everyone: tuple[float, Distribution]) -> ClassResult:
    given = delivery(served.service)
    share = served.service.delivered_at
    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=formulas.PROCESSOR_SHARING(given.mean, load),
        mean_slowdown=formulas.PROCESSOR_SHARING(1.0 if share is None else share.mean, load),
        law=SharingLaw(given, *everyone) if quickly_inverted(everyone[1]) else None,
        second_moment=partial(second_moment, given, *everyone),
    )


def second_moment(given: Distribution, rate: float, size: Distribution) -> float:
    """E[T^2] of requests with this law until delivery, where all together have `rate` and `size`.

    >>> from qmodel.workload import Exponential
    >>> unit = Exponential(mean=1.0)
    >>> round(second_moment(unit, 0.5, unit) - 4.0, 6) == round(2.5 / (0.25 * 1.5), 6)
    True
    """
    if math.isinf(given.moment(2)):
        return math.inf
    load = rate * size.mean
    waits = InvertedLaw(positive_wait(rate, size), load, lambda t: 1.0 - load, scale=size.mean)
    grid = SizeGrid(rate, size, (given,))
    y = grid.nodes
    left = given.mean - limited_moment(given, 1, y)
    held = left > LEFT * given.mean
    longer = np.array([1.0 - waits.cdf(float(t)) for t in y[held]])
    inner = float((grid.panels.weights * left)[held] @ longer)
    return (2.0 * inner + given.moment(2)) / (1.0 - load) ** 2


def quickly_inverted(size: Distribution) -> bool:
    """Whether the double inversion takes less than a second: few components, whose transforms have closed forms.

    Long mixtures and heavy tails take from seconds to minutes, longer than a simulation to the same precision.
    """
    parts = [part.law if isinstance(part, Scaled) else part for part in components(size)]
    closed = all(isinstance(part, Gamma | Hyperexponential | Discrete) for part in parts)
    return closed and sum(max(1, len(part.atoms())) for part in parts) <= MOST_COMPONENTS
