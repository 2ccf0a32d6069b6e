"""Factors with named levels: each may scale the time, change every coefficient, or do nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qmodel.fit.cells import Cells, Index
from qmodel.fit.ratios import Scaling, estimate
from qmodel.fit.table import Measurements
from qmodel.service.terms import Atom, level_text

PACING = "pacing"


@dataclass(frozen=True)
class Groups:
    """Cells fitted apart: the group of each cell, and the atoms that select each group."""

    index: Index
    atoms: tuple[tuple[Atom, ...], ...]


Treatment = tuple[tuple[Scaling, ...], Cells, Groups | None]
"""Ratios, the cells with them divided out, and the groups to be fitted apart."""


def treatments(m: Measurements, cells: Cells, references: Mapping[str, str]) -> list[Treatment]:
    """Ways to take the factors with named levels: pacing scales; the others scale, go apart, or do nothing."""
    pacing = [name for name in m.categorical if name == PACING]
    others = [name for name in m.categorical if name != PACING]
    base, adjusted = _scaled(cells, pacing, references)
    unscaled = [name for name in pacing if name not in {s.factor for s in base}]
    if not others and not unscaled:
        return [(base, adjusted, None)]
    scaled, divided = _scaled(adjusted, others, references)
    ways: list[Treatment] = [(base, adjusted, _grouped(cells, others + unscaled))]
    if not unscaled:
        ways.append((base, adjusted, None))
    if len(scaled) == len(others) and not unscaled:
        ways.append(((*base, *scaled), divided, None))
    if len(others) > 1:
        ways += [_one_scales(name, others, base, adjusted, references) for name in others]
    return ways


def _one_scales(
    name: str, others: Sequence[str], base: tuple[Scaling, ...], cells: Cells, references: Mapping[str, str]
) -> Treatment:
    """One factor scales, the rest are fitted apart."""
    scaled, divided = _scaled(cells, [name], references)
    apart = [other for other in others if other != name or not scaled]
    return (*base, *scaled), divided, _grouped(cells, apart)


def _scaled(cells: Cells, names: Sequence[str], references: Mapping[str, str]) -> tuple[tuple[Scaling, ...], Cells]:
    """Ratios of `names` one after the other, and the cells with them divided out."""
    scalings = []
    for name in names:
        scaling = estimate(cells, name, references[name])
        if scaling is not None:
            scalings.append(scaling)
            cells = replace(cells, mean=cells.mean / scaling.of(cells))
    return tuple(scalings), cells


def _grouped(cells: Cells, names: Sequence[str]) -> Groups:
    texts = np.column_stack([level_text(cells.levels[name]) for name in names])
    levels, index = np.unique(texts, axis=0, return_inverse=True)
    atoms = tuple(tuple(Atom(n, "is", str(t)) for n, t in zip(names, row, strict=True)) for row in levels.tolist())
    return Groups(np.asarray(index).ravel(), atoms)
