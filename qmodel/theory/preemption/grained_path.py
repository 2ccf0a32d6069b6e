"""Ranks by age that count at whole steps only: inside a step of service nothing goes before the request."""

from __future__ import annotations

import math

import numpy as np

from qmodel.theory.rank.rank_path import Path

SLIVER = 1e-12
"""Length of the moment at which a step begins, in steps."""


def grained(path: Path, grain: float, steps: int) -> Path:
    """The path that has the rank of `path` at 0, g, 2 g, ..., and minus infinity in between, for so many steps.

    >>> line = Path(*(np.array([x]) for x in (0.0, 9.0, 0.0, 9.0)))
    >>> grained(line, 2.0, 3).first.round(9).tolist()
    [0.0, -inf, 2.0, -inf, 4.0, -inf]
    """
    begins = grain * np.arange(steps)
    ranks = path.at(np.asarray(begins * (1.0 + 1e-14), dtype=np.float64))
    start = np.column_stack((begins, begins + SLIVER * grain)).reshape(-1)
    levels = np.column_stack((ranks, np.full(steps, -math.inf))).reshape(-1)
    return Path(start, np.append(start[1:], grain * steps), levels, levels)
