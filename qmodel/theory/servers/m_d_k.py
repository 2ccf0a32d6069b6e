r"""M/D/k under FCFS, exactly: Crommelin's queue, with its waiting law.

Every time D later all that were in service have left, so N(t + D) = (N(t) - k)^+ + A, A Poisson of mean a = lambda
D. With z_1, ..., z_{k-1} the roots of z^k = exp(a (z - 1)) inside the unit disc, the number that wait has

    Q~(z) = C (z - 1) prod_n (z - z_n) / (z^k - exp(a (z - 1))),    C = P(W = 0) = (k - a) / prod_n (1 - z_n),
    E[Q] = sum_n 1 / (1 - z_n) + (a^2 - k (k - 1)) / (2 (k - a)),    E[W] = E[Q] / lambda.

Under FCFS the requests that a request leaves waiting behind it as its service starts are those that came during
its wait, so W~(s) = Q~(1 - s / lambda). Sources: Crommelin, *Post Office Electrical Engineers' J.* 25 (1932)
41-50; Franx, *Oper. Res. Lett.* 29 (2001) 57-64; Keilson & Servi, *Oper. Res. Lett.* 7 (1988) 223-227
(distributional law).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

FIXED_POINT_STEPS, NEWTON_STEPS = 20, 8


class ConstantServers:
    """The queue of k servers that each take `service` seconds, at `rate` requests a second.

    >>> one = ConstantServers(1, 0.8, 1.0)
    >>> round(one.mean_wait, 12), round(one.no_wait, 12)
    (2.0, 0.2)
    >>> round(ConstantServers(2, 1.6, 1.0).mean_wait, 9)
    0.903283879
    """

    def __init__(self, servers: int, rate: float, service: float) -> None:
        self.servers, self.rate, self.service = servers, rate, service
        self.offered = rate * service

    @cached_property
    def roots(self) -> np.ndarray:
        """The k - 1 roots inside the unit disc: z = exp(2 pi i n / k + (a / k) (z - 1)), by Newton."""
        k, slope = self.servers, self.offered / self.servers
        turn = np.exp(2j * np.pi * np.arange(1, k) / k)
        z = np.zeros(k - 1, dtype=complex)
        for _ in range(FIXED_POINT_STEPS):
            z = turn * np.exp(slope * (z - 1.0))
        for _ in range(NEWTON_STEPS):
            image = turn * np.exp(slope * (z - 1.0))
            z = z - (z - image) / (1.0 - slope * image)
        return z

    @cached_property
    def no_wait(self) -> float:
        """P(W = 0)."""
        return float(((self.servers - self.offered) / np.prod(1.0 - self.roots)).real)

    @property
    def waiting(self) -> float:
        """Mean number that wait."""
        k, a = self.servers, self.offered
        return float((1.0 / (1.0 - self.roots)).sum().real) + (a * a - k * (k - 1)) / (2.0 * (k - a))

    @property
    def mean_wait(self) -> float:
        """E[W] (s)."""
        return self.waiting / self.rate

    @property
    def second_moment(self) -> float:
        """E[W^2] (s^2): of the requests waiting, E[Q (Q - 1)] = lambda^2 E[W^2]."""
        k, a = self.servers, self.offered
        first, second, third = k - a, (k * (k - 1) - a**2) / 2, (k * (k - 1) * (k - 2) - a**3) / 6
        bend = (second / first) ** 2 - 2.0 * third / first - float((1.0 / (1.0 - self.roots) ** 2).sum().real)
        return (bend + self.waiting**2) / self.rate**2

    def positive_wait(self, s: np.ndarray) -> np.ndarray:
        """Transform of W where W > 0, of mass 1 - P(W = 0); in logarithms, so that nothing overflows."""
        s = np.asarray(s, dtype=complex)
        power = self.servers * np.log1p(-s / self.rate)
        gap = power + s * self.service
        ahead = gap.real > 0
        below = np.where(ahead, power, -s * self.service) + np.log(
            np.where(ahead, -np.expm1(np.where(ahead, -gap, 0.0)), np.expm1(np.where(ahead, 0.0, gap))) + 0j
        )
        above = np.log(-s / self.rate) + np.log(np.subtract.outer(1.0 - s / self.rate, self.roots)).sum(axis=-1)
        return self.no_wait * (np.exp(above - below) - 1.0)


def mean_wait(servers: int, rate: float, service: float) -> float:
    """E[W] of M/D/k (s); infinite at a load of 1 or more.

    >>> round(mean_wait(1, 0.5, 2.0 * 0.9), 12) == round(0.5 * 1.8**2 / (2 * 0.1), 12)
    True
    """
    if rate * service >= servers:
        return math.inf
    return ConstantServers(servers, rate, service).mean_wait
