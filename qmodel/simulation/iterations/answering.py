"""A scenario with continuous batching answered: one long run, or replications of a finite horizon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import PolicyAnswer, unstable
from qmodel.errors import InputError
from qmodel.policy import FCFS
from qmodel.simulation.iterations.drawing import balanced, check_lengths, draw, mean_tokens
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.scenario_rules import clipped, rules_of
from qmodel.statistics.intervals import BATCHES, Interval
from qmodel.statistics.warm_up import settles, warm_up
from qmodel.workload import Trace

if TYPE_CHECKING:
    from qmodel.scenario import Scenario
    from qmodel.simulation.iterations.metrics import Metrics
    from qmodel.simulation.iterations.outcome import TokenOutcome
    from qmodel.simulation.iterations.serving import Totals
    from qmodel.simulation.iterations.token_requests import TokenRequests

Progress = Callable[[int, int], None]
LONGEST_RUN = 20_000_000
SATURATED = 20_000
"""Requests that wait at once when the capacity is measured."""
NEAR = 0.03
MOSTLY = 0.5
"""A rate this close to the capacity measured may be on either side of it."""


def simulate(
    scenario: Scenario, *, requests: int, seed: int, percentiles: Sequence[float], precision: float | None = None,
    horizon_s: float | None = None, replications: int = 20, progress: Progress | None = None,
) -> PolicyAnswer:  # fmt: skip
    """The answer of `qmodel.simulation.simulate` for batching = "continuous"; the arguments are its own.

    Stability is judged against the throughput measured with a queue that never empties.
    """
    check_lengths(scenario)
    rules = rules_of(scenario)
    scenario = clipped(scenario)
    if horizon_s is not None:
        return _replicated(scenario, rules, horizon_s, replications, seed, percentiles, progress)
    load = _load(scenario, rules, seed)
    if load is not None and load >= 1.0 and not _recorded(scenario):
        return _unstable(scenario, load)
    return _steady(scenario, rules, requests, seed, percentiles, precision, progress, load)


def per_token_s(scenario: Scenario, rules: Rules) -> tuple[float, float]:
    """Seconds of service alone that a prompt token and an output token stand for: the unit of sizes."""
    prompt, output = mean_tokens(scenario)
    return rules.alone_s(prompt + 0.5 * output)


def capacity(scenario: Scenario, rules: Rules, seed: int = 1, requests: int = SATURATED) -> float:
    """Requests a second that the engine serves when the queue never empties, first come first served.

    Measured on requests that all wait at time 0, between the 20th and the 70th per cent that leave; their lengths
    stand for the laws block by block, so that chance does not blur it.
    """
    from qmodel.simulation.iterations.pools import collected

    count = max(requests, 20 * rules.batch_limit)
    if any(each.pause is not None or each.encode_s is not None for each in scenario.classes):
        drawn = _drawn(scenario, rules, count, np.random.SeedSequence([seed, 1]))
        drawn = replace(drawn, arrival_s=np.zeros(len(drawn)), patience_s=np.full(len(drawn), np.inf))
    else:
        drawn = balanced(scenario, count, np.random.SeedSequence([seed, 1]))
    outcome, _ = collected(drawn, FCFS(), replace(rules, buffer=None, servers=1), seed=seed)
    left = np.sort(outcome.done_s[outcome.served])
    if left.size < 100:
        return 0.0
    low, high = int(0.2 * left.size), int(0.7 * left.size)
    return rules.servers * (high - low) / float(left[high] - left[low]) * len(drawn) / left.size


def _load(scenario: Scenario, rules: Rules, seed: int) -> float | None:
    """Rate over capacity; None where requests that are too many leave."""
    if scenario.system.buffer is not None or any(each.patience is not None for each in scenario.classes):
        return None
    found = capacity(scenario, rules, seed)
    if not found:
        raise InputError("system, kv_capacity_tokens", "holds hardly any of the requests", "give more memory")
    return scenario.rate / found


def _drawn(
    scenario: Scenario, rules: Rules, requests: int, seed: np.random.SeedSequence, horizon_s: float | None = None
) -> TokenRequests:
    return draw(scenario, requests, seed, per_token_s(scenario, rules), horizon_s)


def _unstable(scenario: Scenario, load: float) -> PolicyAnswer:
    rates = {each.name: each.rate for each in scenario.classes}
    answer = unstable(scenario.policy.name, scenario.rate, load, rates)
    answer.method = "simulation"
    answer.notes.append("more requests come than the engine serves with a queue that never empties")
    answer.notes.append("no steady state exists; give a finite horizon to simulate it from empty")
    return answer


def _steady(
    scenario: Scenario, rules: Rules, requests: int, seed: int, percentiles: Sequence[float],
    precision: float | None, progress: Progress | None, load: float | None,
) -> PolicyAnswer:  # fmt: skip
    from qmodel.simulation.iterations.metrics import by_class, gap_metrics
    from qmodel.simulation.iterations.pools import collected

    while True:
        drawn = _drawn(scenario, rules, requests, np.random.SeedSequence(seed))
        if not len(drawn):
            raise InputError("simulation", "no request arrives", "simulate more requests")
        outcome, totals = collected(drawn, scenario.policy, rules, seed=seed)
        warmup = 0 if _recorded(scenario) else warm_up(len(drawn))
        rates = [each.rate for each in scenario.classes]
        kept = outcome.of(slice(warmup, None))
        counted = by_class(kept, scenario.classes, percentiles, rates, rules.condition is not None)
        metrics = [each for _, each in counted]
        metrics[0].update(gap_metrics(totals, percentiles, warmup))
        reached = precision is None or _reached(metrics, precision)
        if progress:
            progress(len(drawn), len(drawn) if reached else 2 * len(drawn))
        if reached or 2 * requests > LONGEST_RUN:
            break
        requests *= 2
    answer = _answer(
        scenario, rules, f"iteration-level simulation of {len(drawn):,} requests", metrics, totals, outcome
    )
    answer.utilisation = load
    answer.notes += _notes(scenario, metrics, len(drawn), _settled(scenario, outcome), load)
    answer.run = {"requests": len(drawn), "seed": seed, "warmup": warmup, "batches": BATCHES}
    answer.run["iterations"] = totals.iterations
    if precision is not None:
        answer.run["precision"] = precision
        if not reached:
            answer.notes.append(f"the precision asked for was not reached in {len(drawn):,} requests")
    return answer


def _settled(scenario: Scenario, outcome: TokenOutcome) -> bool:
    """Whether the responses of those served show an end of the warm-up; a recorded trace has none."""
    return _recorded(scenario) or settles(outcome.response_s[outcome.served])


def _replicated(
    scenario: Scenario, rules: Rules, horizon_s: float, replications: int, seed: int,
    percentiles: Sequence[float], progress: Progress | None,
) -> PolicyAnswer:  # fmt: skip
    from qmodel.simulation.iterations.metrics import by_class, gap_metrics
    from qmodel.simulation.iterations.pools import collected
    from qmodel.simulation.iterations.serving import Totals
    from qmodel.simulation.summary import across

    found: list[list[tuple[int, Metrics]]] = []
    totals, last = Totals(), None
    for number, child in enumerate(np.random.SeedSequence(seed).spawn(replications), start=1):
        drawn = _drawn(scenario, rules, 0, child, horizon_s)
        if len(drawn):
            last, spent = collected(drawn, scenario.policy, rules, seed=seed + number)
            totals.add(spent)
            span = float(last.done_s[last.served].max()) if last.served.any() else horizon_s
            rates = np.bincount(last.class_index, minlength=len(scenario.classes)) / max(span, horizon_s)
            conditional = rules.condition is not None
            counted = by_class(last, scenario.classes, percentiles, rates.tolist(), conditional)
            counted[0][1].update(gap_metrics(spent, percentiles, 0))
            found.append(counted)
        if progress:
            progress(number, replications)
    if last is None:
        raise InputError("simulation, horizon_s", f"no request arrives in {horizon_s:g} s", "make it longer")
    for each in zip(*found, strict=True):  # a share of requests that nobody shared in here, but elsewhere
        for name in set().union(*(own for _, own in each)):
            for _, own in each:
                own.setdefault(name, Interval(0.0, 0.0, 0.0))
    combined = [across(each) for each in zip(*found, strict=True)]
    title = f"iteration-level simulation of {replications} times {horizon_s:g} s from empty"
    answer = _answer(scenario, rules, title, combined, totals, None)
    load = _load(scenario, rules, seed)
    answer.utilisation, answer.stable = load, load is None or load < 1.0
    answer.notes.append(f"finite horizon: requests that arrive within {horizon_s:g} s from an empty system")
    if not answer.stable:
        answer.notes.append("the queue is unstable: these values hold for this horizon only and grow with it")
    total = sum(each[0][0] for each in found)
    answer.run = {
        "requests": total,
        "seed": seed,
        "warmup": 0,
        "replications": replications,
        "horizon_s": horizon_s,
    }
    answer.run["iterations"] = totals.iterations
    return answer


def _answer(
    scenario: Scenario, rules: Rules, title: str, metrics: Sequence[Metrics], totals: Totals,
    outcome: TokenOutcome | None,
) -> PolicyAnswer:  # fmt: skip
    from qmodel.simulation.iterations.metrics import energy
    from qmodel.simulation.iterations.scenario_rules import class_answers

    served = totals.left if outcome is None else int(outcome.served.sum())
    answer = PolicyAnswer(
        policy=scenario.policy.name or type(scenario.policy).__name__,
        rate=scenario.rate,
        method="simulation",
        result=title,
        utilisation=None,
        classes=class_answers(scenario, metrics),
        source="qmodel simulation",
    )
    answer.classes[0].metrics |= energy(totals, rules.engine, served)
    if totals.outside:
        share = 100 * totals.outside / totals.iterations
        answer.notes.append(f"{share:.2g} % of the iterations lie outside the measured tables (extrapolated)")
    if totals.preemptions:
        answer.notes.append(f"{totals.preemptions:,} preemptions, {totals.recomputed:,} tokens computed again")
    if totals.recomputed > MOSTLY * totals.computed:
        share = totals.recomputed / totals.computed
        answer.notes.append(
            f"thrashing: {share:.0%} of the work was thrown away with an evicted cache and done again"
        )
    return answer


def _recorded(scenario: Scenario) -> bool:
    """Whether arrivals are a recorded stretch, which has no steady state to warm up to."""
    return any(isinstance(each.arrivals, Trace) for each in scenario.classes)


def _reached(metrics: Sequence[Metrics], precision: float) -> bool:
    found = [each["mean_response_s"] for each in metrics]
    return all(mean is not None and not mean.short and mean.relative <= precision for mean in found)


def _notes(
    scenario: Scenario, metrics: Sequence[Metrics], count: int, settled: bool, load: float | None
) -> list[str]:
    notes = []
    short = [name for name, found in metrics[0].items() if found is not None and found.short]
    if short:
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        names = ", ".join(short[:3]) + more
        notes.append(f"the run of {count:,} requests is too short for the intervals of {names}; ask for more")
    if not settled:
        notes.append("no end of the warm-up was found; ask for more requests")
    if _recorded(scenario):
        notes.append("recorded arrivals: one pass over the trace, from empty, nothing left out")
    if load is not None and scenario.condition is not None:
        notes.append("load: the rate over the capacity while the queue condition holds, as it does in overload")
    if load is not None and abs(load - 1.0) < NEAR:
        notes.append(f"the rate is within {100 * NEAR:.0f} % of the capacity measured: stability is not certain")
    return notes
