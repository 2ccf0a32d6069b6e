"""The search: of each setting the fewest servers, or the largest rate, that meet the bounds; then the best of them.

Latencies fall as servers are added and rise with the rate, so both are found by halving. Of the largest rates only
those of settings that may be among the two best are worked out; the others are known to be lower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from qmodel.errors import InputError, nearest
from qmodel.planning.candidates import Setting
from qmodel.planning.judging import Judge, Judged, theory_load

Objective = Literal["servers", "price", "rate", "quality", "energy"]
PRECISION = 0.01
"""Relative precision of a largest rate."""
DOUBLINGS = 30
LEAST = 1e-3
"""Share of the rate that fills the servers: a setting that misses a bound there is held to miss it at any rate."""
ALIKE = 0.02
"""Relative difference in energy that decides nothing where energy comes last."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Found:
    """The best of one setting, and below which rate its largest is known to lie (None: it was worked out)."""

    judged: Judged
    below_rate: float | None = None

    @property
    def meets(self) -> bool:
        """Whether it meets every bound."""
        return self.judged.meets and self.below_rate is None


def check_objective(objective: str) -> None:
    """Raise InputError for an unknown objective."""
    if objective not in get_args(Objective):
        raise InputError("--objective", f"'{objective}' is unknown", nearest(objective, list(get_args(Objective))))


def search(
    settings: Sequence[Setting], servers: Sequence[int], judge: Judge, objective: Objective,
    progress: Progress | None = None,
) -> list[Found]:  # fmt: skip
    """What was found of each setting, best first; those that meet nothing last, the nearest miss first."""
    if objective == "rate":
        return _by_rate(settings, max(servers), judge, progress)
    found = []
    for done, setting in enumerate(settings, start=1):
        found.append(Found(fewest(setting, servers, judge)))
        if progress:
            progress(done, len(settings))
    return sorted(found, key=lambda each: merit(each.judged, objective))


def merit(one: Judged, objective: Objective) -> tuple[float, ...]:
    """What is sorted by, lowest first: those that meet the bounds by objective, the others by what they miss."""
    if not one.meets or one.cost is None:
        return (1.0, one.worst, float(one.servers))
    energy = one.cost.relative_energy if one.cost.energy_j is None else one.cost.energy_j
    alike = round(math.log(energy) / ALIKE) if energy > 0 else 0
    by = {
        "servers": (one.servers, -one.cost.quality, alike),
        "price": (one.price, one.servers, -one.cost.quality, alike),
        "quality": (-one.cost.quality, one.servers, alike),
        "energy": (energy, one.servers, -one.cost.quality),
        "rate": (-one.rate, -one.cost.quality, alike),
    }[objective]
    return (0.0, *(float(value) for value in by), one.worst)


def fewest(setting: Setting, servers: Sequence[int], judge: Judge) -> Judged:
    """The judgement with the fewest of these servers that meet the bounds; with the most where none do."""
    counts = sorted(set(servers))
    low, high = 0, len(counts) - 1
    best = judge(setting, counts[high])
    if not best.meets:
        return best
    while low < high:
        middle = (low + high) // 2
        tried = judge(setting, counts[middle])
        if tried.meets:
            best, high = tried, middle
        else:
            low = middle + 1
    return best


def largest_rate(
    setting: Setting, servers: int, judge: Judge, met: Judged | None = None, precision: float = PRECISION
) -> Judged | None:
    """The judgement at the largest rate that meets the bounds, to a relative precision; None where no rate does.

    `met`: a judgement that meets them already, from whose rate the search begins. That matters with a queue
    condition, under which a higher rate can do better than a lower one.
    """
    low, high, best = _bracket(setting, servers, judge, met)
    if best is None:
        best = judge(setting, servers, LEAST * high)
        if not best.meets:
            return None
        low = best.rate
    while high - low > precision * high:
        middle = 0.5 * (low + high)
        tried = judge(setting, servers, middle)
        if tried.meets:
            low, best = middle, tried
        else:
            high = middle
    return best


def _bracket(
    setting: Setting, servers: int, judge: Judge, met: Judged | None
) -> tuple[float, float, Judged | None]:
    """A rate that meets the bounds (0: none known) and a higher one that misses them, in steps that double."""
    low, best = (0.0, None) if met is None else (met.rate, met)
    high = capacity_guess(setting, servers) if met is None else met.rate * (1.0 + 2.0 * PRECISION)
    step = 1.0 if met is None else 4.0 * PRECISION
    for _ in range(DOUBLINGS):
        tried = judge(setting, servers, high)
        if not tried.meets:
            break
        low, high, best, step = high, high * (1.0 + step), tried, min(1.0, 2.0 * step)
    return low, high, best


def capacity_guess(setting: Setting, servers: int) -> float:
    """A rate at about which the servers are full: where the search for the largest one begins."""
    scenario = setting.scenario
    if not setting.batched:
        load = setting.on(servers).utilisation
        return 0.999 * scenario.rate / load if load > 0 and math.isfinite(load) else scenario.rate
    engine = theory_load(scenario)
    return 0.999 * servers * scenario.rate / engine if engine else scenario.rate * servers


def _by_rate(settings: Sequence[Setting], servers: int, judge: Judge, progress: Progress | None) -> list[Found]:
    """Settings by largest rate; those that cannot beat the second best so far are only shown to be lower."""
    order = sorted(settings, key=lambda each: -capacity_guess(each, servers))
    rates: list[float] = []
    found = []
    for done, setting in enumerate(order, start=1):
        found.append(_beats(setting, servers, judge, sorted(rates)[-2] if len(rates) > 1 else 0.0))
        if found[-1].meets:
            rates.append(found[-1].judged.rate)
        if progress:
            progress(done, len(order))
    return sorted(found, key=lambda each: (not each.meets, each.below_rate is None, merit(each.judged, "rate")))


def _beats(setting: Setting, servers: int, judge: Judge, second: float) -> Found:
    tried = None
    if second > 0:
        rate = second * (1.0 + PRECISION)
        tried = judge(setting, servers, rate)
        if not tried.meets:
            return Found(tried, rate)
    best = largest_rate(setting, servers, judge, tried)
    return Found(judge(setting, servers) if best is None else best)


def reduced(found: Found, judge: Judge, share: float) -> Found:
    """The same setting at a slightly lower rate."""
    one = found.judged
    return replace(found, judged=judge(one.setting, one.servers, one.rate * share))
