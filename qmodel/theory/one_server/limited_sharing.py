"""Limited processor sharing: at most k requests share the server, the others wait FCFS.

Sizes that mix m exponentials: a quasi-birth-death process in (number present, how many of each kind in
service), exact. Above k the levels repeat, with rate matrix R; below, they are solved level by level. With
E[Q] waiting and E[C_i] of kind i in service, T = E[Q]/lambda + E[C_i]/lambda_i. One common exponential needs
no chain: the number is that of M/M/1. Source: Neuts, *Matrix-Geometric Solutions* (1981); Zhang, Dai & Zwart,
*Oper. Res.* 57 (2009) for the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.scenario import ServedClass
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON
from qmodel.theory.result import ClassResult, Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_STATES = 400
"""Largest number of ways to fill the k places."""
SOURCE = "quasi-birth-death process: Neuts 1981"


@dataclass(frozen=True)
class SharingChain:
    """Kinds with their rates of arrival `rates` and mean sizes `means`; `places` served at once."""

    rates: tuple[float, ...]
    means: tuple[float, ...]
    places: int

    @cached_property
    def averages(self) -> tuple[float, Floats]:
        """Mean number waiting, and mean number of each kind in service."""
        levels = [compositions(n, len(self.rates)) for n in range(self.places + 1)]
        repeat = self._rate_matrix(levels[-1])
        laws = self._boundary(levels, repeat)
        tail = np.linalg.inv(np.eye(len(repeat)) - repeat)
        above = laws[-1] @ tail
        waiting = float(laws[-1] @ repeat @ tail @ tail @ np.ones(len(repeat)))
        total = math.fsum(law.sum() for law in laws[:-1]) + above.sum()
        inside = sum(law @ np.array(level) for law, level in zip(laws[:-1], levels[:-1], strict=True))
        return waiting / total, np.asarray((inside + above @ np.array(levels[-1])) / total)

    def _rate_matrix(self, full: list[tuple[int, ...]]) -> Floats:
        """R of the levels above `places`, by Latouche and Ramaswami's logarithmic reduction for G."""
        total = sum(self.rates)
        down = self._leave(full, full, refill=True)
        local = -np.diag(down.sum(axis=1) + total)
        up = total * np.eye(len(full))
        g = _logarithmic_reduction(up, local, down)
        return np.asarray(up @ np.linalg.inv(-(local + up @ g)))

    def _leave(self, start: list[tuple[int, ...]], end: list[tuple[int, ...]], refill: bool) -> Floats:
        """Rates of completions from the fillings `start` to `end`, the place taken again or left empty."""
        index = {filling: i for i, filling in enumerate(end)}
        out = np.zeros((len(start), len(end)))
        shares = np.array(self.rates) / sum(self.rates)
        for i, filling in enumerate(start):
            for kind, count in enumerate(filling):
                if count:
                    speed = count / sum(filling) / self.means[kind]
                    left = _changed(filling, kind, -1)
                    for newcomer, share in enumerate(shares) if refill else [(None, 1.0)]:
                        target = left if newcomer is None else _changed(left, newcomer, 1)
                        out[i, index[target]] += speed * share
        return out

    def _boundary(self, levels: list[list[tuple[int, ...]]], repeat: Floats) -> list[Floats]:
        """Unnormalised laws of levels 0..places: pi_{n+1} = pi_n R_n, from the top down."""
        total = sum(self.rates)
        refilled = self._leave(levels[-1], levels[-1], refill=True)
        inflow = repeat @ refilled
        ratios: list[Floats] = []
        for n in range(self.places, 0, -1):
            down = self._leave(levels[n], levels[n - 1], refill=False)
            up = self._join(levels[n - 1], levels[n])
            local = -np.diag(down.sum(axis=1) + total)
            ratio = up @ np.linalg.inv(-(local + inflow))
            ratios.insert(0, ratio)
            inflow = ratio @ down
        laws = [np.ones(1)]
        for ratio in ratios:
            laws.append(laws[-1] @ ratio)
        return laws

    def _join(self, start: list[tuple[int, ...]], end: list[tuple[int, ...]]) -> Floats:
        """Rates of arrivals from fillings with a free place."""
        index = {filling: i for i, filling in enumerate(end)}
        out = np.zeros((len(start), len(end)))
        for i, filling in enumerate(start):
            for kind, rate in enumerate(self.rates):
                out[i, index[_changed(filling, kind, 1)]] += rate
        return out


def compositions(n: int, kinds: int) -> list[tuple[int, ...]]:
    """Ways to write n as an ordered sum of `kinds` numbers >= 0.

    >>> compositions(2, 2)
    [(0, 2), (1, 1), (2, 0)]
    """
    if kinds == 1:
        return [(n,)]
    return [(first, *rest) for first in range(n + 1) for rest in compositions(n - first, kinds - 1)]


def _changed(filling: tuple[int, ...], kind: int, by: int) -> tuple[int, ...]:
    return (*filling[:kind], filling[kind] + by, *filling[kind + 1 :])


def _logarithmic_reduction(up: Floats, local: Floats, down: Floats) -> Floats:
    """G of a quasi-birth-death process: the phase on first reaching the level below."""
    inverse = np.linalg.inv(-local)
    h, low = inverse @ up, inverse @ down
    g, product = low.copy(), h.copy()
    for _ in range(64):
        u = h @ low + low @ h
        inverse = np.linalg.inv(np.eye(len(u)) - u)
        h, low = inverse @ h @ h, inverse @ low @ low
        g += product @ low
        product = product @ h
        if product.max() < 1e-16:
            break
    return g


def limited_sharing(classes: Sequence[ServedClass], places: int) -> Result | NotAnalysable:
    """Every class's mean response under limited processor sharing with `places` places."""
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    rates: dict[float, float] = {}
    phases = {}
    for served in classes:
        found = exponential_phases(served.size)
        if found is None:
            reason = f"sizes of class '{served.name}' are no mixture of exponentials, and at most {places} share"
            return NotAnalysable(reason, "no max_batch (insensitive), or exponential or hyperexponential sizes")
        phases[served.name] = found
        for p, mean in found:
            rates[mean] = rates.get(mean, 0.0) + served.rate * p
    if len(rates) > 1 and math.comb(places + len(rates) - 1, places) > MOST_STATES:
        return NotAnalysable(f"max_batch {places} with {len(rates)} kinds of sizes makes too large a chain", "ps")
    wait, stays = _times(rates, places)
    return Result(
        classes=tuple(
            ClassResult(served, served.size.mean, wait + math.fsum(p * stays[m] for p, m in phases[served.name]))
            for served in classes
        ),
        name=f"limited processor sharing, at most {places}: quasi-birth-death process",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, "sizes are mixtures of exponentials", "admission FCFS, sharing is free"),
    )


def _times(rates: dict[float, float], places: int) -> tuple[float, dict[float, float]]:
    """Mean wait for a place, and mean time in it by mean size."""
    if len(rates) == 1:
        ((mean, rate),) = rates.items()
        load = rate * mean
        waiting = load ** (places + 1) / (1.0 - load)
        return waiting / rate, {mean: mean / (1.0 - load) - waiting / rate}
    chain = SharingChain(tuple(rates.values()), tuple(rates), places)
    waiting, inside = chain.averages
    return waiting / sum(rates.values()), {m: float(c) / rates[m] for m, c in zip(rates, inside, strict=True)}
