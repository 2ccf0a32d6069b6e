"""The Markov chain of k queues whose arrivals join the shortest of d of them, made finite; exponential services.

States are the numbers at the servers, longest first. A request moves from the longest to the shortest queue
whenever they would differ by more than T (the threshold jockeying of Adan, van Houtum & van der Wal). Where no
server is idle, all queues longer by one are rho^k times as likely:

    d = k:  exactly, where the longest queue is T + 1 or more: from there on each length of it is first reached from
            one state, that of queues all alike;
    d < k:  nearly, where it is T + `MARGIN` / k or more (error of the mean below a tenth of the gap below).

So the states up to there are all that is unknown. Two means come out that agree only where requests hardly ever
move: E[N] / lambda and E[S] (1 + the number found). Their gap says how good the chain is: for d = k it bounds the
error, for d < k that may be a few times as large. Source: Adan, van Houtum & van der Wal, *Ann. Oper. Res.* 48
(1994) 197-217.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Places = NDArray[np.int64]
    Moves = tuple[Places, Places, Vector]
    """From which state, to which lengths, at which rate (or with which probability)."""

MARGIN = 16
NEGLIGIBLE = 1e-17
"""Likelihood of the longest lengths found, relative to those from which on lengths are geometric."""


@dataclass(frozen=True)
class JockeyingChain:
    """The chain of `servers` queues, d = `choices`, T = `width`: all of it that does not depend on the load.

    >>> law, gap = JockeyingChain(1, 1, 1).solved(0.5)  # M/M/1
    >>> law[:3].round(6).tolist(), gap < 1e-12
    ([0.5, 0.25, 0.125], True)
    """

    servers: int
    choices: int
    width: int

    @property
    def longest(self) -> int:
        """Length of the longest queue from which on all is geometric."""
        return self.width + (1 if self.choices == self.servers else max(1, MARGIN // self.servers))

    @cached_property
    def states(self) -> Places:
        """Sorted lengths up to `longest`, one row a state, the empty one first."""
        above = combinations_with_replacement(range(self.width + 1), self.servers - 1)
        shapes = np.array([tuple(reversed((0, *each))) for each in above])
        room = self.longest - shapes[:, 0]
        return np.concatenate([shapes[room >= low] + low for low in range(self.longest + 1)])

    def solved(self, load: float) -> tuple[Vector, float]:
        """Probabilities that an arrival finds 0, 1, 2, ... where it joins; and the gap of the two means."""
        law, factor = self._law(load), load**self.servers
        last = np.where(self.states[:, 0] == self.longest, law, 0.0)
        numbers, more = self.states.sum(axis=1), factor / (1.0 - factor)
        whole = law.sum() + more * last.sum()
        there = (law + more * last) @ numbers + last.sum() * self.servers * more / (1.0 - factor)
        found = self._found(law, last, factor) / whole
        by_number, by_place = (
            float(there / whole) / (self.servers * load),
            float(found @ (1 + np.arange(len(found)))),
        )
        return found, abs(by_place - by_number) / by_place

    def _found(self, law: Vector, last: Vector, factor: float) -> Vector:
        """Mass of each length found, those beyond the states included."""
        origin, length, share = self._joined
        below, ends = (np.bincount(length, values[origin] * share) for values in (law, last))
        out = np.convolve(ends, factor ** np.arange(2.0 + math.log(NEGLIGIBLE) / math.log(factor)))
        out[: len(below)] += below - ends
        return np.asarray(out)

    def _law(self, load: float) -> Vector:
        """Masses of the states, that of the empty one 1, from the balance of every other state."""
        from scipy.sparse.linalg import spsolve

        free, arriving, beyond = self._rates
        balance = (free + load * arriving + load**self.servers * beyond).tocsc()
        rest = spsolve(balance[1:, 1:], -balance[1:, [0]].toarray().ravel())
        return np.concatenate(([1.0], np.atleast_1d(rest)))

    @cached_property
    def _rates(self) -> tuple[Any, Any, Any]:
        """Rates of services, of arrivals per unit of load, and of services that begin one length beyond."""
        states, size = self.states, len(self.states)
        place = {key: i for i, key in enumerate(_keys(states))}
        ends = np.flatnonzero(states[:, 0] == self.longest)
        origin, target, rate = self._services(states[ends] + 1)
        outer = (ends[origin], target, rate)
        origin, target, share = self._arrivals()
        inner = (origin, target, self.servers * share)
        busy = (states > 0).sum(axis=1).astype(float)
        leaving = (busy, np.full(size, float(self.servers)), np.zeros(size))
        moves = (self._services(states), inner, outer)
        return tuple(_balance(place, *each, out) for each, out in zip(moves, leaving, strict=True))

    @cached_property
    def _joined(self) -> Moves:
        """State, length joined and its probability, of all that are possible."""
        parts = [(index, self.states[index, place], share) for index, place, share in self._blocks()]
        return _joint(parts)

    def _blocks(self) -> list[tuple[Places, int, Vector]]:
        """By the first place of the queues of one length: states, that place, how likely an arrival joins."""
        k, d, states = self.servers, self.choices, self.states
        ways = np.array([math.comb(n, d) / math.comb(k, d) for n in range(k + 1)])
        found = []
        for place in range(k):
            first = states[:, place] != states[:, place - 1] if place else np.ones(len(states), dtype=bool)
            index = np.flatnonzero(first)
            after = place + (states[index, place:] == states[index, place, None]).sum(axis=1)
            share = ways[after] - ways[place]
            found.append((index[share > 0], place, share[share > 0]))
        return found

    def _arrivals(self) -> Moves:
        parts = []
        for index, place, share in self._blocks():
            moved = self.states[index]
            far = moved[:, place] - moved[:, -1] >= self.width
            joined = np.where(far, (moved > moved[:, -1:]).sum(axis=1), place)
            moved[np.arange(len(moved)), joined] += 1
            parts.append((index, moved, share))
        return _joint(parts)

    def _services(self, states: Places) -> Moves:
        parts = []
        for place in range(self.servers):
            beside = states[:, place + 1] if place + 1 < self.servers else -1
            index = np.flatnonzero((states[:, place] != beside) & (states[:, place] > 0))
            moved = states[index]
            alike = (moved == moved[:, place, None]).sum(axis=1)
            far = moved[:, 0] - moved[:, place] >= self.width  # then the longest makes it good
            left = np.where(far, (moved == moved[:, :1]).sum(axis=1) - 1, place)
            moved[np.arange(len(moved)), left] -= 1
            parts.append((index, moved, alike.astype(float)))
        return _joint(parts)


def _joint(parts: Sequence[tuple[Places, Places, Vector]]) -> Moves:
    origin, target, rate = (np.concatenate(column) for column in zip(*parts, strict=True))
    return origin, target, rate


def _keys(lengths: Places) -> list[bytes]:
    """One key a row, of lengths below 256."""
    size, data = lengths.shape[1], lengths.astype(np.uint8).tobytes()
    return [data[i : i + size] for i in range(0, len(data), size)]


def _balance(place: dict[bytes, int], origin: Places, target: Places, rate: Vector, out: Vector) -> Any:
    """Flow into each state (row) from each (column), less the flow out; moves to no state are left out."""
    from scipy.sparse import csc_matrix

    reached = np.array([place.get(key, -1) for key in _keys(target)], dtype=np.int64)
    inside, each = reached >= 0, np.arange(len(out))
    rows, columns = np.concatenate((reached[inside], each)), np.concatenate((origin[inside], each))
    return csc_matrix((np.concatenate((rate[inside], -out)), (rows, columns)), (len(out), len(out)))


@lru_cache(maxsize=32)
def jockeying_chain(servers: int, choices: int, width: int) -> JockeyingChain:
    """The chain, kept for the next load."""
    return JockeyingChain(servers, choices, width)
