"""The ranks of presets in a form that the event loops know: a key before any service, and how it moves with age."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.policy import (
    EDF,
    LAS,
    LCFS,
    MLFQ,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    NonPreemptivePriority,
    Policy,
    RandomOrder,
)
from qmodel.simulation.kernels import rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]

LOOKS_PER_SERVICE = 100
"""A rank that may get worse at any age is looked at this often in a mean service."""
NOTHING = np.empty(0)

KEYS: dict[Callable, Callable[[Requests], Floats]] = {
    Policy.rank: lambda r: r.arrival_s,
    LCFS.rank: lambda r: -r.arrival_s,
    RandomOrder.rank: lambda r: r.lottery,
    NonPreemptivePriority.rank: lambda r: r.priority,
    SJF.rank: lambda r: r.size_s,
    SRPT.rank: lambda r: r.size_s,
    SPJF.rank: lambda r: predicted(r),
    SPRPT.rank: lambda r: predicted(r),
    TRAIL.rank: lambda r: predicted(r),
    EDF.rank: lambda r: r.deadline_s,
    LAS.rank: lambda r: np.zeros(len(r)),
    MLFQ.rank: lambda r: np.zeros(len(r)),
}
"""Ranks before any service. A preset is known by its rank function, so a subclass with another rank is not it.

Missing: round robin, which goes by turns, and the orders that only the general loop knows.
"""
SLOPES: dict[Callable, float] = {SRPT.rank: 1.0, SPRPT.rank: 1.0, TRAIL.rank: 1.0, LAS.rank: -1.0}
SIZED = (SJF.rank, SRPT.rank, SPJF.rank, SPRPT.rank, TRAIL.rank)


def predicted(requests: Requests) -> Floats:
    """Predicted sizes. Raises InputError naming a class that has none."""
    missing = np.isnan(requests.predicted_s)
    if missing.any():
        name = requests.classes[requests.class_index[np.argmax(missing)]].name
        raise InputError(f"class '{name}', predicted_size", "is none, but the policy needs it", "give its error")
    return requests.predicted_s


def form_of(policy: Policy, requests: Requests) -> rank.Form | None:
    """The rank of a preset in the form that the loops know; None for a user's own."""
    function = type(policy).rank
    if function not in KEYS:
        return None
    key = KEYS[function](requests).copy()
    return rank.Form(
        key,
        SLOPES.get(function, 0.0),
        np.array(policy.thresholds, dtype=float) if isinstance(policy, MLFQ) else NOTHING,
        policy.limit * key if isinstance(policy, TRAIL) else NOTHING,
        function in SIZED,
    )


def looks(look: float) -> str:
    """A note on how often a rank that may get worse is looked at."""
    return f"between arrivals the rank is looked at every {look:.3g} s of service"
