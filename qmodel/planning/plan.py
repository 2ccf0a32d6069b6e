"""A plan: the best candidate that meets the bounds, confirmed by simulation, and how close the next one was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qmodel.errors import InputError
from qmodel.planning.candidates import Setting
from qmodel.planning.confirming import Confirmed, confirm
from qmodel.planning.fleets import Fleet
from qmodel.planning.judging import Judge, Judged
from qmodel.planning.kinds import Kind, settings_of_kinds
from qmodel.planning.mixing import check_dealing, mixed_fleet
from qmodel.planning.recorded import Recorded, with_recorded
from qmodel.planning.search import Found, Objective, check_objective, largest_rate, reduced, search
from qmodel.planning.slo import Bound, bounds_of
from qmodel.policy import Policy, make_policy
from qmodel.scenario import Scenario

CONFIRMED = 200_000
"""Requests of a confirming simulation."""
TRIED = 5
"""Candidates that may fail their confirmation before the search gives up."""
LOWER = 0.97
"""Step down in rate when a largest rate fails its confirmation."""


@dataclass(frozen=True)
class Plan:
    """What was found: the winner and the runner-up, each confirmed; of each setting the best; how many were asked.

    `winner` is None when nothing meets the bounds; `nearest` is then what misses them by least. `largest_rates` are
    those at which winner and runner-up still meet the bounds, with the servers they have. `fleet` is the best of
    two kinds of servers, where such fleets were asked for (`mixed`).
    """

    objective: Objective
    bounds: tuple[Bound, ...]
    found: tuple[Found, ...]
    winner: Confirmed | None
    runner_up: Confirmed | None
    nearest: Judged | None
    candidates: int
    answered: int
    largest_rates: tuple[float | None, float | None] = (None, None)
    failed: tuple[Confirmed, ...] = ()
    fleet: Fleet | None = None
    mixed: bool = False

    @property
    def met(self) -> bool:
        """Whether some candidate, or a fleet of two kinds, meets every bound."""
        return self.winner is not None or self.fleet is not None


def plan(
    question: Scenario | str | Path,
    *,
    slos: Sequence[str] = (),
    policies: Sequence[Policy | str] = (),
    servers: Sequence[int] = (),
    max_batch: Sequence[int] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    settings: Mapping[str, str] | None = None,
    kinds: Sequence[Kind] = (),
    mix: bool = False,
    dealing: str = "random",
    objective: Objective | None = None,
    rate: float | None = None,
    trace: Recorded | None = None,
    requests: int = CONFIRMED,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Search for the candidate that meets the SLOs best, and confirm it by simulation.

    `slos` are spelled `[CLASS.]METRIC=VALUE` (a limit without a class holds for each; `quality` is a least value);
    without them the classes' own hold. `objective`: fewest "servers", least "price", largest "rate", best "quality"
    or least "energy"; by default servers where several numbers are given, else the rate. `max_batch` is short for
    `vary` of `system.max_batch`. `kinds` of servers are chosen among, one kind for all servers; where their prices
    differ, price takes the place of servers; with `mix` the best fleet of two kinds stands beside, to which
    arrivals are dealt at "random", by "class", by expected "work", or whichever is "best". With `trace`, its
    requests come in place of the scenario's arrivals.

    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=1.6), service=Exponential(mean=1.0))
    >>> found = plan(Scenario([chat]), slos=["response_s=2.9"], servers=range(1, 5), requests=50_000)
    >>> found.winner.judged.servers, round(found.winner.judged.values[Bound("mean_response_s", 2.9, "chat")], 4)
    (2, 2.7778)
    """
    objective = objective or _usual_objective(servers, kinds)
    check_objective(objective)
    check_dealing(dealing)
    counts = _counts(servers)
    varied = dict(vary or {}) | ({"system.max_batch": list(max_batch)} if max_batch else {})
    chosen = [make_policy(policy) if isinstance(policy, str) else policy for policy in policies]
    source = question if isinstance(question, Scenario) else Path(question)
    candidates = settings_of_kinds(source, varied, chosen, settings or {}, kinds)
    given_servers = candidates[0].scenario.system.servers
    candidates = [_asked(each, rate, trace) for each in candidates]
    bounds = bounds_of(candidates[0].scenario, slos)
    judge = Judge(bounds, seed=seed, recorded=trace)
    found = search(candidates, counts or [given_servers], judge, objective, progress)
    _refuse_hopeless(found)
    total = len(candidates) * len(counts or [1])
    concluded = _concluded(found, judge, objective, requests, total)
    if not mix:
        return concluded
    fleet = mixed_fleet(candidates, counts or [given_servers], judge, objective, requests, dealing)
    return replace(concluded, fleet=fleet, mixed=True, answered=judge.asked)


def _usual_objective(servers: Sequence[int], kinds: Sequence[Kind]) -> Objective:
    if len(set(servers)) <= 1:
        return "rate"
    return "price" if len({kind.price for kind in kinds}) > 1 else "servers"


def _counts(servers: Sequence[int]) -> list[int]:
    if any(count < 1 for count in servers):
        raise InputError("--servers", f"{min(servers)} is below 1", "e.g. --servers 1..16")
    return sorted(set(servers))


def _asked(setting: Setting, rate: float | None, trace: Recorded | None) -> Setting:
    """The setting with the traffic that was asked for."""
    scenario = setting.scenario if trace is None else with_recorded(setting.scenario, trace)
    return replace(setting, scenario=scenario if rate is None else scenario.at_rate(rate))


def _refuse_hopeless(found: Sequence[Found]) -> None:
    """Raise InputError where no candidate could be answered at all."""
    faults = [each.judged.fault for each in found]
    if all(fault not in ("", "unstable") for fault in faults):
        raise InputError("qmodel plan", "no candidate can be answered", faults[0])


def _concluded(found: Sequence[Found], judge: Judge, objective: Objective, requests: int, total: int) -> Plan:
    """Winner and runner-up, each confirmed; who fails is set aside."""
    passed: list[Confirmed] = []
    failed: list[Confirmed] = []
    for each in found:
        if not each.meets or len(passed) == 2 or len(failed) == TRIED:
            break
        one = _confirmed(each, judge, objective, requests)
        (failed if one.verdict == "missed" else passed).append(one)
    passed.sort(key=lambda one: -one.judged.rate if objective == "rate" else 0.0)
    winner, second = (*passed, None, None)[:2]
    return Plan(
        objective=objective,
        bounds=tuple(judge.bounds),
        found=tuple(found),
        winner=winner,
        runner_up=second,
        nearest=None if winner else _nearest(found, failed),
        candidates=total,
        answered=judge.asked,
        largest_rates=(_largest(winner, judge, objective), _largest(second, judge, objective)),
        failed=tuple(failed),
    )


def _confirmed(found: Found, judge: Judge, objective: Objective, requests: int) -> Confirmed:
    """Confirm it; a largest rate is lowered a little before it is given up."""
    one = confirm(found.judged, judge, requests)
    for _ in range(3):
        if objective != "rate" or one.verdict != "missed":
            break
        found = reduced(found, judge, LOWER)
        one = confirm(found.judged, judge, requests)
    return one


def _largest(one: Confirmed | None, judge: Judge, objective: Objective) -> float | None:
    if one is None:
        return None
    if objective == "rate":
        return one.judged.rate
    best = largest_rate(one.judged.setting, one.judged.servers, judge, one.judged)
    return None if best is None else best.rate


def _nearest(found: Sequence[Found], failed: Sequence[Confirmed]) -> Judged | None:
    """What misses by least; what failed its confirmation alone met them in the search."""
    if failed:
        return failed[0].judged
    with_answer = [each.judged for each in found if each.judged.ratios]
    return min(with_answer, key=lambda one: one.worst, default=None)
