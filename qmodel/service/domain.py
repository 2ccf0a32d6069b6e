"""The domain of a service model: the levels at which it was measured, and what lies outside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.service.terms import level_text


@dataclass(frozen=True)
class Numeric:
    """A numeric factor: the range seen and, where they are few, the levels."""

    low: float
    high: float
    levels: tuple[float, ...] = ()

    def checked(self, name: str, level: Any) -> Any:
        """`level` as finite floats; raises InputError otherwise."""
        try:
            array = np.asarray(level, dtype=float)
        except (TypeError, ValueError):
            raise InputError(f"factor '{name}'", f"level {level!r} is not a number") from None
        if not np.all(np.isfinite(array)):
            raise InputError(f"factor '{name}'", f"level {level!r} is not a finite number")
        return array

    def outside(self, name: str, level: Any) -> list[str]:
        """A message where `level`, or one of several, lies out of the range seen."""
        values = np.asarray(self.checked(name, level))
        beyond = values[(values < self.low) | (values > self.high)]
        if not beyond.size:
            return []
        worst = beyond.flat[np.argmax(np.maximum(self.low - beyond, beyond - self.high))]
        if self.low == self.high:
            return [f"{name} = {worst:g} was never measured, only {self.low:g}"]
        return [f"{name} = {worst:g} is outside the measured range {self.low:g} to {self.high:g}"]


@dataclass(frozen=True)
class Categorical:
    """A factor with named levels."""

    levels: tuple[str, ...]

    def checked(self, name: str, level: Any) -> Any:
        """`level` as text; raises InputError for one that was never measured."""
        text = level_text(level)
        unknown = [t for t in np.unique(text).tolist() if t not in self.levels]
        if unknown:
            fault = f"level '{unknown[0]}' was never measured"
            raise InputError(f"factor '{name}'", fault, nearest(unknown[0], list(self.levels)))
        return text

    def outside(self, name: str, level: Any) -> list[str]:
        """A message for each level that was never measured."""
        unknown = [t for t in np.unique(level_text(level)).tolist() if t not in self.levels]
        return [f"{name} = {t} was never measured, only {', '.join(self.levels)}" for t in unknown]


@dataclass(frozen=True)
class Domain:
    """Levels seen by factor, and the cells that ran out of memory. `a+b` is the span of a sum of factors."""

    spans: Mapping[str, Numeric | Categorical]
    out_of_memory: Sequence[Mapping[str, float | str]] = field(default_factory=tuple)

    def outside(self, levels: Mapping[str, Any]) -> list[str]:
        """One message for each way in which `levels` leave what was measured.

        >>> Domain({"batch_size": Numeric(1, 64)}).outside({"batch_size": [1, 128, 256]})
        ['batch_size = 256 is outside the measured range 1 to 64']
        """
        messages = [
            message
            for name, level in levels.items()
            if name in self.spans
            for message in self.spans[name].outside(name, level)
        ]
        for name in (n for n in self.spans if "+" in n):
            parts = name.split("+")
            if all(part in levels for part in parts):
                total = sum(np.asarray(levels[part], float) for part in parts)
                messages += self.spans[name].outside(name, total)
        unknown = [name for name in levels if name not in self.spans]
        messages += [f"{name} is not a factor of this model: its effect is not in it" for name in unknown]
        return messages + self.memory(levels)

    def memory(self, levels: Mapping[str, Any]) -> list[str]:
        """A message where `levels` ask for at least what a cell that ran out of memory asked for."""
        for cell in self.out_of_memory:
            if all(name in levels and _reaches(levels[name], level) for name, level in cell.items()):
                where = ", ".join(f"{name} = {level_text(level)}" for name, level in cell.items())
                return [f"out of memory when measured at {where}"]
        return []


def _reaches(asked: Any, limit: float | str) -> bool:
    if isinstance(limit, str):
        return bool(np.any(level_text(asked) == limit))
    return bool(np.any(np.asarray(asked, dtype=float) >= limit))
