"""Orders that know a request's class and age but not its size: one rank path a class, by SOAP.

Sizes are integrated on panels of their own law. The mean response of a size jumps or bends where the worst rank so
far reaches or leaves a rank at which some path begins, stays or turns. It changes fast where that rank passes those
of the ages at which another law's mass is. Panels end there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.rank.blind_stay import Known, mean_stays
from qmodel.theory.rank.monotone_runs import Runs
from qmodel.theory.rank.rank_path import Path
from qmodel.theory.rank.relevant_work import BlindKind, RelevantWork
from qmodel.theory.rank.soap import Background

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


UNSEEN = 1e-13
"""Share of the requests, or of their work, below which a size is left out."""
ORDER = 6
"""Nodes of a panel; panels are many."""
MOST_TURNS = 256
"""Ranks at which the load of newcomers jumps and panels end; of more, at none: steps so small need no care."""


def blind_means(
    paths: Mapping[str, Path],
    classes: Sequence[ServedClass],
    background: Background | None = None,
    turns: tuple[float, ...] = (),
) -> dict[str, float]:
    """Mean response of each class, whose rank by age is its path; it may bend or jump at the ages `turns`."""
    kinds = {each.name: BlindKind(each.rate, _endless(paths[each.name]), each.size) for each in classes}
    work = RelevantWork(list(kinds.values()), background or Background())
    return {name: _mean(kind, _grid(kind, work, turns), work) for name, kind in kinds.items()}


def _grid(kind: BlindKind, work: RelevantWork, turns: tuple[float, ...]) -> SizeGrid:
    """Sizes of the kind: panels end where its path bends, and where it passes a rank at which a path does."""
    if kind.discrete:
        return SizeGrid(kind.rate, kind.law)
    jumps = work.turns[0]
    _, *crossed = kind.runs.intervals(jumps, np.zeros(len(jumps), dtype=bool))
    hard = turning_ages(kind.runs, jumps) if len(jumps) <= MOST_TURNS else np.empty(0)
    hard = np.concatenate((hard, *crossed)) if len(crossed[0]) <= MOST_TURNS else hard
    seen = [other.path.at(other.marks) for other in work.kinds]
    found = np.concatenate((hard, kind.marks, *(turning_ages(kind.runs, ranks) for ranks in seen)))
    low, high = kind.law.quantile(UNSEEN), kind.law.upper_quantile(UNSEEN)
    return SizeGrid(
        kind.rate, kind.law, turns=(*turns, *found[(low < found) & (found < high)].tolist()), order=ORDER
    )


def _mean(kind: BlindKind, grid: SizeGrid, work: RelevantWork) -> float:
    weights = grid.weights(kind.law)
    held = weights * np.maximum(grid.sizes / kind.law.mean, 1.0) > UNSEEN
    sizes = grid.sizes[held]
    ranks, worst = kind.path.before(sizes)
    levels, place = np.unique(worst, return_inverse=True)
    loads = work.newcomers(levels)
    before = work.delays(levels, loads)[place]
    times = before + mean_stays(kind.runs, sizes, ranks, work.turns, Known(levels, loads, work.newcomers))
    return float(weights[held] @ times)


def _endless(path: Path) -> Path:
    """The path with its last piece, if the rank stays there, going on for ever."""
    if path.first[-1] != path.last[-1]:
        return path
    return replace(path, end=np.append(path.end[:-1], math.inf))


def turning_ages(runs: Runs, ranks: Floats) -> Floats:
    """Ages where the worst rank so far reaches or leaves one of these."""
    found = runs.first_end(np.repeat(ranks, 2), np.tile([True, False], len(ranks)))
    return np.unique(found[(found > 0) & np.isfinite(found)])
