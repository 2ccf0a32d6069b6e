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
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics import euler
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.numerics.panels import Panels
from qmodel.theory.numerics.sizes import components
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON, positive_wait
from qmodel.theory.one_server.sharing_any_law import AnySharedServer, tabulated
from qmodel.theory.one_server.sharing_law import SharingLaw
from qmodel.theory.one_server.sharing_percentiles import Server, SharedServerLaw
from qmodel.theory.one_server.sharing_phases import SharedServer, erlang_phases
from qmodel.theory.one_server.sharing_sizes import UNFELT, in_cells
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.size_order.sizes_upto import arrays_of
from qmodel.theory.supply import delivery, merged
from qmodel.workload import Discrete, Distribution, Gamma, Hyperexponential
from qmodel.workload.distribution import Scaled
from qmodel.workload.partial import limited_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_COMPONENTS = 8
LONGEST, FEW = 30.0, 1e-5
"""The double inversion loses its digits where more requests than these come in a service, but for FEW services."""
LEFT, FACTOR, ORDER, TERMS, MOST_ATOMS = 1e-13, 3.0, 8, 32, 64
MOST_VALUES = 128
"""For the variance: probability of sizes past the last panel, panels and their nodes, terms of the inversion, and
atoms at which panels end."""


def processor_sharing(classes: Sequence[ServedClass]) -> Result:
    """Every class's mean response under processor sharing."""
    load, everyone = math.fsum(served.load for served in classes), merged(classes)
    laws = _laws([delivery(served.service) for served in classes], *everyone)
    pairs = zip(classes, laws, strict=True)
    return Result(
        classes=tuple(_class_result(served, load, everyone, law) for served, law in pairs),
        name="M/G/1 processor sharing: insensitive mean",
        source=formulas.PROCESSOR_SHARING.source,
        assumptions=(POISSON, INDEPENDENT, "the server is split evenly among all present, at no cost"),
    )


def _class_result(
    served: ServedClass, load: float, everyone: tuple[float, Distribution], law: Law | None
) -> ClassResult:
    given = delivery(served.service)
    share = served.service.delivered_at
    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=formulas.PROCESSOR_SHARING(given.mean, load),
        mean_slowdown=formulas.PROCESSOR_SHARING(1.0 if share is None else share.mean, load),
        law=law,
        second_moment=partial(second_moment, given, *everyone),
    )


def _laws(owners: Sequence[Distribution], rate: float, size: Distribution) -> Sequence[Law | None]:
    """One law for each of these laws of size until delivery, where there is one in less than a second."""
    erlangs = erlang_phases(size)
    if erlangs is not None:
        server: Server = SharedServer(rate, size, erlangs, tuple(owners))
        return [SharedServerLaw([(1.0, own)], server) for own in owners]
    if tabulated(rate, size, owners):
        server = AnySharedServer(rate, size, tuple(owners))
        return [SharedServerLaw([(1.0, own)], server) for own in owners]
    quick = quickly_inverted(size) and rate * _largest(size, FEW) <= LONGEST
    return [SharingLaw(own, rate, size) if quick else None for own in owners]


def _largest(law: Distribution, share: float) -> float:
    """Size that at most this share of the requests exceeds."""
    return float(law.upper_quantile(share)) if not law.atoms() else max(value for value, _ in law.atoms())


def second_moment(given: Distribution, rate: float, size: Distribution) -> float:
    """E[T^2] of requests with this law until delivery, where all together have `rate` and `size`.

    >>> from qmodel.workload import Exponential
    >>> unit = Exponential(mean=1.0)
    >>> round(second_moment(unit, 0.5, unit) - 4.0, 6) == round(2.5 / (0.25 * 1.5), 6)
    True
    """
    if math.isinf(given.moment(2)):
        return math.inf
    size = _in_cells(size)
    panels = Panels.through(_ends(given, size), math.inf, ORDER)
    y = panels.nodes
    left = given.mean - limited_moment(given, 1, y)
    inner = float((panels.weights * left) @ _waits_longer(rate, size, y))
    return (2.0 * inner + given.moment(2)) / (1.0 - rate * size.mean) ** 2


def _in_cells(size: Distribution) -> Distribution:
    """A law of many values as one of few, with the first three moments of each cell: those that the wait feels."""
    values, masses = arrays_of(size)
    if len(values) <= MOST_VALUES or masses.sum() < 1.0 - UNFELT:
        return size
    values, masses = in_cells(values, masses, MOST_VALUES)
    return Discrete(tuple(values.tolist()), tuple(masses.tolist()))


def _ends(given: Distribution, size: Distribution) -> set[float]:
    """Ends of panels for the wait: steps of a factor 3 as far as the largest sizes, and the first atoms."""
    largest = max(float(part.upper_quantile(LEFT)) for part in components(given))
    steps = math.ceil(math.log(largest / given.mean, FACTOR)) if largest > given.mean else 0
    ends = {given.mean * FACTOR**k for k in range(-4, steps + 1)}
    atoms = {value for law in (given, size) for value, _ in law.atoms()[:MOST_ATOMS]}
    return {end for end in ends | atoms if end < largest} | {largest}


def _waits_longer(rate: float, size: Distribution, y: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(W > y) under FCFS, elementwise."""
    turns = euler.contour(1.0, TERMS)[None, :]
    s = turns / y[:, None]
    upto = (positive_wait(rate, size)(s) / s * np.exp(turns)).real @ euler.weights(TERMS) / y
    return np.asarray(np.clip(rate * size.mean - upto, 0.0, 1.0))


def quickly_inverted(size: Distribution) -> bool:
    """Whether the double inversion takes less than a second: few components, whose transforms have closed forms.

    Long mixtures and heavy tails take from seconds to minutes, longer than a simulation to the same precision.
    """
    parts = [part.law if isinstance(part, Scaled) else part for part in components(size)]
    closed = all(isinstance(part, Gamma | Hyperexponential | Discrete) for part in parts)
    return closed and sum(max(1, len(part.atoms())) for part in parts) <= MOST_COMPONENTS
