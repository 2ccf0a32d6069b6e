"""Priority by class, and another order within each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from qmodel.errors import InputError
from qmodel.policy.base import Dependence, Policy, Request, Sized

SCALE = 2.0**40
"""Ranks much smaller than 1/SCALE are told apart by their difference, larger ones by their ratio."""
SPAN = 2200.0 * math.log(2.0)
Within = str | Policy | Mapping[str, Any]
"""A preset's name, a `module:Class`, a policy, or a table { preset, options }."""


class NonPreemptivePriority(Policy):
    """Lowest priority number first, never interrupted; inside a class FCFS, or the order `within`.

    The order within a class is that of its ranks before any service, so that `within = "srpt"` is SJF.
    """

    name, depends_on = "np-priority", frozenset({"class"})

    def __new__(cls, within: Within = "fcfs") -> NonPreemptivePriority:
        plain = within == "fcfs" or (isinstance(within, Policy) and within.name == "fcfs")
        nested = _NESTED.get(cls.__name__)
        return super().__new__(cls if plain or nested is None else nested)

    def __init__(self, within: Within = "fcfs") -> None:
        """See the class."""

    def rank(self, request: Request, attained: float) -> float:
        return float(request.priority)


class PreemptivePriority(NonPreemptivePriority):
    """Lowest priority number first; interrupts lower classes, work is resumed; inside a class FCFS, or `within`.

    An order within that is not preemptive is not interrupted by its own class.
    """

    name, preemptive = "pr-priority", True


class _Nested:
    """What both nested orders share: how the order within a class is spelled, and that order."""

    binds = True
    _inner: Policy

    def _set(self, within: Within) -> None:
        self._inner = _made(within)
        kind, options = type(self._inner), self._inner.spelled_options
        name = self._inner.name or f"{kind.__module__}:{kind.__qualname__}"
        self.within = (
            within if isinstance(within, str) else {"preset": name, "options": options} if options else name
        )
        place = f"priority, within '{name}'"
        if self._inner.sharing is not None or self._inner.timed or name == "round-robin":
            raise InputError(place, "is no order by a rank of its own", "e.g. sjf, srpt, las, gittins, spjf")
        if isinstance(self._inner, NonPreemptivePriority):
            raise InputError(place, "is a priority again", "number the priorities through")

    @property
    def inner(self) -> Policy:
        """The order within a class."""
        return self._inner

    @property
    def depends_on(self) -> frozenset[Dependence]:
        """The class, and what the order within it reads."""
        return self._inner.depends_on | {"class"}


def _made(within: Within) -> Policy:
    from qmodel.policy.presets import make_policy

    if isinstance(within, Policy):
        return within
    if isinstance(within, str):
        return make_policy(within)
    unknown = next((key for key in within if key not in ("preset", "options")), None)
    if unknown is not None or "preset" not in within:
        raise InputError("priority, within", "is no policy", "write within = { preset = NAME, options = { ... } }")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in within.get("options", {}).items()}
    return make_policy(within["preset"], None, **options)


class NestedPriority(_Nested, NonPreemptivePriority):  # type: ignore[override]
    """Class first, then another order inside the class, never interrupted.

    >>> policy = NonPreemptivePriority(within="sjf")
    >>> first, second = Request(0.0, 9.0, 9.0, priority=1), Request(0.0, 0.1, 0.1, priority=2)
    >>> policy.rank(first, 0.0) < policy.rank(second, 0.0)
    True
    """

    name = "np-priority"

    def __init__(self, within: Within = "sjf") -> None:
        self._set(within)

    def bound(self, classes: Sequence[Sized]) -> NestedPriority:
        """The policy with its inner order bound to these classes."""
        made = copy(self)
        made._inner = self._inner.bound(classes)
        return made

    def rank(self, request: Request, attained: float) -> float:
        return request.priority + fraction(self._inner.rank(request, 0.0))


class NestedPreemptivePriority(_Nested, PreemptivePriority):  # type: ignore[override]
    """Class first, interrupting lower classes, then another order inside the class."""

    name = "pr-priority"

    def __init__(self, within: Within = "sjf") -> None:
        self._set(within)

    def bound(self, classes: Sequence[Sized]) -> NestedPreemptivePriority:
        """The policy with its inner order bound to these classes."""
        made = copy(self)
        made._inner = self._inner.bound(classes)
        return made

    def rank(self, request: Request, attained: float) -> float:
        if attained > 0 and not self._inner.preemptive:
            return float(request.priority)
        return request.priority + fraction(self._inner.rank(request, attained))


_NESTED: dict[str, type[NonPreemptivePriority]] = {
    "NonPreemptivePriority": NestedPriority,
    "PreemptivePriority": NestedPreemptivePriority,
}


def fraction(rank: float) -> float:
    """A number in [0, 1) that grows with the rank and keeps about 12 of its digits.

    >>> fraction(-math.inf), fraction(0.0), fraction(1.0) < fraction(1.0 + 1e-11)
    (0.0, 0.5, True)
    """
    if math.isinf(rank):
        return 0.0 if rank < 0 else 1.0 - 2.0**-40
    return 0.5 + math.copysign(math.log1p(abs(rank) * SCALE) / SPAN, rank)
