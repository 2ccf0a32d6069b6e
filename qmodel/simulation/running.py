"""One run of a scenario: draw its requests, serve them on the loop that can, and put the series together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.policy import NonPreemptivePriority
from qmodel.policy.accumulating import AccumulatingPriority
from qmodel.policy.gittins import Gittins
from qmodel.workload import Closed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmodel.scenario import Scenario
    from qmodel.simulation.network.serving import Fates
    from qmodel.simulation.requests import Requests
    from qmodel.simulation.summary import Series

GENERAL = frozenset(
    {
        "buffer", "routing", "migration", "setup", "vacation", "environment", "preemption-cost", "grain",
        "patience", "pause", "stations", "closed",
    }
)  # fmt: skip
"""Features that only the general event loop knows."""
BATCHES = frozenset({"static-batching", "bins"})
HANDLED = GENERAL | BATCHES | {"piecewise", "joint-lengths"}
"""Features of a scenario (`Scenario.features`) that the simulator knows what to do with."""
IN_BATCHES = BATCHES | {"piecewise", "buffer", "patience", "joint-lengths"}
"""Features that go together with dynamic batching."""


@dataclass(frozen=True)
class Run:
    """The series of one run, notes on it, the share of time that servers were busy, and when the last one left."""

    series: Series
    notes: list[str]
    busy: float
    end_s: float


def refuse_unknown(scenario: Scenario) -> None:
    """Raise InputError for a feature that is not simulated, or not together with the others."""
    unknown = sorted(scenario.features - HANDLED)
    if unknown:
        raise InputError(
            f"simulation, {unknown[0]}", "is not simulated at the level of whole requests", "leave it out"
        )
    batched = scenario.system.batching == "dynamic"
    odd = sorted(scenario.features - IN_BATCHES) if batched else []
    if odd:
        raise InputError(f"simulation, {odd[0]}", "is not simulated together with dynamic batching", "leave it out")
    refuse_mixtures(scenario)


def refuse_mixtures(scenario: Scenario) -> None:
    """Raise InputError for transforms that several services of one request would make ambiguous."""
    several = scenario.features & {"pause", "stations"}
    early = any(served.service.delivered_at is not None for served in scenario.served)
    if several and (scenario.condition is not None or early):
        word = sorted(several)[0]
        fault = "with a queue condition or early delivery is not simulated"
        raise InputError(f"simulation, {word}", fault, "leave out the transform")


def needs_general(scenario: Scenario) -> bool:
    """Whether only the general event loop can serve the scenario."""
    return bool(scenario.features & GENERAL) or _is_rare(scenario)


def _is_rare(scenario: Scenario) -> bool:
    """Whether the order is one that the quick loops do not know."""
    policy = scenario.policy
    nested = isinstance(policy, NonPreemptivePriority) and hasattr(policy, "inner")
    return policy.timed or nested or isinstance(policy, AccumulatingPriority | Gittins)


def run_once(
    scenario: Scenario,
    requests: int,
    seed: np.random.SeedSequence,
    horizon_s: float | None = None,
    present: Mapping[str, int] | None = None,
) -> Run | None:
    """One run of about so many requests, or of a horizon with so many `present` at first; None if nobody came."""
    from qmodel.simulation.draw import draw

    spare = 1.0
    while True:
        drawn = draw(scenario, requests, seed, horizon_s, spare, present)
        if not len(drawn):
            return None
        if scenario.system.batching == "dynamic":
            return _batched(scenario, drawn, seed)
        if not needs_general(scenario):
            return _quick(scenario, drawn)
        found, is_whole = _general(scenario, drawn, seed, requests, horizon_s)
        if is_whole:
            return found
        spare *= 2.0


def _quick(scenario: Scenario, drawn: Requests) -> Run:
    from qmodel.simulation.serving import Rules, serve
    from qmodel.simulation.summary import series

    log, notes = serve(scenario.policy, drawn, Rules.of(scenario))
    work = np.where(log.reduced, drawn.long_s, drawn.service_s) if scenario.condition else drawn.service_s
    end = float(log.done_s.max())
    span = end * scenario.system.servers
    return Run(series(scenario, drawn, log), notes, float(work.sum()) / span if span else 0.0, end)


def _batched(scenario: Scenario, drawn: Requests, seed: np.random.SeedSequence) -> Run | None:
    from qmodel.simulation.batching import serve_batches
    from qmodel.simulation.summary import series_of_fates

    fates, batch, notes = serve_batches(scenario, drawn, seed)
    served = batch > 0
    if not len(fates):
        return None
    end = float(np.nanmax(fates.done_s, initial=0.0))
    work = float(((fates.done_s - fates.start_s)[served] / batch[served]).sum())
    span = end * scenario.system.servers
    return Run(series_of_fates(scenario, drawn, fates), notes, work / span if span else 0.0, end)


def _general(
    scenario: Scenario, drawn: Requests, seed: np.random.SeedSequence, requests: int, horizon_s: float | None
) -> tuple[Run | None, bool]:
    """The run, and whether it is whole: else a closed population ran out of requests, and more are to be drawn."""
    from qmodel.simulation.network.serving import serve
    from qmodel.simulation.serving import Rules
    from qmodel.simulation.summary import series_of_fates

    closed = all(isinstance(served.arrivals, Closed) for served in scenario.served)
    until = _until(drawn) if horizon_s is None else horizon_s
    fates, _, notes = serve(scenario, drawn, seed, Rules.of(scenario).control, until)
    if fates.ran_out:
        return None, False
    servers = sum(s.servers for s in scenario.stations) if scenario.stations else scenario.system.servers
    end = float(np.nanmax(fates.done_s, initial=0.0))
    busy = float((fates.service_s + fates.overhead_s).sum()) / (end * servers) if end else 0.0
    chosen = _counted(fates, requests if closed and horizon_s is None else None)
    if not chosen.size:
        return None, True
    return Run(series_of_fates(scenario, drawn, fates).of(chosen), notes, busy, end), True


def _until(drawn: Requests) -> float:
    """When closed populations stop: with the last of those that come of themselves, if any do."""
    come = drawn.arrival_s[np.isfinite(drawn.arrival_s)]
    return float(come.max()) if come.size else np.inf


def _counted(fates: Fates, most: int | None) -> np.ndarray:
    """Rows that came, in order of arrival; of closed populations the first `most`, while all users were about."""
    order = np.argsort(fates.arrival_s, kind="stable")
    came = order[np.isfinite(fates.arrival_s[order])]
    return came if most is None else came[:most]
