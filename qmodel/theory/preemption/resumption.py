"""A resumption of c seconds that is spent anew whenever an arrival at rate mu interrupts it, at many mu at once.

Of the tries, X ~ exp(mu) the time to the next interruption, a share P(X < c) = 1 - q fails, q = exp(-mu c); the
parts E[X; X < c] and E[X^2; X < c] are all that means and squares of a resumption ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST = 700.0
"""exp() of more is no double."""


@dataclass(frozen=True)
class Tries:
    """Tries to resume, one element a rate mu of interruptions: q, 1 - q, and of X where X < c its parts in means.

    `spent` is the server's time that a try takes in the mean, (1 - q) / mu; `once` and `twice` are E[X; X < c] and
    E[X^2; X < c]; `per_arrival` is 1 / mu, 0 where nothing interrupts.

    >>> tries = Tries.of(np.array([0.0, 1.0]), 1.0)
    >>> [round(float(part[1]), 6) for part in tries.parts]
    [0.367879, 0.632121, 0.632121, 0.264241, 0.160603]
    >>> [float(part[0]) for part in tries.parts]
    [1.0, 0.0, 1.0, 0.0, 0.0]
    """

    succeeded: Floats
    failed: Floats
    spent: Floats
    once: Floats
    twice: Floats
    per_arrival: Floats

    @classmethod
    def of(cls, rates: Floats, cost: float) -> Tries:
        """At these rates (1/s, 0 or more), for a resumption of `cost` seconds."""
        from scipy.special import gammainc

        x = np.minimum(rates * cost, LARGEST)
        each = np.divide(1.0, rates, out=np.zeros_like(rates), where=rates > 0)
        failed = -np.expm1(-x)
        spent = np.where(rates > 0, failed * each, cost)
        return cls(np.exp(-x), failed, spent, gammainc(2, x) * each, 2.0 * gammainc(3, x) * each**2, each)

    @property
    def parts(self) -> tuple[Floats, ...]:
        """All but 1 / mu."""
        return self.succeeded, self.failed, self.spent, self.once, self.twice
