"""Whether the servers keep up in the long run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qmodel.workload import Closed

if TYPE_CHECKING:
    from qmodel.scenario import Scenario, ServedClass


def is_stable(scenario: Scenario) -> bool:
    """Whether the queue settles: the load of a long queue is below 1, or something bounds the queue.

    A buffer bounds it, and so do populations and patience, if all classes that overload it have one. Time that
    servers spend beside service (preemption, migration) is not counted: it shows in the run.
    """
    if scenario.system.buffer is not None:
        return True
    return long_run_load(scenario, [served for served in scenario.served if not _bounded(served)]) < 1.0


def _bounded(served: ServedClass) -> bool:
    return served.patience is not None or isinstance(served.arrivals, Closed)


def long_run_load(scenario: Scenario, classes: list[ServedClass] | None = None) -> float:
    """Load per server while the queue is long (of these classes, or all); in dynamic batches, of the largest.

    In a random environment the servers count at their mean speed; in a tandem the busiest station counts.
    """
    chosen = list(scenario.served) if classes is None else classes
    system = scenario.system
    speed = 1.0 if system.environment is None else system.environment.mean_speed
    if scenario.stations:
        return max(_station_load(chosen, station.name) / station.servers for station in scenario.stations) / speed
    if system.batching == "dynamic":
        return _batch_load(scenario, chosen) / system.servers / speed
    work = (served.rate * _long_service(served) for served in chosen)
    return math.fsum(work) / system.servers / speed


def _long_service(served: ServedClass) -> float:
    law = (served.service if served.long_queue is None else served.long_queue).occupancy
    return law.mean * (1.0 if served.pause is None else served.pause.services)


def _station_load(classes: list[ServedClass], name: str) -> float:
    visits = (s for s in classes if name in s.at_stations)
    return math.fsum(
        s.rate * s.at_stations[name].mean * (1.0 if s.pause is None else s.pause.services) for s in visits
    )


def _batch_load(scenario: Scenario, classes: list[ServedClass]) -> float:
    from qmodel.simulation.batching import mean_batch_seconds

    rate, limit = math.fsum(served.rate for served in classes), scenario.system.max_batch
    if limit is not None:
        return rate * mean_batch_seconds(scenario, limit) / limit
    large = 1 << 20
    return rate * (mean_batch_seconds(scenario, 2 * large) - mean_batch_seconds(scenario, large)) / large
