"""Relations that an acceptance is made of; each says its figures, so that a verdict reads by itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from qmodel.catalogue.row import Check

if TYPE_CHECKING:
    from qmodel.answer import PolicyAnswer


def near(what: str, value: float, wanted: float, *, within: float) -> Check:
    """|value / wanted - 1| <= within.

    >>> near("E[T]", 2.01, 2.0, within=0.01)
    Check(says='E[T] 2.01 is 2 within 1%', holds=True)
    """
    off = abs(value - wanted) <= within * abs(wanted)
    return Check(f"{what} {value:.7g} is {wanted:.7g} within {100 * within:.3g}%", off)


def inside(what: str, value: float, low: float, high: float) -> Check:
    """low <= value <= high.

    >>> inside("gain", 1.5, 1.2, 5.0)
    Check(says='gain 1.5 lies in 1.2 to 5', holds=True)
    """
    return Check(f"{what} {value:.6g} lies in {low:.6g} to {high:.6g}", low <= value <= high)


def at_most(what: str, value: float, other: str, bound: float, *, slack: float = 0.0) -> Check:
    """value <= bound * (1 + slack).

    >>> at_most("sjf", 1.0, "fcfs", 2.0).says
    'sjf 1 <= fcfs 2'
    """
    more = f" (allowing {100 * slack:.3g}%)" if slack else ""
    return Check(f"{what} {value:.6g} <= {other} {bound:.6g}{more}", value <= bound + slack * abs(bound))


def falling(what: str, values: Sequence[float], *, slack: float = 0.0) -> Check:
    """Each value at most (1 + slack) times the one before.

    >>> falling("J/token", [3.0, 2.0, 1.0]).says
    'J/token falls: 3, 2, 1'
    """
    holds = all(b <= a + slack * abs(a) for a, b in pairwise(values))
    return Check(f"{what} falls: " + ", ".join(f"{value:.5g}" for value in values), holds)


def rising(what: str, values: Sequence[float], *, slack: float = 0.0) -> Check:
    """Each value at least (1 - slack) times the one before.

    >>> rising("speed", [1.0, 2.0]).holds
    True
    """
    holds = all(b >= a - slack * abs(a) for a, b in pairwise(values))
    return Check(f"{what} rises: " + ", ".join(f"{value:.5g}" for value in values), holds)


def true(says: str, holds: bool) -> Check:
    """A relation in words."""
    return Check(says, bool(holds))


def agrees(what: str, expected: float, simulated: PolicyAnswer, metric: str = "mean_response_s") -> Check:
    """Theory inside the simulation's 95 % interval, widened twofold: it fails by chance once in 10 000 runs."""
    class_name, _, name = metric.rpartition(":")
    low, high = simulated[class_name or "all"].ci95[name]
    middle, reach = 0.5 * (low + high), high - low
    low, high = middle - reach, middle + reach
    return Check(f"{what} {expected:.5g} agrees with simulation, {low:.5g} to {high:.5g}", low <= expected <= high)
