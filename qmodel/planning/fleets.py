"""Fleets of two kinds of servers: arrivals are dealt at random between them, and each keeps the bounds by itself.

A random share of a Poisson stream is Poisson, so each kind is a system of its own at its share of the rate, and is
judged as such. If each meets a limit on a mean, a percentile or an attainment, so do all requests together. With
R_k(n) the largest rate that n servers of kind k carry within the bounds, a fleet suffices if

    sum_k R_k(n_k) >= lambda,

and of those the one of least price is taken. The share is then that at which both kinds use up as much of their
tightest bound: no other leaves more room. Dealing by class and by expected work: `qmodel.planning.mixing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Literal

from qmodel.errors import InputError
from qmodel.planning.candidates import Setting
from qmodel.planning.confirming import Confirmed, confirm
from qmodel.planning.judging import Judge, Judged
from qmodel.planning.search import largest_rate

Dealing = Literal["random", "class", "work"]
HALVINGS = 12
"""Of the share of the rate between two kinds."""
TRIED = 5
"""Fleets that are held against a long simulation, at most."""


@dataclass(frozen=True)
class Fleet:
    """Servers of two kinds, each confirmed with what it is dealt: at random, by class or by expected work.

    Dealt by expected work they are confirmed together (`whole`).
    """

    parts: tuple[Confirmed, Confirmed]
    dealing: Dealing = "random"
    whole: Confirmed | None = None

    def merit(self, objective: str) -> tuple[float, float]:
        """What fleets are compared by, lowest first."""
        return (self.price, self.servers) if objective == "price" else (self.servers, self.price)

    @property
    def price(self) -> float:
        """Of all servers."""
        return sum(part.judged.price for part in self.parts)

    @property
    def servers(self) -> int:
        """Of both kinds."""
        return sum(part.judged.servers for part in self.parts)

    @property
    def share(self) -> float:
        """Of the arrivals that go to the first kind."""
        first, second = (part.judged.rate for part in self.parts)
        return first / (first + second)


@dataclass
class Carried:
    """R_k(n): the largest rate that so many servers of a setting carry within the bounds; 0 where there is none."""

    judge: Judge
    known: dict[tuple[int, int], float] = field(default_factory=dict)

    def __call__(self, setting: Setting, servers: int) -> float:
        key = id(setting), servers
        if key not in self.known:
            self.known[key] = self._worked_out(setting, servers)
        return self.known[key]

    def _worked_out(self, setting: Setting, servers: int) -> float:
        if setting.batched and servers > 1:  # engines with queues of their own
            return servers * self(setting, 1)
        best = largest_rate(setting, servers, self.judge)
        return 0.0 if best is None else best.rate


def best_fleet(
    settings: Sequence[Setting], counts: Sequence[int], judge: Judge, objective: str, requests: int
) -> Fleet | None:
    """The cheapest (or with the objective "servers", the smallest) fleet of two kinds that is confirmed.

    `settings` name their kind in `changed`; of each kind the one that carries most is taken. None where no two
    kinds together meet the bounds. Raises InputError for another objective, fewer than two kinds, and a trace.
    """
    check_mix(settings, judge, objective)
    carried = Carried(judge)
    best = _best_of_kinds(settings, max(counts), carried)
    candidates = _sufficient(best, sorted(set(counts)), carried, objective)
    for first, second, numbers in islice(candidates, TRIED):
        halves = balanced((first, second), numbers, judge, carried)
        parts = [confirm(half, judge, requests) for half in halves if half.meets]
        if len(parts) == 2 and all(part.verdict in ("holds", "within noise") for part in parts):
            return Fleet((parts[0], parts[1]))
    return None


def check_mix(settings: Sequence[Setting], judge: Judge, objective: str) -> None:
    """Raise InputError for what no fleet of two kinds is planned for."""
    if objective not in ("servers", "price"):
        raise InputError("--mix", f"goes for servers or price, not {objective}", "give --servers, e.g. 1..16")
    if len({setting.changed.get("kind") for setting in settings}) < 2:
        raise InputError("--mix", "needs two kinds of servers", "give --kind twice")
    if judge.recorded is not None:
        raise InputError("--mix", "deals out arrivals of a law, not a trace", "leave one of them out")


def one_of_each_kind(settings: Sequence[Setting], servers: int, judge: Judge) -> Sequence[Setting]:
    """Of each kind the setting that so many servers carry most with."""
    kinds = {setting.changed["kind"] for setting in settings}
    return settings if len(kinds) == len(settings) else _best_of_kinds(settings, servers, Carried(judge))


def _best_of_kinds(settings: Sequence[Setting], servers: int, carried: Carried) -> list[Setting]:
    """Of each kind the setting that carries most."""
    kinds = dict.fromkeys(setting.changed["kind"] for setting in settings)
    return [
        max((each for each in settings if each.changed["kind"] == kind), key=lambda each: carried(each, servers))
        for kind in kinds
    ]


def _sufficient(
    settings: Sequence[Setting], counts: Sequence[int], carried: Carried, objective: str
) -> Iterator[tuple[Setting, Setting, tuple[int, int]]]:
    """Pairs of kinds with numbers of servers that carry the rate, best first; none has servers to spare."""
    found: list[tuple[tuple[float, float], Setting, Setting, tuple[int, int]]] = []
    for first, second in combinations(settings, 2):
        rate = first.scenario.rate
        for a in counts:
            rest = rate - carried(first, a)
            b = next((count for count in counts if carried(second, count) >= rest), None)
            if b is not None:
                price = a * first.price + b * second.price
                by = (price, float(a + b)) if objective == "price" else (float(a + b), price)
                found.append((by, first, second, (a, b)))
    for _, first, second, numbers in sorted(found, key=lambda each: each[0]):
        yield first, second, numbers


def balanced(
    settings: tuple[Setting, Setting], numbers: tuple[int, int], judge: Judge, carried: Carried
) -> tuple[Judged, Judged]:
    """Both kinds at the share of the rate at which they use up as much of their bounds."""
    rate = settings[0].scenario.rate
    largest = [carried(setting, count) for setting, count in zip(settings, numbers, strict=True)]
    low, high = max(0.0, rate - largest[1]), min(rate, largest[0])
    best = _halves(settings, numbers, judge, rate, rate * largest[0] / sum(largest))
    for _ in range(HALVINGS):
        tried = _halves(settings, numbers, judge, rate, 0.5 * (low + high))
        if max(half.worst for half in tried) < max(half.worst for half in best):
            best = tried
        if tried[0].worst > tried[1].worst:
            high = 0.5 * (low + high)
        else:
            low = 0.5 * (low + high)
    return best


def _halves(
    settings: tuple[Setting, Setting], numbers: tuple[int, int], judge: Judge, rate: float, first: float
) -> tuple[Judged, Judged]:
    return judge(settings[0], numbers[0], first), judge(settings[1], numbers[1], rate - first)
