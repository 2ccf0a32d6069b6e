"""Requests dealt to two kinds of servers, each to where it is expected to be done first.

The dealer knows who is there, and of each request its class: with work w of n present (each at the mean service
time of its class on that kind) at c servers, the next waits 0 for n < c, else about w (n - c + 1) / (n c), and
its own mean is added. That is the shortest queue where kinds and classes are alike. Each kind is first come, first
served.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


def dealt(
    arrival_s: Floats, index: Integers, service_s: Sequence[Floats], means_s: Sequence[Sequence[float]],
    numbers: Sequence[int],
) -> tuple[Integers, Floats]:  # fmt: skip
    """The kind that each request goes to, the first of equals, and its response time (s).

    `service_s[k][i]`: service time of request i on kind k; `means_s[k][c]`: mean of class c.

    >>> arrival, index, service = np.array([0.0, 0.1, 0.2, 9.0]), np.zeros(4, dtype=np.int64), np.ones(4)
    >>> kind, response = dealt(arrival, index, [service, 3 * service], [[1.0], [3.0]], (1, 1))
    >>> kind.tolist(), response.round(9).tolist()
    ([0, 0, 0, 0], [1.0, 1.9, 2.8, 1.0])
    """
    kinds = [Kind(number) for number in numbers]
    chosen, response = np.empty(arrival_s.size, dtype=np.int64), np.empty(arrival_s.size)
    times = [each.tolist() for each in service_s]
    for i, (now, which) in enumerate(zip(arrival_s.tolist(), index.tolist(), strict=True)):
        ends = [each.wait_s(now) + means[which] for each, means in zip(kinds, means_s, strict=True)]
        k = 0 if ends[0] <= ends[1] else 1
        chosen[i], response[i] = k, kinds[k].take(now, times[k][i], means_s[k][which]) - now
    return chosen, response


class Kind:
    """Servers of one kind, first come, first served, and what a dealer sees of them."""

    def __init__(self, servers: int) -> None:
        self.free_s, self.work_s = [0.0] * servers, 0.0
        self.present: list[tuple[float, float]] = []

    def wait_s(self, now_s: float) -> float:
        """Seconds that a request waits, as far as those present tell."""
        while self.present and self.present[0][0] <= now_s:
            self.work_s -= heappop(self.present)[1]
        there, servers = len(self.present), len(self.free_s)
        return 0.0 if there < servers else self.work_s * (there - servers + 1) / (there * servers)

    def take(self, now_s: float, service_s: float, mean_s: float) -> float:
        """Serve a request; returns when it is done."""
        done_s = max(now_s, self.free_s[0]) + service_s
        heapreplace(self.free_s, done_s)
        heappush(self.present, (done_s, mean_s))
        self.work_s += mean_s
        return done_s
