"""What a stage times: the contract of its computations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from campaign.plan import Cell
from qmodel.measure.targets.torch_engine import TorchEngine


@dataclass(frozen=True)
class Trial:
    """A cell that is set up.

    `begin` makes, untimed, what one repetition needs and returns the call that does it; `rehearse` does a short
    piece of it that takes as much memory.
    """

    begin: Callable[[], Callable[[], object]]
    rehearse: Callable[[], object]

    @classmethod
    def repeating(cls, work: Callable[[], object], rehearse: Callable[[], object] | None = None) -> Trial:
        """A trial that does the same call each time."""
        return cls(lambda: work, rehearse or work)


class Bench(Protocol):
    """Computations on one device. `name` goes into the target column."""

    name: str
    engine: TorchEngine

    def prepare(self, cell: Cell) -> Trial:
        """Set up a cell, untimed. Raises OutOfMemory, as the trial may."""

    def about(self) -> dict[str, Any]:
        """The model's shape, for the metadata."""

    def versions(self) -> dict[str, str]:
        """Libraries that do the work."""

    def close(self) -> None:
        """Give the memory back."""
