"""One station of a tandem: servers with a queue and an order, and the way onward."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from qmodel.errors import InputError
from qmodel.policy import FCFS, Policy


@dataclass(frozen=True)
class Station:
    """Requests pass the stations in the scenario's order; `transfer_s` is the way from this one to the next."""

    name: str
    servers: int = 1
    policy: Policy = field(default_factory=FCFS)
    transfer_s: float = 0.0

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise InputError(f"station '{self.name}', servers", f"{self.servers} is below 1", "give 1 or more")
        if not (math.isfinite(self.transfer_s) and self.transfer_s >= 0):
            raise InputError(f"station '{self.name}', transfer_s", f"{self.transfer_s} is no time", "give >= 0")
