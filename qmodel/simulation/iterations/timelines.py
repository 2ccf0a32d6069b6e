"""Token times of every request of a simulated engine: what readers would see, for metrics of streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.simulation.iterations.answering import per_token_s
from qmodel.simulation.iterations.drawing import check_lengths, draw
from qmodel.simulation.iterations.scenario_rules import clipped, rules_of
from qmodel.simulation.iterations.serving import serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario


@dataclass(frozen=True)
class Timelines:
    """Of each request, in order of arrival: its arrival and the times of its tokens (s; none if turned away)."""

    arrival_s: NDArray[np.float64]
    token_s: tuple[NDArray[np.float64], ...]


def timelines(scenario: Scenario, requests: int, seed: int = 1) -> Timelines:
    """Serve about so many requests from an empty engine. Raises InputError for what is not simulated."""
    check_lengths(scenario)
    rules = rules_of(scenario)
    drawn = draw(clipped(scenario), requests, np.random.SeedSequence(seed), per_token_s(scenario, rules))
    whose: list[NDArray[np.int64]] = []
    when: list[NDArray[np.float64]] = []

    def hear(request: NDArray[np.int64], at_s: NDArray[np.float64]) -> None:
        whose.append(request)
        when.append(at_s)

    serve(drawn, scenario.policy, rules, lambda records: None, seed=seed, hear=hear)
    owner, at_s = np.concatenate(whose), np.concatenate(when)
    order = np.lexsort((at_s, owner))
    ends = np.searchsorted(owner[order], np.arange(1, len(drawn)))
    return Timelines(drawn.arrival_s, tuple(np.split(at_s[order], ends)))
