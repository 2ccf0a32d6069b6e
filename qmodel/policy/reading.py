"""Orders for people who wait and read: by deadline and work left, and by how soon a reader runs out of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qmodel.policy.base import Policy, Request
from qmodel.workload.distribution import positive


@dataclass(frozen=True)
class DeadlineAndWork(Policy):
    """Lowest deadline + alpha * (predicted work left) first, preemptive; alpha in seconds a second.

    alpha = 0 is EDF, alpha to infinity SPRPT; the deadline is arrival plus the class's response SLO; without one
    nothing is ever due. Goel et al. 2025 (Niyama), arXiv 2503.22562.

    >>> from qmodel.policy.base import Request
    >>> urgent, short = Request(0.0, 5.0, 5.0, deadline_s=6.0), Request(0.0, 1.0, 1.0, deadline_s=8.0)
    >>> [DeadlineAndWork(alpha).rank(urgent, 0.0) < DeadlineAndWork(alpha).rank(short, 0.0) for alpha in (0.0, 1.0)]
    [True, False]
    """

    alpha: float = 1.0
    name = "deadline-work"
    preemptive = True
    depends_on = frozenset({"deadline", "prediction", "age"})

    def __post_init__(self) -> None:
        if self.alpha != 0:
            positive("deadline-work", alpha=self.alpha)

    def rank(self, request: Request, attained: float) -> float:
        return request.deadline_s + self.alpha * (request.predicted_size - attained)


@dataclass(frozen=True)
class Pace(Policy):
    """Whoever runs out of text first goes first, preemptive: arrival + pace * (service attained).

    `pace`: seconds that a reader takes over what a second of service alone produces, 1 / (reading speed x
    time per token). A request that is ahead of its reader gives way. The service counts in whole steps of `step`
    seconds, so that requests change places no more often. 0 is FCFS. After Andes (Liu et al., arXiv 2404.16283).

    >>> from qmodel.policy.base import Request
    >>> ahead, behind = Request(0.0, 9.0, 9.0), Request(5.0, 9.0, 9.0)
    >>> Pace(pace=10.0).rank(ahead, 1.0) > Pace(pace=10.0).rank(behind, 0.0)
    True
    """

    pace: float = 1.0
    step: float = 0.1
    name = "pace"
    preemptive = True
    depends_on = frozenset({"arrival", "age"})

    def __post_init__(self) -> None:
        positive("pace", step=self.step)
        if self.pace != 0:
            positive("pace", pace=self.pace)

    def rank(self, request: Request, attained: float) -> float:
        return request.arrival_s + self.pace * self.step * math.floor(attained / self.step + 1e-9)
