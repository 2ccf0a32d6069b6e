"""Second moments of waits and of times that later arrivals prolong, from the first three moments of work.

Work V that an arrival finds: old work X_0 queued as in M/G/1, and, while there is none, work X_1 that began again
(of lower classes, or come back in rank). V, and then each stretch of service, is prolonged by the busy periods of
newcomers X'. All per second, rho_0 = lambda E[X_0] and so on:

    E[V]   = (lambda E[X_0^2] + lambda E[X_1^2]) / (2 (1 - rho_0))
    E[V^2] = (lambda E[X_0^3] + lambda E[X_1^3]) / (3 (1 - rho_0)) + lambda E[X_0^2] E[V] / (1 - rho_0)

and a time A so prolonged has mean E[A]/(1 - rho') and variance

    Var[A] / (1 - rho')^2 + E[A] lambda E[X'^2] / (1 - rho')^3.

Sources: Takacs (1962); Conway, Maxwell & Miller, *Theory of Scheduling* (1967), chapter 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import ServedClass

    Value = float | NDArray[Any]


class Work(NamedTuple):
    """lambda E[X], lambda E[X^2], lambda E[X^3] of work that comes at rate lambda."""

    first: Value
    second: Value
    third: Value

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(self.first + other.first, self.second + other.second, self.third + other.third)


NONE = Work(0.0, 0.0, 0.0)


class Two(NamedTuple):
    """Mean and variance (s, s^2) of a time."""

    mean: Value
    variance: Value

    @property
    def second(self) -> Value:
        """E[A^2]."""
        return self.variance + self.mean**2

    def plus(self, other: Two) -> Two:
        """Of the sum with an independent time."""
        return Two(self.mean + other.mean, self.variance + other.variance)


def work_of(classes: Sequence[ServedClass]) -> Work:
    """Work that these classes bring."""
    sums = [sum(served.rate * served.size.moment(k) for served in classes) for k in (1, 2, 3)]
    return Work(*map(float, sums))


def stacked(levels: Sequence[Sequence[ServedClass]]) -> list[Work]:
    """Work of the first k of these levels of classes, for k from 0 to all of them."""
    found = [NONE]
    for own in levels:
        found.append(found[-1].plus(work_of(own)))
    return found


def found_work(old: Work, again: Work = NONE) -> Two:
    """V.

    >>> found_work(Work(0.5, 1.0, 3.0)).mean  # M/M/1 at 0.5: E[W] = 1, E[W^2] = 4
    1.0
    >>> found_work(Work(0.5, 1.0, 3.0)).second
    4.0
    """
    idle = 1.0 - old.first
    mean = (old.second + again.second) / (2.0 * idle)
    square = (old.third + again.third) / (3.0 * idle) + old.second * mean / idle
    return Two(mean, square - mean**2)


def prolonged(time: Two, newcomers: Work) -> Two:
    """The time with the busy periods of newcomers.

    >>> prolonged(Two(1.0, 1.0), Work(0.5, 1.0, 3.0)).mean  # busy period of M/M/1
    2.0
    """
    idle = 1.0 - newcomers.first
    return Two(time.mean / idle, time.variance / idle**2 + time.mean * newcomers.second / idle**3)


def residual(old: Work) -> Two:
    """Rest of the service that an arrival at a busy server finds: E[S^2]/(2 E[S]), E[S^3]/(3 E[S])."""
    mean = old.second / (2.0 * old.first)
    return Two(mean, old.third / (3.0 * old.first) - mean**2)


def or_nothing(time: Two, chance: float) -> Two:
    """The time with this probability, else 0."""
    return Two(chance * time.mean, chance * time.second - (chance * time.mean) ** 2)


def finite(value: Value) -> float:
    """As a number; infinite where infinite moments met (inf - inf)."""
    return float(np.where(np.isnan(value), np.inf, value))
