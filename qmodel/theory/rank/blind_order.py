"""Orders that know a request's class and age but not its size: one rank path a class, by SOAP.

Sizes are integrated exactly. The conditional mean response bends at the ages where the worst rank so far starts or
stops to grow, and where it passes a rank at which some path turns; panels end there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.rank.rank_path import Path
from qmodel.theory.rank.soap import Background, Kind, Newcomers, Relevance, mean_responses
from qmodel.theory.supply import merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

UNSEEN = 1e-13
"""Share of the requests, or of their work, below which a size is left out."""
MOST_TURNS = 48
"""Ages at which panels end beyond those of the laws; of more, none: steps so small need no care."""


def blind_means(
    paths: Mapping[str, Path],
    classes: Sequence[ServedClass],
    background: Background | None = None,
    turns: tuple[float, ...] = (),
) -> dict[str, float]:
    """Mean response of each class, whose rank by age is its path; it may bend or jump at the ages `turns`."""
    endless = {name: _endless(path) for name, path in paths.items()}
    turning = np.unique(np.concatenate([_turning_ranks(path) for path in endless.values()]))
    if len(turning) <= MOST_TURNS:
        endless = {name: path.cut(turning) for name, path in endless.items()}
    kinds = {each.name: Kind(each.rate, endless[each.name], each.size) for each in classes}
    grid = SizeGrid(*merged(classes), turns=(*turns, *turning_ages(list(endless.values()), turning)))
    relevance = Relevance(list(kinds.values()), background=background)
    falling = [path for path in endless.values() if (path.last < path.first).any()]
    seen = np.concatenate([path.at(grid.nodes) for path in falling]) if falling else np.empty(0)
    newcomers = Newcomers.of(list(kinds.values()), relevance, np.unique([*seen, *np.nextafter(turning, np.inf)]))
    means = {}
    for served in classes:
        weights = grid.weights(served.size)
        held = weights * np.maximum(grid.sizes / served.size.mean, 1.0) > UNSEEN
        relevance.prepare(kinds[served.name].path.worst_before(grid.sizes[held]))
        times = mean_responses(kinds[served.name], grid.sizes[held], relevance, newcomers)
        means[served.name] = float(weights[held] @ times)
    return means


def _endless(path: Path) -> Path:
    """The path with its last piece, if the rank stays there, going on for ever."""
    if path.first[-1] != path.last[-1]:
        return path
    return replace(path, end=np.append(path.end[:-1], math.inf))


def turning_ages(paths: Sequence[Path], levels: Floats) -> tuple[float, ...]:
    """Ages where the worst rank so far starts or stops to grow on a path, or passes one of these ranks."""
    if len(levels) > MOST_TURNS:
        return ()
    found: set[float] = set()
    for path in paths:
        top = np.maximum.accumulate(np.maximum(path.first, path.last))
        before = np.concatenate(([path.first[0]], top[:-1]))
        growing = top > before
        found |= set(path.start[1:][growing[1:] != growing[:-1]].tolist())
        for level in levels:
            found |= _passing(path, before, top, float(level))
    return tuple(sorted(age for age in found if age > 0))


def _turning_ranks(path: Path) -> Floats:
    """Ranks at birth, at jumps, and where the path turns."""
    slope = np.sign(np.nan_to_num(path.last) - np.nan_to_num(path.first))
    jumps = np.append(False, path.first[1:] != path.last[:-1])
    turns = np.append(True, slope[1:] != slope[:-1]) | jumps
    ranks = np.concatenate((path.first[turns], path.last[:-1][turns[1:]]))
    return np.asarray(ranks[np.isfinite(ranks)])


def _passing(path: Path, before: Floats, top: Floats, level: float) -> set[float]:
    """Where the worst rank so far first reaches a level: inside a piece, or at its start by a jump."""
    reached = np.flatnonzero((before < level) & (level <= top))
    if not len(reached):
        return set()
    i = reached[0]
    first, last = path.first[i], path.last[i]
    if first >= level or not np.isfinite(first):
        return {float(path.start[i])}
    return {float(path.start[i] + (level - first) / (last - first) * (path.end[i] - path.start[i]))}
