"""Ranks in a form that compiled code knows, and a user's own rank as a function."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Floats
from qmodel.simulation.kernels.compiled import compiled


class Form(NamedTuple):
    """rank = key - slope * age + number of thresholds reached; -inf from the age `limit` on.

    Most presets are of this form. `thresholds` and `limit` are empty where they say nothing. With `sized`, key and
    limit are proportional to the size.
    """

    key: Floats
    slope: float
    thresholds: Floats
    limit: Floats
    sized: bool


class Own(NamedTuple):
    """A user's rank, and all that it may look at; `class_index` stands for the class's name.

    `faults[0]` becomes 1 + the first request whose rank was not a number. `seen` has one row of SEEN a request.
    """

    function: Any
    faults: NDArray[np.int64]
    seen: Any


SEEN_FIELDS = (
    "arrival_s",
    "size_s",
    "predicted_s",
    "priority",
    "weight",
    "deadline_s",
    "lottery",
    "class_index",
)
# np.record, so that rows have attributes without the compiler too
SEEN = np.dtype((np.record, np.dtype([(name, np.float64) for name in SEEN_FIELDS], align=True)))


def rank_of(order: Form | Own, request: int, attained: float) -> float:
    """The rank of a request that has attained so many seconds of service."""
    return (_form_rank if isinstance(order, Form) else _own_rank)(order, request, attained)  # type: ignore[arg-type]


def shrink(order: Form | Own, request: int, factor: float) -> None:
    """Take note that the request needs `factor` times its size; its prediction shrinks with it."""
    (_form_shrink if isinstance(order, Form) else _own_shrink)(order, request, factor)  # type: ignore[arg-type]


def _form_rank(form: Form, request: int, attained: float) -> float:
    if form.limit.size and attained >= form.limit[request]:
        return -np.inf
    rank = form.key[request] - form.slope * attained
    for level in range(form.thresholds.size):
        rank += attained >= form.thresholds[level]
    return rank


def _own_rank(own: Own, request: int, attained: float) -> float:
    row = own.seen[request]
    value = own.function(
        row.arrival_s,
        row.size_s,
        row.predicted_s,
        row.priority,
        row.weight,
        row.deadline_s,
        row.lottery,
        row.class_index,
        attained,
    )
    if np.isnan(value):
        if own.faults[0] == 0:
            own.faults[0] = request + 1
        return np.inf
    return value


def _form_shrink(form: Form, request: int, factor: float) -> None:
    if form.sized:
        form.key[request] *= factor
        if form.limit.size:
            form.limit[request] *= factor


def _own_shrink(own: Own, request: int, factor: float) -> None:
    row = own.seen[request]
    row.size_s *= factor
    row.predicted_s *= factor


@overload(rank_of, strict=False, jit_options={"forceinline": True})
def _rank_of_type(order: Any, request: Any, attained: Any) -> Any:
    return _form_rank if order.instance_class is Form else _own_rank


@overload(shrink, strict=False, jit_options={"forceinline": True})
def _shrink_of_type(order: Any, request: Any, factor: Any) -> Any:
    return _form_shrink if order.instance_class is Form else _own_shrink


@compiled
def own_rise(own: Own, requests: NDArray[np.int64], ages: int) -> bool:
    """Whether the rank of any of these requests gets worse from one of so many ages to the next."""
    for request in requests:
        before = rank_of(own, request, 0.0)
        for step in range(1, ages):
            rank = rank_of(own, request, own.seen[request].size_s * step / ages)
            if rank > before:
                return True
            before = rank
    return False


@compiled
def own_keys(own: Own, keys: Floats) -> None:
    """The user's rank of every request before any service."""
    for request in range(keys.size):
        keys[request] = rank_of(own, request, 0.0)
