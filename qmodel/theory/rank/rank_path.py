"""A rank as a function of age, as straight pieces with jumps between them, found by looking at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST_LOOKS = 9
STRAIGHT = 1e-7
"""Distance from the chord, relative to the ranks' spread, up to which a piece is straight."""
ROUNDING = 1e-12
DEEPEST = 40


@dataclass(frozen=True)
class Path:
    """Pieces from age `start` to age `end` on which the rank goes straight from `first` to `last`."""

    start: Floats
    end: Floats
    first: Floats
    last: Floats

    @property
    def worst(self) -> float:
        """Largest rank at any age."""
        return float(np.maximum(self.first, self.last).max())

    def at(self, ages: Floats) -> Floats:
        """Rank at these ages."""
        piece = np.maximum(np.searchsorted(self.start, ages, side="right") - 1, 0)
        part = np.minimum((ages - self.start[piece]) / (self.end[piece] - self.start[piece]), 1.0)
        return self._at(piece, part)

    def worst_upto(self, age: float) -> float:
        """Largest rank at ages in [0, age)."""
        seen = self.start < age
        part = np.minimum((age - self.start[seen]) / (self.end[seen] - self.start[seen]), 1.0)
        return float(np.maximum(self.first[seen], self._at(seen, part)).max())

    def before(self, ages: Floats) -> tuple[Floats, Floats]:
        """Rank just before each of these ages, and `worst_upto` them."""
        piece = np.searchsorted(self.start, ages, side="left") - 1
        full = np.maximum.accumulate(np.maximum(self.first, self.last))
        earlier = np.where(piece > 0, full[piece - 1], -np.inf)
        part = (ages - self.start[piece]) / (self.end[piece] - self.start[piece])
        rank = np.where(part < 1.0, self._at(piece, part), self.last[piece])
        return rank, np.maximum(earlier, np.maximum(self.first[piece], rank))

    def at_end(self, age: float) -> Floats:
        """Rank at the end of each piece, or at `age` where that comes before (the limit from below)."""
        part = np.clip((age - self.start) / (self.end - self.start), 0.0, 1.0)
        return self._at(np.ones(len(self.start), dtype=bool), part)

    def cut(self, ranks: Floats) -> Path:
        """The same path in pieces that do not pass any of these ranks.

        >>> line = Path(*(np.array([x]) for x in (0.0, 4.0, 8.0, 0.0)))
        >>> line.cut(np.array([2.0])).end.tolist()
        [3.0, 4.0]
        """
        rows: list[tuple[float, float, float, float]] = []
        for start, end, first, last in zip(self.start, self.end, self.first, self.last, strict=True):
            inside = (ranks > min(first, last)) & (ranks < max(first, last))
            if not (np.isfinite(first) and np.isfinite(last) and inside.any()):
                rows.append((start, end, first, last))
                continue
            stops = np.sort(ranks[inside])[:: 1 if last > first else -1]
            ages = [start, *(start + (stops - first) / (last - first) * (end - start)), end]
            levels = [first, *stops, last]
            rows += [row for row in zip(ages, ages[1:], levels, levels[1:], strict=False) if row[1] > row[0]]
        return Path(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))

    def _at(self, seen: NDArray[Any], part: Floats) -> Floats:
        first, last = self.first[seen], self.last[seen]
        out = first.copy()
        finite = np.isfinite(first)
        out[finite] += part[finite] * (last[finite] - first[finite])
        return out


def path_of(rank: Callable[[float], float], ages: Floats) -> Path:
    """The rank over [ages[0], ages[-1]): looks at all `ages`, and between them until every piece is straight.

    A jump is closed in to a relative width of 2^-DEEPEST. Values at a jump belong to what follows it.

    >>> path = path_of(lambda age: float(age >= 0.3), np.linspace(0.0, 1.0, 3))
    >>> path.first.tolist(), [round(end, 9) for end in path.end.tolist()]
    ([0.0, 1.0], [0.3, 1.0])
    """
    if len(ages) < FIRST_LOOKS:
        ages = np.linspace(ages[0], ages[-1], FIRST_LOOKS)
    values = [float(rank(float(age))) for age in ages]
    finite = np.array([value for value in values if np.isfinite(value)])
    spread = float(np.ptp(finite)) if len(finite) else 0.0
    tolerance = max(STRAIGHT * spread, ROUNDING * float(np.abs(finite).max(initial=0.0)), 1e-300)
    pieces: list[tuple[float, float, float, float]] = []
    for a, b, at_a, at_b in zip(ages[:-1], ages[1:], values[:-1], values[1:], strict=True):
        _refine(rank, float(a), float(b), at_a, at_b, tolerance, 0, pieces)
    return Path(*(np.array(column) for column in zip(*_joined(pieces, tolerance), strict=True)))


def _refine(
    rank: Callable[[float], float],
    a: float,
    b: float,
    at_a: float,
    at_b: float,
    tolerance: float,
    depth: int,
    pieces: list[tuple[float, float, float, float]],
) -> None:
    if depth >= DEEPEST:
        pieces.append((a, b, at_a, at_a))
        return
    looks = [a + part * (b - a) for part in (0.25, 0.5, 0.75)]
    seen = [float(rank(age)) for age in looks]
    if all(_on_chord(at, at_a, at_b, part, tolerance) for at, part in zip(seen, (0.25, 0.5, 0.75), strict=True)):
        pieces.append((a, b, at_a, at_b))
        return
    _refine(rank, a, looks[1], at_a, seen[1], tolerance, depth + 1, pieces)
    _refine(rank, looks[1], b, seen[1], at_b, tolerance, depth + 1, pieces)


def _on_chord(value: float, at_a: float, at_b: float, part: float, tolerance: float) -> bool:
    if value == at_a == at_b:
        return True
    chord = at_a + part * (at_b - at_a)
    return abs(value - chord) <= tolerance if np.isfinite(chord) else False


def _joined(
    pieces: list[tuple[float, float, float, float]], tolerance: float
) -> list[tuple[float, float, float, float]]:
    """Neighbours that are one straight line made one; the sliver that holds a jump goes to what came before."""
    out: list[tuple[float, float, float, float]] = []
    for start, end, first, last in pieces:
        if out:
            a, b, at_a, at_b = out[-1]
            flat = at_a == at_b == first == last
            slope, other = (at_b - at_a) / (b - a), (last - first) / (end - start)
            same_line = at_b == first and np.isfinite(slope) and abs(slope - other) * (end - a) <= tolerance
            if flat or same_line:
                out[-1] = (a, end, at_a, last)
                continue
        out.append((start, end, first, last))
    return out
