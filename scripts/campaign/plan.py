"""Which cells are timed, and in which order: the most informative first, at random within blocks.

A cell belongs to a tier. Tier 1 is a coarse grid over the whole range, tier 2 the levels between, tier 3 what is
costly beyond its worth. Tiers come one after the other, each in blocks that visit every one of its cells once in an
order drawn anew: wherever a run is cut, what stands is a balanced design of whole tiers, and of the last one whole
blocks.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

Level = int | str


@dataclass(frozen=True)
class Cell:
    """One combination of levels of a phase."""

    phase: str
    levels: Mapping[str, Level]
    tier: int = 1

    @property
    def key(self) -> tuple[str, ...]:
        """What tells cells apart in the file."""
        return self.phase, *(f"{name}={level}" for name, level in sorted(self.levels.items()))

    @property
    def label(self) -> str:
        """For messages.

        >>> Cell("decode", {"batch_size": 4}).label
        'decode batch_size=4'
        """
        return " ".join([self.phase, *(f"{name}={level}" for name, level in self.levels.items())])

    def at_least(self, other: Cell) -> bool:
        """Whether no number is lower here, and all else is equal: memory that lacks there lacks here."""
        if self.phase != other.phase or self.levels.keys() != other.levels.keys():
            return False
        pairs = ((self.levels[name], level) for name, level in other.levels.items())
        return all(a == b if isinstance(b, str) or isinstance(a, str) else a >= b for a, b in pairs)


@dataclass(frozen=True)
class Grid:
    """Levels of the factors of one phase; `coarse` holds those of tier 1, `late` says which cells are tier 3."""

    phase: str
    factors: Mapping[str, Sequence[Level]]
    coarse: Mapping[str, Sequence[Level]] = field(default_factory=dict)
    late: Callable[[Mapping[str, Level]], bool] = lambda levels: False

    def cells(self) -> list[Cell]:
        """Every combination, with its tier."""
        combinations = product(*self.factors.values())
        return [self._cell(dict(zip(self.factors, levels, strict=True))) for levels in combinations]

    def _cell(self, levels: dict[str, Level]) -> Cell:
        inner = all(levels[name] in chosen for name, chosen in self.coarse.items())
        return Cell(self.phase, levels, 3 if self.late(levels) else 1 if inner else 2)


@dataclass(frozen=True)
class Visit:
    """One stay at a cell in a block; blocks are counted through all tiers, `round` within the tier."""

    cell: Cell
    block: int
    round: int


@dataclass(frozen=True)
class Design:
    """Grids, how often each cell is visited and how often it is timed at each visit.

    `energy_rounds`: visits (counted in each tier from 1) at which energy is measured as well, for cells of
    `energy_tiers`.
    """

    grids: Sequence[Grid]
    rounds: int = 5
    repetitions: int = 1
    energy_rounds: tuple[int, ...] = (2,)
    energy_tiers: tuple[int, ...] = (1,)
    seed: int = 1

    def cells(self) -> list[Cell]:
        """All cells."""
        return [cell for grid in self.grids for cell in grid.cells()]

    def visits(self) -> list[Visit]:
        """All visits in the order in which they are made; the same for the same design."""
        cells, found, block = self.cells(), [], 0
        for tier in sorted({cell.tier for cell in cells}):
            members = [cell for cell in cells if cell.tier == tier]
            for turn in range(1, self.rounds + 1):
                block += 1
                order = random.Random(f"{self.seed}/{tier}/{turn}").sample(members, len(members))
                found += [Visit(cell, block, turn) for cell in order]
        return found

    def wants_energy(self, visit: Visit) -> bool:
        """Whether energy is measured at a visit."""
        return visit.round in self.energy_rounds and visit.cell.tier in self.energy_tiers

    @property
    def factors(self) -> list[str]:
        """Factor columns over all grids, in their order."""
        return list(dict.fromkeys(name for grid in self.grids for name in grid.factors))

    def content(self) -> dict[str, object]:
        """The design for the metadata."""
        cells = self.cells()
        return {
            "cells": len(cells),
            "cells_by_tier": {str(t): sum(c.tier == t for c in cells) for t in sorted({c.tier for c in cells})},
            "blocks_per_tier": self.rounds,
            "replicates_per_cell": self.rounds * self.repetitions,
            "seed": self.seed,
            "order": "tier by tier (coarse grid first), in blocks, at random within each block",
            "grid": [{"phase": g.phase, **{k: list(v) for k, v in g.factors.items()}} for g in self.grids],
            "coarse_grid": [{"phase": g.phase, **{k: list(v) for k, v in g.coarse.items()}} for g in self.grids],
            "energy_in_visits": list(self.energy_rounds),
            "energy_of_tiers": list(self.energy_tiers),
        }

    def fingerprint(self, subject: str) -> str:
        """Hash of the visits and of what is measured: a file goes on only under the same."""
        keys = [[v.block, *v.cell.key] for v in self.visits()]
        return hashlib.sha256(json.dumps([subject, self.repetitions, keys]).encode()).hexdigest()
