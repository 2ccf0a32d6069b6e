"""An iteration time composed of measured parts: dense layers, attention, and what is paid a sequence.

T = base + dense(tokens in the iteration) + head(sequences) + attention(chunk, history, decodes, context), each
from a table in seconds, interpolated linearly between its levels. Beyond them the last slope goes on; the answer
says how often.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def _levels(place: str, at: Floats) -> Floats:
    levels = np.ascontiguousarray(at, dtype=float)
    if levels.ndim != 1 or not np.isfinite(levels).all() or (np.diff(levels) <= 0).any():
        raise InputError(place, "are no levels", "give finite numbers that increase")
    return levels


@dataclass(frozen=True, eq=False)
class Curve:
    """Seconds at increasing levels, straight lines between.

    >>> Curve(np.array([1.0, 3.0]), np.array([0.1, 0.3])).seconds(4.0)
    0.4
    """

    at: Floats
    taken_s: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", _levels("iteration time, levels", self.at))
        object.__setattr__(self, "taken_s", np.ascontiguousarray(self.taken_s, dtype=float))
        if self.at.shape != self.taken_s.shape or not self.at.size or not np.isfinite(self.taken_s).all():
            raise InputError("iteration time, table", "has no time for some level", "give one finite number each")

    def seconds(self, level: float) -> float:
        """The time at a level; outside, the last slope goes on."""
        if self.at.size == 1:
            return float(self.taken_s[0])
        low = int(np.clip(np.searchsorted(self.at, level, side="right") - 1, 0, self.at.size - 2))
        slope = (self.taken_s[low + 1] - self.taken_s[low]) / (self.at[low + 1] - self.at[low])
        return float(self.taken_s[low] + (level - self.at[low]) * slope)


FILLED_ALONG = (2, 3, 1, 0)
"""The axes along which missing cells are filled, one after the other."""


@dataclass(frozen=True, eq=False)
class AttentionTable:
    """Seconds of attention on a grid: prompt tokens, tokens cached before them, decoding sequences, their context.

    History and context are means a sequence. Cells that were not measured are NaN in `taken_s`; they are filled
    by continuing the slope along the axis of decodes, else of the context, the history, the chunk, and count as
    outside the table. `known` says which cells were measured where the times themselves do not.
    """

    chunk: Floats
    history: Floats
    decodes: Floats
    context: Floats
    taken_s: Floats
    known: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("chunk", "history", "decodes", "context"):
            object.__setattr__(self, name, _levels(f"attention table, {name}", getattr(self, name)))
        taken = np.ascontiguousarray(self.taken_s, dtype=float)
        object.__setattr__(self, "taken_s", taken)
        shape = tuple(axis.size for axis in self.axes)
        if taken.shape != shape or not np.isfinite(taken).any():
            raise InputError(
                "attention table", f"has shape {taken.shape}, not {shape}", "give a time for each cell"
            )

    @property
    def axes(self) -> tuple[Floats, ...]:
        """The levels of the four axes."""
        return self.chunk, self.history, self.decodes, self.context

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """Which cells were measured."""
        return np.isfinite(self.taken_s) if self.known is None else np.ascontiguousarray(self.known)

    @cached_property
    def filled_s(self) -> Floats:
        """The table without gaps. Raises InputError where there is nothing to continue."""
        filled = self.taken_s.copy()
        for axis in FILLED_ALONG:
            filled = np.moveaxis(_continued(np.moveaxis(filled, axis, -1), self.axes[axis]), -1, axis)
        if not np.isfinite(filled).all():
            raise InputError("attention table", "has too few measured cells", "measure two levels of each axis")
        return np.ascontiguousarray(np.maximum(filled, 0.0))

    def scaled(self, factor: float) -> AttentionTable:
        """The same table with all times multiplied, as by the number of layers."""
        return replace(self, taken_s=self.taken_s * factor)


def _continued(values: Floats, levels: Floats) -> Floats:
    """Fill what is missing along the last axis, upwards, by the slope of the two levels before."""
    for at in range(2, levels.size):
        slope = (values[..., at - 1] - values[..., at - 2]) / (levels[at - 1] - levels[at - 2])
        guess = values[..., at - 1] + slope * (levels[at] - levels[at - 1])
        values[..., at] = np.where(np.isnan(values[..., at]), guess, values[..., at])
    return values


@dataclass(frozen=True, eq=False)
class ComposedTime:
    """The iteration time: `dense` over tokens, `head` over sequences, `attention`; any may be left out."""

    dense: Curve | None = None
    head: Curve | None = None
    attention: AttentionTable | None = None
    base_s: float = 0.0
    name: str = field(default="composed of tables")

    def __post_init__(self) -> None:
        if self.dense is None and self.head is None and self.attention is None and not self.base_s > 0:
            raise InputError("iteration time", "takes no time", "give a table or a base")

    def seconds(
        self, sequences: float, context_tokens: float = 0.0, prefill_tokens: float = 0.0, *,
        prefills: int = 0, history_tokens: float = 0.0,
    ) -> float:  # fmt: skip
        """Seconds of one iteration with `sequences` decoding, `context_tokens` in all, beside so much prefill."""
        taken = self._beside_attention(sequences + prefill_tokens, sequences + prefills)
        if self.attention is not None:
            mean = context_tokens / sequences if sequences else self.attention.context[0]
            history = history_tokens if prefill_tokens else self.attention.history[0]
            taken += float(_multilinear(self.attention, (prefill_tokens, history, sequences, mean)))
        return taken

    def decoding_alone_s(self, contexts: Floats) -> Floats:
        """Seconds of an iteration in which a request alone makes a token, at each of these contexts."""
        taken = np.full(contexts.shape, self._beside_attention(1.0, 1.0))
        if self.attention is not None:
            taken += _multilinear(self.attention, (0.0, self.attention.history[0], 1.0, contexts))
        return taken

    def _beside_attention(self, tokens: float, sequences: float) -> float:
        taken = self.base_s
        if self.dense is not None:
            taken += self.dense.seconds(tokens)
        if self.head is not None:
            taken += self.head.seconds(sequences)
        return taken


def _multilinear(table: AttentionTable, point: tuple[Any, ...]) -> Any:
    """The table at a point; the last of its four coordinates may be an array."""
    values = table.filled_s
    for axis, at in zip(table.axes, point, strict=True):
        if axis.size == 1:
            values = values[0]
            continue
        low = np.clip(np.searchsorted(axis, at, side="right") - 1, 0, axis.size - 2)
        share = (at - axis[low]) / (axis[low + 1] - axis[low])
        values = values[low] + share * (values[low + 1] - values[low])
    return values
