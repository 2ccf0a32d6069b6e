"""How long a request will wait, told from how many are ahead of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from qmodel.errors import InputError


@dataclass(frozen=True)
class WaitingTime:
    """Mean and standard deviation of a wait (s)."""

    mean_s: float
    std_s: float

    def interval(self, share: float) -> tuple[float, float]:
        """The middle interval with this share of a normal law, from 0 on.

        >>> low, high = WaitingTime(10.0, 1.0).interval(0.90)
        >>> round(low, 3), round(high, 3)
        (8.355, 11.645)
        """
        reach = NormalDist().inv_cdf(0.5 + share / 2) * self.std_s
        return max(0.0, self.mean_s - reach), self.mean_s + reach


def waiting_time(ahead: int, mean_s: float, second_moment: float) -> WaitingTime:
    """Wait with so many waiting ahead and one in service: their services and what is left of the one under way.

    Mean n E[S] + E[S^2] / (2 E[S]), the residual of a service seen at any moment; its variance is taken as that of
    another service, as its third moment is not known. After QLM (Patke et al., SoCC 2024).

    >>> waiting_time(3, 1.0, 2.0)
    WaitingTime(mean_s=4.0, std_s=2.0)
    """
    if ahead < 0 or not mean_s > 0 or second_moment < mean_s**2:
        raise InputError("waiting time", "needs possible moments", "give E[S] > 0, E[S^2] >= E[S]^2")
    variance = second_moment - mean_s**2
    return WaitingTime(ahead * mean_s + second_moment / (2 * mean_s), math.sqrt((ahead + 1) * variance))
