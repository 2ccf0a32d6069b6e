"""What a result for scenarios out of the ordinary supposes of the system, checked once for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qmodel.answer import NotAnalysable
from qmodel.policy import Policy
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.workload import ArrivalProcess
from qmodel.workload.superposition import MarkedArrivals, as_matrices, superposed

MOST_PHASES = 128
"""Phases of a chain beyond which its equations take seconds to solve."""


def unmet(
    scenario: Scenario, policies: Sequence[type[Policy]], *, most_servers: int | None = 1
) -> NotAnalysable | None:
    """Why the scenario is outside a result for these policies and so many servers; None if it is inside."""
    bursty = [served.name for served in scenario.served if not served.arrivals.is_poisson]
    arrivals = [f"arrivals of class '{bursty[0]}' that are not Poisson"] if bursty else []
    asked = " with ".join([*sorted(scenario.features), *arrivals])
    if type(scenario.policy) not in policies:
        nearest = " or ".join(str(policy.name) for policy in policies)
        return NotAnalysable(f"no result for {asked} under policy '{scenario.policy.name}'", nearest)
    if most_servers is not None and scenario.system.servers > most_servers:
        return NotAnalysable(f"no result for {asked} with several servers", "servers = 1")
    if scenario.system.batching == "processor-sharing":
        return NotAnalysable(f"no result for {asked} with limited sharing", "batching = 'none'")
    if scenario.condition is not None:
        return NotAnalysable(f"no result for {asked} with a queue condition", "the same without above_queue")
    return None


def driven(processes: Sequence[ArrivalProcess]) -> MarkedArrivals | None:
    """The streams as one marked chain of at most `MOST_PHASES` phases, or None; Poisson streams cost no phase."""
    found = [as_matrices(process) for process in processes]
    streams = [stream for stream in found if stream is not None]
    phases = 1
    for d0, _ in streams:
        phases *= len(d0)
    return superposed(streams) if len(streams) == len(found) and phases <= MOST_PHASES else None


def common_mean(classes: Sequence[ServedClass]) -> float | None:
    """The mean (s) of the exponential service that all classes share, or None."""
    phases = [exponential_phases(served.size) for served in classes]
    means = {mean for found in phases for _, mean in found or [(1.0, math.nan)]}
    return means.pop() if len(means) == 1 and not any(map(math.isnan, means)) else None
