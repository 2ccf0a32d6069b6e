"""Accumulating priority: a request gains credit as it waits, at its class's rate; most credit first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qmodel.errors import InputError, nearest
from qmodel.policy.base import Policy, Request, Sized
from qmodel.workload.distribution import positive


class AccumulatingPriority(Policy):
    """Most credit first, never interrupted: rate times time in the system, looked at as each service ends.

    `rates` are those of the priority numbers from the lowest on, or class name -> rate; left out, the class's
    weight is its rate. Equal rates are FCFS, rates ever further apart non-preemptive priority. Kleinrock (1964);
    Stanford, Taylor & Ziedins (2014).

    >>> policy = AccumulatingPriority(rates={"chat": 2.0, "batch": 1.0})
    >>> waiting = Request(0.0, 1.0, 1.0, class_name="batch"), Request(6.0, 1.0, 1.0, class_name="chat")
    >>> [policy.rank_at(request, 0.0, 10.0) for request in waiting]
    [-10.0, -8.0]
    """

    name, depends_on = "accumulating", frozenset({"class", "time"})
    timed = binds = True

    def __init__(self, rates: Sequence[float] | Mapping[str, float] = ()) -> None:
        named = isinstance(rates, Mapping)
        values = rates.items() if isinstance(rates, Mapping) else enumerate(rates)
        for place, rate in values:
            positive("accumulating, rates", **{str(place): rate})
        self.rates: tuple[float, ...] | dict[str, float] = dict(rates) if named else tuple(rates)  # type: ignore[arg-type]

    def bound(self, classes: Sequence[Sized]) -> AccumulatingPriority:
        """The policy with the rate of each of these classes. Raises InputError for one that has none."""
        made = AccumulatingPriority(self.rates)
        made._by_class = {each.name: self._rate(each, classes) for each in classes}
        return made

    def _rate(self, own: Sized, classes: Sequence[Sized]) -> float:
        if not self.rates:
            return own.weight
        if isinstance(self.rates, dict):
            return self._named(own, {each.name for each in classes})
        numbers = sorted({each.priority for each in classes})
        if len(numbers) != len(self.rates):
            fault = f"has {len(self.rates)} rates for {len(numbers)} priorities"
            raise InputError("accumulating, rates", fault, "give one for each priority number, lowest number first")
        return self.rates[numbers.index(own.priority)]

    def _named(self, own: Sized, names: set[str]) -> float:
        assert isinstance(self.rates, dict)
        unknown = next((name for name in self.rates if name not in names), None)
        if unknown is not None:
            raise InputError(f"accumulating, rates, {unknown}", "is no class", nearest(unknown, sorted(names)))
        if own.name not in self.rates:
            raise InputError(f"accumulating, rates, {own.name}", "is missing", "give every class a rate")
        return self.rates[own.name]

    _by_class: Mapping[str, float] | None = None

    def rate_of(self, class_name: str) -> float:
        """Credit per second of waiting. Raises InputError before the classes are known."""
        known = self._by_class if self._by_class is not None else self.rates
        if not isinstance(known, Mapping):
            raise InputError("policy 'accumulating'", "knows no classes yet", "put it into a scenario, or bind it")
        return float(known[class_name])

    def rank(self, request: Request, attained: float) -> float:
        """Not defined without the time: the order of two requests that wait may turn."""
        raise InputError("policy 'accumulating'", "has no rank without the time", "ask rank_at")

    def rank_at(self, request: Request, attained: float, now_s: float) -> float:
        if attained > 0:
            return -math.inf
        return -self.rate_of(request.class_name) * (now_s - request.arrival_s)
