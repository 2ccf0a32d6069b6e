"""Fleets of two kinds that are dealt whole classes: the short ones to the small kind, say.

Each kind then serves a scenario of its own, with the classes it is dealt and their bounds, and no other; what
theory says of it is as exact as it is of the scenario. For each way of dealing the fewest servers of each kind are
found by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice

from qmodel.errors import InputError
from qmodel.planning.candidates import Setting
from qmodel.planning.confirming import confirm
from qmodel.planning.fleets import TRIED, Fleet, one_of_each_kind
from qmodel.planning.judging import Judge, Judged
from qmodel.planning.search import fewest

ALL_SPLITS = 4
"""Classes of which every split is tried; of more, those at a mean size, shorter here and longer there."""


def fleet_by_class(
    settings: Sequence[Setting], counts: Sequence[int], judge: Judge, objective: str, requests: int
) -> Fleet | None:
    """The best fleet of two kinds that is confirmed, each with classes of its own.

    Raises InputError for a scenario of one class.
    """
    if len(settings[0].scenario.classes) < 2:
        raise InputError("--dealing class", "the scenario has one class", "deal at random or by work")
    found: list[tuple[Judged, Judged]] = []
    for first, second in combinations(one_of_each_kind(settings, max(counts), judge), 2):
        found += _pairs(first, second, counts, judge)
    found.sort(key=lambda pair: _merit(pair, objective))
    for pair in islice(found, TRIED):
        parts = [confirm(one, with_bounds_of(judge, one.setting), requests) for one in pair]
        if all(part.verdict in ("holds", "within noise") for part in parts):
            return Fleet((parts[0], parts[1]), "class")
    return None


def _merit(pair: tuple[Judged, Judged], objective: str) -> tuple[float, float]:
    price, servers = sum(one.price for one in pair), float(sum(one.servers for one in pair))
    return (price, servers) if objective == "price" else (servers, price)


def _pairs(first: Setting, second: Setting, counts: Sequence[int], judge: Judge) -> Iterator[tuple[Judged, Judged]]:
    """Of each split that both kinds can serve, the fewest servers of either."""
    for names in splits(first):
        halves = []
        for setting, chosen in ((first, True), (second, False)):
            half = only(setting, names, chosen)
            mine = with_bounds_of(judge, half)
            one = fewest(half, counts, mine)
            judge.asked += mine.asked
            if not one.meets:
                break
            halves.append(one)
        if len(halves) == 2:
            yield halves[0], halves[1]


def splits(setting: Setting) -> Iterator[frozenset[str]]:
    """Names of the classes that the first kind is dealt.

    >>> from qmodel import Exponential, Poisson, RequestClass, Scenario
    >>> sizes = {"a": 3.0, "b": 1.0, "c": 2.0}
    >>> made = Scenario([RequestClass(name, Poisson(0.1), Exponential(mean=m)) for name, m in sizes.items()])
    >>> [sorted(names) for names in splits(Setting(made))]
    [['b'], ['c'], ['a'], ['b', 'c'], ['a', 'b'], ['a', 'c']]
    """
    sized = {each.name: each.size.mean for each in setting.scenario.served}
    names = sorted(sized, key=lambda name: sized[name])
    if len(names) <= ALL_SPLITS:
        for count in range(1, len(names)):
            yield from map(frozenset, combinations(names, count))
        return
    for cut in range(1, len(names)):
        yield frozenset(names[:cut])
        yield frozenset(names[cut:])


def only(setting: Setting, names: frozenset[str], chosen: bool) -> Setting:
    """The setting with the classes of these names alone, or with the others."""
    kept = tuple(each for each in setting.scenario.classes if (each.name in names) == chosen)
    return replace(setting, scenario=replace(setting.scenario, classes=kept))


def with_bounds_of(judge: Judge, setting: Setting) -> Judge:
    """A judge of the same mind, for the bounds of the classes that are there."""
    names = {each.name for each in setting.scenario.classes}
    bounds = tuple(bound for bound in judge.bounds if bound.class_name in names or not bound.class_name)
    return Judge(bounds, judge.seed, judge.requests, None, judge.exactly)
