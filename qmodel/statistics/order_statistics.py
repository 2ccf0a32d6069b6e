"""Values by their places in order: a few of them, of many, without sorting all."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class InOrder:
    """Finite values of which only those that are asked for are put at their places in order.

    Percentiles and their intervals ask for a dozen of millions. The array is moved about, and is to be left alone.

    >>> values = InOrder(np.array([5.0, 1.0, 4.0, 2.0]))
    >>> values[0], values[1], values[-1], values.largest(2).tolist()
    (1.0, 2.0, 5.0, [4.0, 5.0])
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values
        self._placed = [-1, values.size]

    @property
    def size(self) -> int:
        """How many values there are."""
        return self._values.size

    def __getitem__(self, place: int) -> float:
        """The value at this place in order; negative places count from the end."""
        place += self.size if place < 0 else 0
        at = bisect_left(self._placed, place)
        if self._placed[at] != place:
            self._put(place, self._placed[at - 1] + 1, self._placed[at])
            self._placed.insert(at, place)
        return float(self._values[place])

    def largest(self, count: int) -> NDArray[np.float64]:
        """So many of the largest values, the least of them first."""
        if count:
            self[self.size - count]
        return self._values[self.size - count :]

    def _put(self, place: int, low: int, high: int) -> None:
        """Put the value there, which is among those from `low` to `high`."""
        among = self._values[low:high]
        if place > low:
            among.partition(place - low)
        else:
            least = int(among.argmin())
            among[0], among[least] = among[least], among[0]
