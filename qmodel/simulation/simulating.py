"""A scenario answered by discrete events: one long run without its warm-up, or replications of a finite horizon."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import PolicyAnswer, unstable
from qmodel.errors import InputError
from qmodel.simulation.replaying import to_stderr
from qmodel.simulation.stability import is_stable, long_run_load
from qmodel.statistics.intervals import BATCHES

if TYPE_CHECKING:
    from qmodel.scenario import Scenario
    from qmodel.simulation.summary import Metrics

SOURCE = "qmodel simulation"
LONGEST_RUN = 50_000_000
REPLICATIONS = 20
Progress = Callable[[int, int], None]


def simulate(
    scenario: Scenario,
    *,
    requests: int = 200_000,
    seed: int = 1,
    percentiles: Sequence[float] = (50.0, 95.0, 99.0),
    precision: float | None = None,
    horizon_s: float | None = None,
    replications: int = REPLICATIONS,
    present: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = to_stderr,
) -> PolicyAnswer:
    """Mean, percentiles, slowdown and attainment of every class, each with its 95 % interval.

    One run of about `requests` requests (exactly, with one class); its first twentieth, the warm-up, is left out
    (a note says where MSER-5 finds no end of it), and intervals are by batch means. With `precision` the run is
    doubled until the relative half width of every class's mean response is at most that. Equal seeds give equal
    requests under every policy (common random numbers).

    With `horizon_s`, the requests that arrive within it, from an empty system, are served to the end, in
    independent `replications`; nothing is left out, and no steady state is supposed. `present` gives how many
    requests of which class are there at its start, their services not begun; they count too. A horizon is the only
    way for a queue that is unstable; without it such a queue is answered with `stable` False and no means.

    `progress` is called with (requests or replications done, in all); `tell` with a line when the simulator must be
    compiled first. Raises InputError for what cannot be simulated.

    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> one = RequestClass("a", arrivals=Poisson(rate=0.5), service=Exponential(mean=1.0))
    >>> answer = simulate(Scenario(classes=[one]), requests=100_000, tell=None)
    >>> low, high = answer["all"].ci95["mean_response_s"]
    >>> low < 2.0 < high, answer.method
    (True, 'simulation')
    """
    from qmodel.simulation.kernels.compiled import announced
    from qmodel.simulation.running import refuse_unknown

    _check(requests, percentiles, precision, horizon_s, replications)
    if present and (horizon_s is None or scenario.system.batching == "continuous"):
        fault = "needs a horizon, and requests that are served whole"
        raise InputError("simulation, present", fault, "give horizon_s, or leave it out")
    if scenario.system.batching == "continuous":
        from qmodel.simulation.iterations.answering import simulate as iterate

        with announced(tell):
            return iterate(
                scenario, requests=requests, seed=seed, percentiles=percentiles, precision=precision,
                horizon_s=horizon_s, replications=replications, progress=progress,
            )  # fmt: skip
    refuse_unknown(scenario)
    with announced(tell):
        if horizon_s is not None:
            return _replicated(scenario, horizon_s, replications, seed, percentiles, progress, present or {})
        if not is_stable(scenario):
            return _unstable(scenario)
        return _steady(scenario, requests, seed, percentiles, precision, progress)


def _check(
    requests: int,
    percentiles: Sequence[float],
    precision: float | None,
    horizon_s: float | None,
    replications: int,
) -> None:
    if requests < 1:
        raise InputError("simulation, requests", f"{requests} is not a number of requests", "give at least 1")
    if any(not 0 < percent < 100 for percent in percentiles):
        raise InputError("simulation, percentiles", "must lie between 0 and 100", "e.g. 50,95,99")
    for name, value in (("precision", precision), ("horizon_s", horizon_s)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"simulation, {name}", f"{value} is not a positive number", "give a value above 0")
    if replications < 1:
        raise InputError("simulation, replications", f"{replications} is below 1", "give at least 2")


def _unstable(scenario: Scenario) -> PolicyAnswer:
    rates = {served.name: served.rate for served in scenario.served}
    answer = unstable(scenario.policy.name, scenario.rate, long_run_load(scenario), rates)
    answer.notes.append("no steady state exists; give a finite horizon to simulate it from empty")
    return answer


def _steady(
    scenario: Scenario,
    requests: int,
    seed: int,
    percentiles: Sequence[float],
    precision: float | None,
    progress: Progress | None,
) -> PolicyAnswer:
    from qmodel.simulation.running import run_once
    from qmodel.simulation.summary import by_class, is_settled
    from qmodel.statistics.warm_up import warm_up

    while True:
        run = run_once(scenario, requests, np.random.SeedSequence(seed))
        if run is None:
            raise InputError("simulation", "no request arrives", "simulate more requests")
        part, notes, busy = run.series, run.notes, run.busy
        whole = _recorded(scenario) or "piecewise" in scenario.features
        warmup = 0 if whole else warm_up(len(part))
        counted = by_class(part.of(slice(warmup, None)), len(scenario.served), percentiles)
        metrics = [each for _, each in counted]
        reached = precision is None or _reached(metrics, precision)
        if progress:
            progress(len(part), len(part) if reached else 2 * len(part))
        if reached or 2 * requests > LONGEST_RUN:
            break
        requests *= 2
    absent = _drop_infinite(scenario, metrics)
    answer = _answer(scenario, f"discrete-event simulation of {len(part):,} requests", metrics, busy)
    answer.notes = [*notes, *_notes(scenario, metrics, len(part), whole or is_settled(part)), *absent]
    answer.run = {"requests": len(part), "seed": seed, "warmup": warmup, "batches": BATCHES}
    if precision is not None:
        answer.run["precision"] = precision
        if not reached:
            answer.notes.append(f"the precision asked for was not reached in {len(part):,} requests")
    return answer


def _replicated(
    scenario: Scenario,
    horizon_s: float,
    replications: int,
    seed: int,
    percentiles: Sequence[float],
    progress: Progress | None,
    present: Mapping[str, int],
) -> PolicyAnswer:
    from qmodel.simulation.running import run_once
    from qmodel.simulation.summary import across, by_class

    found: list[list[tuple[int, Metrics]]] = []
    notes: list[str] = []
    busy = 0.0
    for number, child in enumerate(np.random.SeedSequence(seed).spawn(replications), start=1):
        run = run_once(scenario, 0, child, horizon_s, present)
        if run is not None:
            notes = run.notes
            found.append(by_class(run.series, len(scenario.served), percentiles))
            busy += run.busy / replications
        if progress:
            progress(number, replications)
    if not found:
        raise InputError("simulation, horizon_s", f"no request arrives in {horizon_s:g} s", "make it longer")
    metrics = [across(each) for each in zip(*found, strict=True)]
    before = "from empty" if not any(present.values()) else f"with {sum(present.values())} present at first"
    title = f"discrete-event simulation of {replications} times {horizon_s:g} s {before}"
    answer = _answer(scenario, title, metrics, busy)
    answer.stable = is_stable(scenario)
    answer.notes = [*notes, f"finite horizon: requests that arrive within {horizon_s:g} s, {before}"]
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
    return answer


def _answer(scenario: Scenario, result: str, metrics: Sequence[Metrics], busy: float) -> PolicyAnswer:
    from qmodel.simulation.summary import class_answers

    return PolicyAnswer(
        policy=scenario.policy.name or type(scenario.policy).__name__,
        rate=scenario.rate,
        method="simulation",
        result=result,
        utilisation=scenario.utilisation if _load_is_given(scenario) else busy,
        classes=class_answers(scenario, metrics),
        source=SOURCE,
    )


def _load_is_given(scenario: Scenario) -> bool:
    """Whether the load follows from rates and services alone; else it is measured in the run."""
    measured = scenario.condition is not None or scenario.system.batching == "dynamic"
    return not measured and "closed" not in scenario.features


def _recorded(scenario: Scenario) -> bool:
    """Whether arrivals are a recorded stretch, which has no steady state to warm up to."""
    from qmodel.workload import Trace

    return any(isinstance(served.arrivals, Trace) for served in scenario.served)


def _reached(metrics: Sequence[Metrics], precision: float) -> bool:
    found = [each["mean_response_s"] for each in metrics]
    return all(mean is not None and not mean.short and mean.relative <= precision for mean in found)


def _notes(scenario: Scenario, metrics: Sequence[Metrics], count: int, settled: bool) -> list[str]:
    from qmodel.simulation.summary import too_short

    notes = []
    short = too_short(scenario, metrics)
    if short:
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        names = ", ".join(short[:3]) + more
        notes.append(f"the run of {count:,} requests is too short for the intervals of {names}; ask for more")
    if not settled:
        notes.append("no end of the warm-up was found; ask for more requests")
    if "piecewise" in scenario.features:
        notes.append("the arrival rate changes with the time: averages over the run, from empty")
    if _recorded(scenario):
        notes.append("recorded arrivals: one pass over the trace, from empty, nothing left out")
    return notes


def _drop_infinite(scenario: Scenario, metrics: Sequence[Metrics]) -> list[str]:
    """Take out means that are infinite, and say which; notes on those that a run tells little of."""
    from qmodel.simulation.divergence import infinite_variance, infinite_waits

    names = [served.name for served in scenario.served]
    waits = infinite_waits(scenario)
    for each, infinite in zip(metrics, [any(waits), *waits], strict=True):
        if infinite:
            for name in ("mean_wait_s", "mean_response_s", "std_response_s", "mean_slowdown"):
                each[name] = None
    notes = []
    endless = [name for name, infinite in zip(names, waits, strict=True) if infinite]
    if endless:
        notes.append(f"mean response is infinite (service has no finite second moment): {', '.join(endless)}")
    elif heavy := infinite_variance(scenario):
        notes.append(f"service has no finite second moment, so that means converge slowly: {', '.join(heavy)}")
    stretched = [n for n, each in zip(names, metrics[1:], strict=True) if each["mean_slowdown"] is None]
    if stretched:
        notes.append(f"mean slowdown is infinite, or too heavy-tailed to tell: {', '.join(stretched)}")
    return notes
