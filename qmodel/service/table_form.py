"""A table of measured values, interpolated linearly along every factor; beyond its edges it refuses to answer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qmodel.errors import InputError
from qmodel.service.forms import Levels, finite, listed_in
from qmodel.service.terms import Array
from qmodel.service.units import Unit

Axis = tuple[str, tuple[float, ...]]
"""A factor and its levels in the table, ascending."""

Knots = tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """`values` at every combination of the levels of `axes`, the last axis running fastest.

    Between levels the value is multilinear; outside them InputError is raised, for a table knows nothing there.
    Along a factor with a tile T (`tiles`, 0 for none) times step at multiples of T: between two levels in different
    tiles a point takes the value of the level whose tile it shares.

    >>> table = Table((("tokens", (1.0, 3.0)),), (10.0, 20.0))
    >>> table.evaluate({"tokens": [1.0, 2.0]}).tolist()
    [10.0, 15.0]
    >>> table.evaluate({"tokens": 4.0})
    Traceback (most recent call last):
    qmodel.errors.InputError: factor 'tokens': 4 is outside the table's 1 to 3; a table does not extrapolate: ...
    """

    name: ClassVar[str] = "table"
    axes: tuple[Axis, ...]
    values: tuple[float, ...]
    tiles: Knots = ()

    @property
    def coefficients(self) -> Array:
        """The values."""
        return np.array(self.values)

    @property
    def labels(self) -> tuple[str, ...]:
        """`tokens = 128, batch_size = 4`, one a value."""
        names = [name for name, _ in self.axes]
        points = itertools.product(*(knots for _, knots in self.axes))
        return tuple(", ".join(f"{n} = {x:g}" for n, x in zip(names, point, strict=True)) for point in points)

    @property
    def factors(self) -> tuple[str, ...]:
        """The factors of its axes."""
        return tuple(name for name, _ in self.axes)

    def evaluate(self, levels: Levels) -> Array:
        """Interpolated value; raises InputError outside the table."""
        for name, knots in self.axes:
            self._within(name, knots, np.asarray(levels[name], float))
        return self.inside(levels)

    def inside(self, levels: Levels) -> Array:
        """Interpolated value, NaN outside the table."""
        corners, shares, shape = self._corners(levels)
        value = np.sum(np.array(self.values)[corners] * shares, axis=0)
        return np.asarray(value.reshape(shape))

    def gradient(self, levels: Levels) -> Array:
        """Weight of each value in the interpolation, shape (points, values)."""
        corners, shares, _ = self._corners(levels)
        out = np.zeros((corners.shape[1], len(self.values)))
        for corner, share in zip(corners, shares, strict=True):
            np.add.at(out, (np.arange(len(corner)), corner), share)
        return out

    def with_coefficients(self, coefficients: Array) -> Table:
        """The same axes with other values."""
        return Table(self.axes, tuple(float(c) for c in coefficients), self.tiles)

    def words(self, unit: Unit) -> str:
        """`table of 12 values over tokens (1 to 4096), 0.1 ms to 2 ms`."""
        spans = ", ".join(f"{name} ({knots[0]:g} to {knots[-1]:g})" for name, knots in self.axes)
        low, high = unit.words(min(self.values)), unit.words(max(self.values))
        steps = ", ".join(
            f"{tile:g} of {name}" for (name, _), tile in zip(self.axes, self._tiles(), strict=True) if tile
        )
        stepping = f", stepping at multiples of {steps}" if steps else ""
        return f"table of {len(self.values)} values over {spans}: {low} to {high}{stepping}"

    def latex(self, unit: Unit) -> str:
        """The same as text in mathematics."""
        return r"\text{" + self.words(unit).replace("_", r"\_") + "}"

    def to_json(self) -> dict[str, Any]:
        """`terms` hold the axes (factor, levels); `coefficients` the values."""
        axes = [
            {"factor": name, "levels": list(knots)} | ({"tile": tile} if tile else {})
            for (name, knots), tile in zip(self.axes, self._tiles(), strict=True)
        ]
        return {"form": self.name, "terms": axes, "coefficients": list(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str) -> Table:
        """Read axes and values; raises InputError naming the place of a fault."""
        entries = listed_in(data["terms"], place, "terms")
        axes = tuple(_axis(entry, f"{place}, terms[{k}]") for k, entry in enumerate(entries))
        tiles = tuple(finite(e.get("tile", 0.0), f"{place}, terms[{k}], tile") for k, e in enumerate(entries))
        numbers = listed_in(data["coefficients"], place, "coefficients")
        size = int(np.prod([len(knots) for _, knots in axes]))
        if len(numbers) != size:
            raise InputError(
                f"{place}, coefficients", f"has {len(numbers)} values for {size} cells", "fit it again"
            )
        values = tuple(finite(x, f"{place}, coefficients[{k}]") for k, x in enumerate(numbers))
        return cls(axes, values, tiles if any(tiles) else ())

    def _tiles(self) -> Knots:
        return self.tiles or (0.0,) * len(self.axes)

    @staticmethod
    def _within(name: str, knots: tuple[float, ...], x: Array) -> None:
        outside = x[(x < knots[0]) | (x > knots[-1]) | np.isnan(x)]
        if outside.size:
            fault = f"{outside.flat[0]:g} is outside the table's {knots[0]:g} to {knots[-1]:g}"
            raise InputError(
                f"factor '{name}'", fault, "a table does not extrapolate: fit a form, or measure there"
            )

    def _corners(self, levels: Levels) -> tuple[Any, Array, tuple[int, ...]]:
        """Positions of the corners around each point and their weights, shape (corners, points)."""
        xs = np.broadcast_arrays(*(np.asarray(levels[name], float) for name, _ in self.axes))
        shape = xs[0].shape
        corners, shares = np.zeros((1, xs[0].size), int), np.ones((1, xs[0].size))
        for (_, knots), tile, x in zip(self.axes, self._tiles(), xs, strict=True):
            below, share = _bracket(np.array(knots), x.ravel(), tile)
            above = np.minimum(below + 1, len(knots) - 1)
            corners = np.vstack([corners * len(knots) + below, corners * len(knots) + above])
            shares = np.vstack([shares * (1.0 - share), shares * share])
        return corners, shares, shape


def _bracket(knots: Array, x: Array, tile: float = 0.0) -> tuple[Any, Array]:
    """Position of the knot at or below x and the share of the way to the next; NaN outside."""
    below = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, max(len(knots) - 2, 0))
    if len(knots) == 1:
        return below, np.where(x == knots[0], 0.0, np.nan)
    share = (x - knots[below]) / (knots[below + 1] - knots[below])
    if tile:
        mine, low, high = (np.ceil(v / tile) for v in (x, knots[below], knots[below + 1]))
        steps = np.where(mine == low, 0.0, np.where(mine == high, 1.0, share))
        share = np.where((low == high) | (share == 0.0) | (share == 1.0), share, steps)
    return below, np.where((x < knots[0]) | (x > knots[-1]), np.nan, share)


def _axis(entry: Any, place: str) -> Axis:
    if not isinstance(entry, dict) or not isinstance(entry.get("factor"), str):
        raise InputError(place, "is no axis of a table", 'write {"factor": "tokens", "levels": [1, 2]}')
    knots = listed_in(entry.get("levels"), place, "levels")
    numbers = tuple(finite(x, f"{place}, levels[{k}]") for k, x in enumerate(knots))
    if any(b <= a for a, b in itertools.pairwise(numbers)):
        raise InputError(f"{place}, levels", "do not ascend", "sort them, each once")
    return entry["factor"], numbers
