"""Means that are infinite: a run would print some number for them, and it would mean nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qmodel.policy import PreemptivePriority

if TYPE_CHECKING:
    from qmodel.scenario import Scenario, ServedClass


def infinite_variance(scenario: Scenario) -> list[str]:
    """Names of the classes whose service has no finite second moment."""
    return [served.name for served in scenario.served if not _second_moment(served)]


def infinite_waits(scenario: Scenario) -> list[bool]:
    """Of each class, whether its mean wait is known to be infinite.

    On one server that is not interrupted, everyone may meet the residue of any service, whose mean is
    E[S^2]/(2 E[S]); with preemptive priorities, the residues of classes that go first, and the own.
    """
    heavy = [not _second_moment(served) for served in scenario.served]
    if scenario.system.servers > 1 or scenario.shares_server:
        return [False] * len(heavy)
    if not scenario.policy.preemptive:
        return [any(heavy)] * len(heavy)
    if type(scenario.policy).rank is PreemptivePriority.rank:
        return [
            any(h and other.priority <= served.priority for h, other in zip(heavy, scenario.served, strict=True))
            for served in scenario.served
        ]
    return [False] * len(heavy)


def _second_moment(served: ServedClass) -> bool:
    """Whether services of the class, in the long-queue mode where there is one, have a finite second moment."""
    service = served.service if served.long_queue is None else served.long_queue
    return math.isfinite(service.occupancy.moment(2))
