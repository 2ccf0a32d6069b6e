"""The requests of a run that are counted together, column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.statistics.order_statistics import InOrder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.simulation.summary import Series

    Floats = NDArray[np.float64]


class Counted:
    """Some of the requests of a series. Their columns are gathered one at a time, into memory that is used again.

    So a long run with several classes does not pay for fresh memory again and again.
    """

    def __init__(self, part: Series, chosen: NDArray[np.int64] | None = None, room: Floats | None = None) -> None:
        self._part, self._chosen = part, chosen
        room = np.empty((2, len(part))) if room is None else room
        self._gathered, self._sorted = room[:, : len(self)]
        self._room = room

    def __len__(self) -> int:
        return len(self._part) if self._chosen is None else self._chosen.size

    def among(self, happened: NDArray[np.bool_]) -> Counted:
        """Those of them to whom it happened; `happened` has an entry for each request of the series."""
        chosen = happened if self._chosen is None else happened & self._flags
        return Counted(self._part, np.flatnonzero(chosen), self._room)

    @property
    def _flags(self) -> NDArray[np.bool_]:
        flags = np.zeros(len(self._part), dtype=np.bool_)
        flags[self._chosen] = True
        return flags

    def flags(self, name: str) -> NDArray[np.bool_]:
        """A column of True and False, which there is."""
        column: NDArray[np.bool_] = getattr(self._part, name)
        return column if self._chosen is None else column[self._chosen]

    def times(self, name: str) -> Floats:
        """A column of times or ratios; it lasts until the next is asked for."""
        column: Floats = getattr(self._part, name)
        if self._chosen is None:
            return column
        return np.take(column, self._chosen, out=self._gathered, mode="clip")  # the default mode makes a copy

    def ordered(self, values: Floats) -> InOrder:
        """The values by their places in order, until others are ordered."""
        self._sorted[:] = values
        return InOrder(self._sorted)
