"""What a plan chooses from: policies, batch caps and any field of the scenario, each with so many servers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qmodel.errors import InputError
from qmodel.policy import Policy
from qmodel.scenario import Scenario
from qmodel.sweep.grid import grid

MOST = 20_000
"""Candidates of a plan at most."""


@dataclass(frozen=True)
class Setting:
    """One choice of everything but the number of servers, each of which costs `price`."""

    scenario: Scenario
    changed: dict[str, Any] = field(default_factory=dict)
    price: float = 1.0

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return self.scenario.policy.name or type(self.scenario.policy).__name__

    @property
    def batched(self) -> bool:
        """Whether each server is a batching engine of its own."""
        return self.scenario.system.batching == "continuous"

    def on(self, servers: int, rate: float | None = None) -> Scenario:
        """The scenario with so many servers.

        Batching engines have queues of their own: each is given its share of the arrivals, drawn at random.
        """
        rate = self.scenario.rate if rate is None else rate
        if self.batched:
            return self.scenario.at_rate(rate / servers)
        whole = replace(self.scenario, system=replace(self.scenario.system, servers=servers))
        return whole if rate == self.scenario.rate else whole.at_rate(rate)


def settings_of(
    question: Scenario | Path, vary: Mapping[str, Sequence[Any]], policies: Sequence[Policy],
    fixed: Mapping[str, str] | None = None,
) -> list[Setting]:  # fmt: skip
    """Every combination of the fields' values and the policies (the scenario's own values where none is given).

    Raises InputError for a field that does not exist, a value it cannot have, and batching engines that share.
    """
    many = math.prod(map(len, vary.values())) * max(1, len(policies))
    if many > MOST:
        raise InputError("--vary", f"gives {many:,} candidates", f"at most {MOST:,}")
    points = grid(question, dict(vary), policies, settings=fixed)
    found = [Setting(point.scenario, point.settings) for point in points]
    for one in found:
        system = one.scenario.system
        if one.batched and (system.servers > 1 or system.routing.kind not in ("shared", "random")):
            fault = "each engine is planned with a queue of its own and a random share of the arrivals"
            raise InputError("system, servers or routing", fault, "leave them out, and give --servers")
        if one.scenario.stations:
            raise InputError("station", "a tandem has servers at each station", "plan with one station")
    return found
