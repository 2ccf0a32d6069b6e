"""The experiment on paper: which cells are timed, and in which order.

A cell is one combination of levels under one pacing. Every block visits every cell once, in an order drawn
anew, so that a slow change of the machine falls on all cells alike and can be told from the effects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.measure.fraction import Fraction

if TYPE_CHECKING:
    from qmodel.measure.spec import ProfileSpec
    from qmodel.measure.targets.base import Level

Combination = dict[str, "Level"]
FactorLevels = Mapping[str, Sequence["Level"]]
_STARTS, _LARGE = 20, 300


@dataclass(frozen=True)
class Cell:
    """One combination of levels in one phase under one pacing."""

    phase: str
    levels: Mapping[str, Level]
    pacing: str

    @property
    def key(self) -> tuple[str, ...]:
        """What tells cells apart in the file: phase, pacing and levels as they are written there."""
        return self.phase, self.pacing, *(f"{name}={level}" for name, level in sorted(self.levels.items()))

    def label(self) -> str:
        """For messages: `denoise batch_size=4 steps=20 idle-gaps`."""
        return " ".join([self.phase, *(f"{name}={level}" for name, level in self.levels.items()), self.pacing])


@dataclass(frozen=True)
class Visit:
    """One stay at a cell: warm-up, then some repetitions, in one block (counted from 1)."""

    number: int
    block: int
    cell: Cell


def full(factors: FactorLevels) -> list[Combination]:
    """Every combination of levels.

    >>> len(full({"batch_size": [1, 2, 4], "steps": [5, 10]}))
    6
    """
    return [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]


def two_level(factors: FactorLevels, generators: Sequence[str] = ()) -> list[Combination]:
    """A 2^k design, or 2^(k-p) with generators such as `D=ABC` (factors are A, B, C, ... in their order).

    >>> [c["c"] for c in two_level({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, ["C=AB"])]
    [2, 1, 1, 2]
    """
    for name, levels in factors.items():
        if len(levels) != 2:
            raise InputError(f"factor {name}", f"has {len(levels)} levels", "a two-level design needs exactly two")
    fraction = Fraction.parse(len(factors), generators)
    names = dict(zip(fraction.letters, factors, strict=True))
    runs = fraction.runs()
    return [{names[a]: factors[names[a]][(sign + 1) // 2] for a, sign in run.items()} for run in runs]


def balanced_fraction(factors: FactorLevels, fraction: float, rng: np.random.Generator) -> list[Combination]:
    """A stated share of the full grid in which levels, then pairs of levels, occur equally often, as far as can be.

    Cells are taken one by one, each time one whose levels and pairs of levels are rarest so far (ties by
    lot). Raises InputError when so few cells cannot tell the main effects apart.
    """
    grid = full(factors)
    wanted = math.ceil(fraction * len(grid) - 1e-9)
    least = 1 + sum(len(levels) - 1 for levels in factors.values())
    if wanted < least:
        raise InputError(
            "design fraction",
            f"leaves {wanted} of {len(grid)} cells, too few for the main effects",
            f"use at least {math.ceil(100 * least / len(grid)) / 100:g}",
        )
    codes = np.array([[list(factors[name]).index(cell[name]) for name in factors] for cell in grid])
    starts = _STARTS if len(grid) <= _LARGE else 3
    found = sorted((_spread(codes, wanted, rng) for _ in range(starts)), key=lambda pair: pair[0])
    for _, chosen in found:
        if np.linalg.matrix_rank(_main_effects(codes[chosen])) == least:
            return [grid[i] for i in chosen]
    raise InputError(
        "design fraction", "gives no set of cells that tells the effects apart", "use a larger fraction"
    )


def _spread(codes: np.ndarray, wanted: int, rng: np.random.Generator) -> tuple[float, list[int]]:
    """Indices of `wanted` rows with level and pair counts as even as exchanges make them; how uneven, first.

    What is made small is the sum of squared counts; of all swaps of a chosen row for another, the best is
    made until none helps.
    """
    width = codes.shape[1]
    pairs = [(i, j) for i in range(width) for j in range(i + 1, width)]
    pair_codes = [codes[:, i] * (codes[:, j].max() + 1) + codes[:, j] for i, j in pairs]
    columns = np.array([*codes.T, *pair_codes])
    weights = np.array([1.0] * width + [0.5 / (len(pairs) + 1)] * len(pairs))
    chosen = np.zeros(len(codes), dtype=bool)
    chosen[rng.permutation(len(codes))[:wanted]] = True
    while not chosen.all():
        inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        gain = sum(
            weight * _swap_gain(column, inside, outside) for column, weight in zip(columns, weights, strict=True)
        )
        best = np.unravel_index(np.argmax(gain), np.shape(gain))
        if np.asarray(gain)[best] < 1e-9:
            break
        chosen[inside[best[0]]], chosen[outside[best[1]]] = False, True
    unevenness = sum(w * (np.bincount(c[chosen]) ** 2.0).sum() for c, w in zip(columns, weights, strict=True))
    return float(unevenness), [int(i) for i in np.flatnonzero(chosen)]


def _swap_gain(column: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """By how much the sum of squared counts falls when row i inside is swapped for row j outside."""
    counts = np.bincount(column[inside], minlength=column.max() + 1)
    out, into = column[inside][:, None], column[outside][None, :]
    return np.where(out == into, 0, 2 * (counts[out] - counts[into] - 1))


def _main_effects(codes: np.ndarray) -> np.ndarray:
    """Model matrix of the main effects: an intercept and an indicator for each level but the first."""
    indicators = [codes[:, i] == level for i in range(codes.shape[1]) for level in np.unique(codes[:, i])[1:]]
    return np.column_stack([np.ones(len(codes)), *indicators])


def combinations_of(spec: ProfileSpec, factors: FactorLevels) -> list[Combination]:
    """The combinations that the spec's design asks for in one phase."""
    design = spec.design
    if design.kind == "2kr":
        return two_level(factors)
    if design.kind == "fractional" and design.generators:
        return two_level(factors, design.generators)
    if design.kind == "fractional":
        return balanced_fraction(factors, design.fraction or 1.0, np.random.default_rng([design.seed, 1]))
    return full(factors)


def plan_cells(spec: ProfileSpec, phases: Mapping[str, FactorLevels]) -> list[Cell]:
    """All cells, in the order of the spec."""
    return [
        Cell(phase, levels, pacing)
        for phase, factors in phases.items()
        for levels in combinations_of(spec, factors)
        for pacing in spec.design.pacing
    ]


def plan_visits(cells: Sequence[Cell], blocks: int, seed: int) -> list[Visit]:
    """Visits in the order they are made: each block holds every cell once, shuffled.

    The same seed gives the same order, which is what lets a killed run go on with its own design.
    """
    rng = np.random.default_rng([seed, 0])
    order = [(block, int(i)) for block in range(1, blocks + 1) for i in rng.permutation(len(cells))]
    return [Visit(number, block, cells[i]) for number, (block, i) in enumerate(order)]


def describe_confounding(spec: ProfileSpec, factors: FactorLevels) -> dict[str, object]:
    """Letters, defining relation, resolution and aliases of a design with generators; empty for others."""
    if not spec.design.generators:
        return {}
    fraction = Fraction.parse(len(factors), spec.design.generators)
    return {
        "letters": dict(zip(fraction.letters, factors, strict=True)),
        "defining_relation": fraction.relation(),
        "resolution": fraction.resolution or 0,
        "aliases": {effect: " = ".join(others) for effect, others in fraction.alias_table().items()},
    }
