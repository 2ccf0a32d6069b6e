"""MAP/M/k under FCFS: bursty arrivals at several servers, one exponential law of service, exact.

The number n in the system and the phase of the arrivals form a quasi-birth-death process: up with D1 = sum_i D_i,
down with min(n, k) mu. With R the least solution of D1 + R (D0 - k mu) + k mu R^2 = 0,

    p_{n+1} = p_n R, n >= k - 1;   p_n = p_{n-1} R_n below, R_n = D1 (n mu - D0 - (n + 1) mu R_{n+1})^-1, R_k = R,
    W_i~(s) = p_k z (I - z R)^-1 D_i 1 / lambda_i + P(no wait), z = k mu / (k mu + s),
    E[W_i] = p_k (I - R)^-2 D_i 1 / (k mu lambda_i).

Sources: Neuts, *Matrix-Geometric Solutions in Stochastic Models* (1981), chapter 3; Latouche & Ramaswami, *J. Appl.
Prob.* 30 (1993) 650-674 (logarithmic reduction).

>>> from qmodel.workload import Poisson
>>> from qmodel.theory.premises import driven
>>> two = Levels(driven([Poisson(1.0)]), 2, 1.0)
>>> round(two.waiting(0), 12)  # Erlang C
0.333333333333
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.arrivals.map_g_1 import DRIVEN
from qmodel.theory.numerics.stationary import stationary_law
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, after_wait
from qmodel.theory.result import Result, Unstable
from qmodel.workload.superposition import MarkedArrivals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

STILL = 1e-17
"""Probability of climbing further than the levels looked at that does not count."""
HALVINGS = 60
"""Steps of the logarithmic reduction; each doubles the number of levels looked at."""


@dataclass(frozen=True)
class Levels:
    """The stationary law by level, for `servers` of services of this mean (s)."""

    arrivals: MarkedArrivals
    servers: int
    mean: float

    @cached_property
    def ratio(self) -> Matrix:
        """R."""
        up, down = sum(self.arrivals.marked[1:], start=self.arrivals.marked[0]), self.servers / self.mean
        stay = down * np.eye(len(up)) - self.arrivals.d0
        return np.asarray(up @ np.linalg.inv(stay - up @ first_passage(up, stay, down)))

    @cached_property
    def full(self) -> Matrix:
        """p_k: all servers busy and nobody waiting, by phase."""
        up, d0 = self.arrivals.generator - self.arrivals.d0, self.arrivals.d0
        steps, ratio = [self.ratio], self.ratio
        for n in range(self.servers - 1, 0, -1):
            ratio = up @ np.linalg.inv((n * np.eye(len(d0)) - (n + 1) * ratio) / self.mean - d0)
            steps.append(ratio)
        row = stationary_law(d0 + ratio / self.mean) if len(d0) > 1 else np.ones(1)
        whole = row.sum()
        for step in steps[:0:-1]:
            row = row @ step
            whole += row.sum()
        row = row @ self.ratio
        whole += np.linalg.solve((np.eye(len(d0)) - self.ratio).T, row).sum()
        return np.asarray(row / whole)

    def _shares(self, stream: int) -> Matrix:
        """By phase, arrivals of the stream a second over their mean."""
        marked = self.arrivals.marked[stream]
        return np.asarray(marked.sum(axis=1) / float((self.arrivals.phases @ marked).sum()))

    def waiting(self, stream: int) -> float:
        """P(W > 0) of a stream."""
        rest = np.eye(len(self.ratio)) - self.ratio
        return float(self.full @ np.linalg.solve(rest, self._shares(stream)))

    def mean_wait(self, stream: int) -> float:
        """E[W] (s) of a stream."""
        rest = np.eye(len(self.ratio)) - self.ratio
        after = np.linalg.solve(rest, np.linalg.solve(rest, self._shares(stream)))
        return float(self.full @ after) * self.mean / self.servers

    def positive(self, s: np.ndarray, stream: int) -> np.ndarray:
        """Transform of W where W > 0; shape of s kept."""
        z = 1.0 / (1.0 + np.asarray(s, dtype=complex) * (self.mean / self.servers))
        shares = np.broadcast_to(self._shares(stream)[:, None].astype(complex), (*z.shape, len(self.ratio), 1))
        rest = np.eye(len(self.ratio)) - z[..., None, None] * self.ratio
        return np.asarray(z * (self.full @ np.linalg.solve(rest, shares)[..., 0][..., None])[..., 0])


def first_passage(up: Matrix, stay: Matrix, down: float) -> Matrix:
    """G: phase at the first visit to the level below, by logarithmic reduction; `stay` is minus the local rates."""
    inverse = np.linalg.inv(stay)
    higher, lower = inverse @ up, down * inverse
    found, ahead = np.asarray(lower, dtype=float), np.asarray(higher, dtype=float)
    eye = np.eye(len(up))
    for _ in range(HALVINGS):
        both = np.linalg.inv(eye - higher @ lower - lower @ higher)
        higher, lower = both @ higher @ higher, both @ lower @ lower
        found = found + ahead @ lower
        ahead = ahead @ higher
        if np.abs(ahead).max() < STILL:
            break
    return np.asarray(found)


def map_m_k(
    classes: Sequence[ServedClass], arrivals: MarkedArrivals, servers: int, mean: float
) -> Result | Unstable:
    """Every class's mean and law of the response."""
    load = sum(served.rate for served in classes) * mean / servers
    if load >= 1.0:
        return Unstable(load)
    levels = Levels(arrivals, servers, mean)
    return Result(
        classes=tuple(
            after_wait(served, levels.mean_wait(k), partial(levels.positive, stream=k), levels.waiting(k))
            for k, served in enumerate(classes)
        ),
        name=f"MAP/M/{servers} FCFS: matrix-geometric",
        source="Neuts 1981; Latouche & Ramaswami 1993",
        assumptions=(DRIVEN, INDEPENDENT, "servers alike, none idle while a request waits"),
    )
