"""What taking the server from a request costs, and where in its service it can be taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qmodel.errors import InputError


@dataclass(frozen=True)
class Preemption:
    """`cost_s`: seconds the server spends each time a preempted request goes on, before its own work.

    `grain_s`: service is cut into steps of this length; a request can be preempted only when it has attained a
    whole number of them (0: at any moment). Both are seconds >= 0.

    >>> Preemption(grain_s=0.02).is_free
    False
    """

    cost_s: float = 0.0
    grain_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"policy.preemption, {name}", f"{value} is no time", "give seconds >= 0")

    @property
    def is_free(self) -> bool:
        """Whether preemption costs nothing and is possible at any moment, as textbooks suppose."""
        return self.cost_s == 0 and self.grain_s == 0
