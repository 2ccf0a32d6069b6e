"""Fleets of two kinds where each request goes where it is expected to be done first.

How a dealer tells is said in `qmodel.simulation.dealing`. Who is dealt to the one kind depends on the other's
state, so both are simulated together and the bounds are held against all requests of a class, wherever they were
served.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.planning.candidates import Setting
from qmodel.planning.confirming import Check, Confirmed
from qmodel.planning.fleets import TRIED, Fleet, one_of_each_kind
from qmodel.planning.judging import Judge, Judged
from qmodel.planning.slo import Bound, spread
from qmodel.policy import FCFS
from qmodel.simulation.dealing import dealt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.statistics.intervals import Interval
    from qmodel.workload import Distribution

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

METRIC = re.compile(r"(mean|p(?P<percent>[\d.]+))_response_s")
Pair = tuple[Setting, Setting]
Numbers = tuple[int, int]


def fleet_by_work(
    settings: Sequence[Setting], counts: Sequence[int], judge: Judge, objective: str, requests: int
) -> Fleet | None:
    """The best fleet of two kinds that is confirmed by simulation, dealt by expected work.

    Raises InputError for batching engines and other servers whose work is no sum of services, for other policies
    than FCFS, and for bounds on other things than response times.
    """
    _check(settings, judge)
    settings = one_of_each_kind(settings, max(counts), judge)
    found: list[tuple[tuple[float, float], Pair, Numbers]] = []
    for pair in combinations(settings, 2):
        best = found[0][0] if found else (np.inf, np.inf)
        found += _sufficient(pair, sorted(set(counts)), judge, objective, best)
        found.sort(key=lambda each: each[0])
    for _, pair, numbers in found[:TRIED]:
        run = Run.of(pair, numbers, requests, judge.seed + 1)
        whole = run.confirmed(judge)
        if run.is_mixed and whole.verdict in ("holds", "within noise"):
            return Fleet(run.parts(), "work", whole)
    return None


def _check(settings: Sequence[Setting], judge: Judge) -> None:
    for each in settings:
        scenario = each.scenario
        if scenario.system.batching != "none" or scenario.transforms or scenario.features - {"piecewise"}:
            fault = "is told of plain servers: elsewhere work is no sum of services that are known before"
            raise InputError("--dealing work", fault, "deal at random or by class")
        if not isinstance(scenario.policy, FCFS):
            fault = f"is simulated first come, first served, not with '{scenario.policy.name}'"
            raise InputError("--dealing work", fault, "use fcfs, or deal at random or by class")
    for bound in judge.bounds:
        if METRIC.fullmatch(bound.metric) is None:
            fault = f"{bound.metric} is not told of two kinds together"
            raise InputError("--dealing work", fault, "bound response times, or deal at random or by class")


def _sufficient(
    pair: Pair, counts: Sequence[int], judge: Judge, objective: str, best: tuple[float, float]
) -> Iterator[tuple[tuple[float, float], Pair, Numbers]]:
    """For each number of the first kind the fewest of the second, while that is better than what is known."""
    for first in counts:
        low, high = 0, len(counts)
        while low < high:  # counts[high] is enough, or no better than what is known, or beyond the end
            middle = (low + high) // 2
            numbers = first, counts[middle]
            if merit(pair, numbers, objective) >= best or _enough(pair, numbers, judge):
                high = middle
            else:
                low = middle + 1
        if low < len(counts) and merit(pair, (first, counts[low]), objective) < best:
            best = merit(pair, (first, counts[low]), objective)
            yield best, pair, (first, counts[low])


def merit(pair: Pair, numbers: Numbers, objective: str) -> tuple[float, float]:
    """Price and servers of a fleet, the objective first."""
    price = sum(setting.price * count for setting, count in zip(pair, numbers, strict=True))
    return (price, float(sum(numbers))) if objective == "price" else (float(sum(numbers)), price)


def _enough(pair: Pair, numbers: Numbers, judge: Judge) -> bool:
    """Whether the bounds are met, by a simulation of moderate length."""
    able = sum(count / setting.scenario.size.mean for setting, count in zip(pair, numbers, strict=True))
    if able <= pair[0].scenario.rate:
        return False
    judge.asked += 1
    run = Run.of(pair, numbers, judge.requests, judge.seed)
    return run.is_mixed and run.judged(judge).meets


@dataclass(frozen=True)
class Run:
    """Requests in order of arrival, the kind that each was dealt to, and its response time (s)."""

    pair: Pair
    numbers: Numbers
    index: Integers
    kind: Integers
    response_s: Floats
    horizon_s: float

    @classmethod
    def of(cls, pair: Pair, numbers: Numbers, requests: int, seed: int) -> Run:
        """About so many requests, dealt and served."""
        horizon = requests / pair[0].scenario.rate
        arrival, index = drawn(pair[0], horizon, seed)
        laws = [[each.size for each in setting.scenario.served] for setting in pair]
        service = [services(each, index, seed) for each in laws]
        means = [[law.mean for law in each] for each in laws]
        kind, response = dealt(arrival, index, service, means, numbers)
        return cls(pair, numbers, index, kind, response, horizon)

    @property
    def is_mixed(self) -> bool:
        """Whether either kind is dealt some requests."""
        return bool(self.kind.any() and not self.kind.all())

    def judged(self, judge: Judge) -> Judged:
        """How all requests together stand to the bounds."""
        found = {bound: self._value(bound).value for bound in self._bounds(judge)}
        ratios = {bound: bound.ratio(value) for bound, value in found.items()}
        setting = self.pair[0]
        return Judged(setting, sum(self.numbers), setting.scenario.rate, ratios, dict(found), None, ("simulation",))

    def confirmed(self, judge: Judge) -> Confirmed:
        """The same with intervals."""
        checks = []
        for bound in self._bounds(judge):
            found = self._value(bound)
            checks.append(Check(bound, found.value, found.low, found.high))
        return Confirmed(self.judged(judge), tuple(checks), self.index.size)

    def parts(self) -> tuple[Confirmed, Confirmed]:
        """Either kind with the rate that it was dealt; bounds are those of both together."""
        first, second = (
            Confirmed(Judged(setting, number, float((self.kind == k).sum()) / self.horizon_s))
            for k, (setting, number) in enumerate(zip(self.pair, self.numbers, strict=True))
        )
        return first, second

    def _bounds(self, judge: Judge) -> list[Bound]:
        return spread(judge.bounds, [each.name for each in self.pair[0].scenario.classes])

    def _value(self, bound: Bound) -> Interval:
        from qmodel.statistics.intervals import batch_means, batch_quantile

        names = [each.name for each in self.pair[0].scenario.classes]
        values = self.response_s[self.index == names.index(bound.class_name)]
        percent = bound.percent()
        return batch_means(values) if percent is None else batch_quantile(values, percent / 100.0)


def drawn(setting: Setting, horizon_s: float, seed: int) -> tuple[Floats, Integers]:
    """Arrivals of all classes in order, and the class of each."""
    classes = setting.scenario.classes
    times = [each.arrivals.times(_stream(seed, each.name), horizon_s) for each in classes]
    index = np.repeat(np.arange(len(classes)), [each.size for each in times])
    arrival = np.concatenate(times)
    order = np.argsort(arrival, kind="stable")
    return arrival[order], index[order]


def _stream(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def services(laws: Sequence[Distribution], index: Integers, seed: int) -> Floats:
    """Service times (s) of these requests on one kind; those on another come of the same random numbers."""
    found = np.empty(index.size)
    for number, law in enumerate(laws):
        mine = index == number
        found[mine] = law.sample(np.random.default_rng([seed, number]), int(mine.sum()))
    return found
