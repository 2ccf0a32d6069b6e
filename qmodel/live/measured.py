"""From request logs to an answer: what each class of requests was seen to get, with intervals and how it was run.

Requests that arrive in the first part of a run (a stated share of its horizon, the same for every policy, so that
runs on the same schedule stay paired) are dropped as warm-up. Intervals are from batch means over the requests in
order of arrival. Failed requests stay in the denominator of attainment and percentiles; means are of those that
came through, and a note says how many did not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qmodel.answer import ClassAnswer, PolicyAnswer, percentile_name
from qmodel.errors import InputError
from qmodel.live.log import OK
from qmodel.live.pausing import away_s, response_s
from qmodel.live.run import LiveRun
from qmodel.live.session import lags
from qmodel.scenario import Scenario
from qmodel.statistics.intervals import Interval, batch_means, batch_quantile, batch_share
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WARMUP_SHARE = 0.1
LAG_LIMIT = 0.05
"""A run is rejected when the 99th percentile of the client's lag exceeds this share of the median service time."""


def measured_answer(
    runs: LiveRun | Sequence[LiveRun],
    scenario: Scenario | Sequence[Scenario],
    percentiles: Sequence[float] = (50.0, 95.0, 99.0),
    warmup_share: float = WARMUP_SHARE,
) -> PolicyAnswer:
    """What one live run of the scenario, or several with different seeds, measured.

    `run` tells device, versions, requests, failures, the client's lag and the arrival tests; `run["rejected"]`
    gives the reason when the run must not be used. An emulated run is labelled so, and its method is "simulation".
    Runs of one question on a host whose speed changes come with a scenario each; the rate told is their mean.
    Raises InputError for runs of another scenario and for a warm-up that leaves nothing.
    """
    runs = [runs] if isinstance(runs, LiveRun) else list(runs)
    if not 0 <= warmup_share < 1:
        raise InputError("warmup_share", f"{warmup_share} is not in [0, 1)", "e.g. 0.1")
    asked = [scenario] * len(runs) if isinstance(scenario, Scenario) else list(scenario)
    for run, own in zip(runs, asked, strict=True):
        if run.meta["scenario"] != own.fingerprint:
            raise InputError(str(run.path), "is a run of another scenario", "give the scenario that was run")
    scenario = asked[0] if len(set(map(id, asked))) == 1 else asked[0].at_rate(_mean_rate(asked))
    kept = pd.concat([steady_part(run, warmup_share) for run in runs], ignore_index=True)
    if not len(kept):
        raise InputError(str(runs[0].path), "holds no request after the warm-up", "run for longer")
    watched_s = sum(run.meta["horizon_s"] for run in runs) * (1.0 - warmup_share)
    utilisation: float | None = float(kept["service_s"].sum()) / watched_s
    if scenario.system.batches:
        utilisation = busy_share(runs)
        stable = not any(grows(run, warmup_share) for run in runs)
    else:
        stable = utilisation is not None and utilisation < 1.0
    parts = {"all": kept} | {c.name: kept[kept["class"] == c.name] for c in scenario.classes}
    rates = {"all": scenario.rate} | {c.name: c.rate for c in scenario.classes}
    limits = {c.name: limit_of(c.slo, "response") for c in scenario.classes}
    found = {name: class_metrics(part, limits, watched_s, percentiles) for name, part in parts.items()}
    notes = _notes(found, kept, warmup_share, stable)
    if scenario.condition is None:
        for metrics in found.values():
            metrics.pop("share_reduced")
    emulated = any(run.emulated for run in runs)
    return PolicyAnswer(
        scenario.policy.name,
        scenario.rate,
        "simulation" if emulated else "measured",
        "emulated run: timed waits in place of computation" if emulated else "live run",
        utilisation,
        [_class_answer(name, rates[name], metrics, stable) for name, metrics in found.items()],
        source=f"{runs[0].meta['engine']['name']} on {runs[0].meta['engine']['device']}",
        assumptions=[f"warm-up dropped: the first {100 * warmup_share:g} % of each run"],
        stable=stable,
        notes=notes,
        run=run_facts(runs, kept, warmup_share),
    )


def steady_part(run: LiveRun, warmup_share: float = WARMUP_SHARE) -> pd.DataFrame:
    """The requests that arrive after the warm-up, in order of arrival, with response_s (infinite if failed).

    Pauses are no part of the response."""
    log = run.log[run.log["scheduled_s"] >= warmup_share * run.meta["horizon_s"]].copy()
    ok = log["status"] == OK
    log["response_s"] = np.where(ok, response_s(log), math.inf)
    return log


def _mean_rate(asked: Sequence[Scenario]) -> float:
    return sum(scenario.rate for scenario in asked) / len(asked)


Metrics = dict[str, Interval | None]


def busy_share(runs: Sequence[LiveRun]) -> float | None:
    """Share of the time in which a server of batches worked: near 1 long before its capacity is reached.

    None for a server that does not tell.
    """
    loops = [run.meta["loop"] for run in runs]
    if any("busy_s" not in loop for loop in loops):
        return None
    return sum(float(loop["busy_s"]) for loop in loops) / sum(float(loop["span_s"]) for loop in loops)


def grows(run: LiveRun, warmup_share: float) -> bool:
    """Whether more requests were left at the end of the arrivals than chance explains: there is no steady state.

    The number present may wander, but hardly by more than three times the spread of the number that arrived.
    """
    horizon = float(run.meta["horizon_s"])
    log = run.log
    arrived, left = log["scheduled_s"].to_numpy(dtype=float), log["done_s"].fillna(math.inf).to_numpy(dtype=float)
    begin = warmup_share * horizon
    present = [int(((arrived <= at) & (left > at)).sum()) for at in (begin, horizon)]
    return present[1] - present[0] > 3.0 * math.sqrt(max(1, int((arrived > begin).sum())))


def class_metrics(
    part: pd.DataFrame, limits: dict[str, float], watched_s: float, percentiles: Sequence[float]
) -> Metrics:
    """Every metric of these requests with its interval; None where it cannot be had."""
    ok = part[part["status"] == OK]
    service = ok["service_s"].to_numpy(dtype=float)
    response = ok["response_s"].to_numpy(dtype=float)
    before = service * ok["delivered_at"].to_numpy(dtype=float)
    told = not np.isnan(service).any()
    metrics: Metrics = {
        "mean_service_s": mean_of(before) if told else None,
        "mean_wait_s": mean_of(response - before) if told else None,
        "mean_response_s": mean_of(response),
    }
    for percent in percentiles:
        metrics[percentile_name(percent)] = quantile_of(part["response_s"].to_numpy(dtype=float), percent / 100)
    metrics["mean_slowdown"] = mean_of(response / service) if (service > 0).all() else None
    metrics |= _limits_met(part, limits, watched_s)
    metrics["share_reduced"] = batch_share(ok["reduced"].to_numpy(dtype=float)) if len(ok) else None
    metrics["throughput"] = _exactly(len(ok) / watched_s)
    return metrics | _token_metrics(ok, percentiles)


def _limits_met(part: pd.DataFrame, limits: dict[str, float], watched_s: float) -> Metrics:
    limit = part["class"].map(limits).to_numpy(dtype=float)
    met = part["response_s"].to_numpy(dtype=float) <= limit
    judged = np.isfinite(limit)
    if not judged.any():
        return {"attainment": None}
    return {"attainment": batch_share(met[judged]), "goodput": _exactly(float(met[judged].sum()) / watched_s)}


def _token_metrics(ok: pd.DataFrame, percentiles: Sequence[float]) -> Metrics:
    """Time to first token, and time per output token after it; nothing where no tokens are delivered."""
    first = (ok["first_token_s"] - ok["scheduled_s"]).to_numpy(dtype=float)
    if not np.isfinite(first).any():
        return {}
    metrics: Metrics = {"mean_ttft_s": mean_of(first)}
    for percent in sorted({*percentiles, 99.0}):
        metrics[percentile_name(percent, "ttft")] = quantile_of(first, percent / 100)
    gaps = ok["output_tokens"].to_numpy(dtype=float) - 1.0
    after = (ok["done_s"] - ok["first_token_s"]).to_numpy(dtype=float) - away_s(ok)
    tpot = after[gaps > 0] / gaps[gaps > 0]
    return metrics | {"mean_tpot_s": mean_of(tpot)}


def mean_of(values: Floats) -> Interval | None:
    """Mean with its interval; None of nothing."""
    return batch_means(values) if values.size else None


def _exactly(value: float) -> Interval:
    """A count over a time, without an interval."""
    return Interval(value, math.nan, math.nan)


def quantile_of(values: Floats, p: float) -> Interval | None:
    """p-quantile where failed requests are infinite; None where it falls among them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    most = float(finite.max())
    found = batch_quantile(np.where(np.isfinite(values), values, 2.0 * most + 1.0), p)
    if found.value > most:
        return None
    return Interval(found.value, found.low, math.inf if found.high > most else found.high, found.short)


def _class_answer(name: str, rate: float, metrics: Metrics, stable: bool) -> ClassAnswer:
    values: dict[str, float | None] = {m: None if i is None else i.value for m, i in metrics.items()}
    bounded = {m: i for m, i in metrics.items() if i is not None and not math.isnan(i.low)} if stable else {}
    return ClassAnswer(name, rate, values, ci95={m: (i.low, i.high) for m, i in bounded.items()})


def _notes(found: dict[str, Metrics], kept: pd.DataFrame, warmup_share: float, stable: bool) -> list[str]:
    notes = []
    failed = int((kept["status"] != OK).sum())
    if failed:
        notes.append(f"{failed} of {len(kept)} requests failed; means are of the others")
    if not stable:
        notes.append("overload: these figures belong to this horizon; there is no steady state and no interval")
        return notes
    short = [f"{m} of {c}" for c, metrics in found.items() for m, i in metrics.items() if i is not None and i.short]
    if short:
        notes.append("the run is too short for trustworthy intervals of " + ", ".join(short))
    return notes


def run_facts(runs: Sequence[LiveRun], kept: pd.DataFrame, warmup_share: float) -> dict[str, Any]:
    """How the runs were made and whether they may be used, as plain values."""
    first = runs[0].meta
    lag = lag_facts(runs)
    refused = [run.meta["arrivals"]["verdict"] for run in runs if not run.meta["arrivals"]["poisson"]]
    facts: dict[str, Any] = {
        "device": first["engine"]["device"],
        "engine": first["engine"]["name"],
        "emulated": any(run.emulated for run in runs),
        "versions": {**first["engine"]["versions"], "qmodel": first["machine"].get("qmodel")},
        "threads": first["threads"],
        "seeds": [run.meta.get("seed") for run in runs],
        "horizon_s": first["horizon_s"],
        "warmup_share": warmup_share,
        "requests": len(kept),
        "failed": int((kept["status"] != OK).sum()),
        **lag,
        "arrivals": refused[0] if refused else first["arrivals"]["verdict"],
        "arrivals_poisson": not refused,
        "load_average": max(run.meta.get("load_after") or 0.0 for run in runs),
        "overhead_per_step_s": max(run.meta["loop"].get("overhead_per_step_s", 0.0) for run in runs),
        "logs": [run.path.name for run in runs],
    }
    return facts


def lag_facts(runs: Sequence[LiveRun]) -> dict[str, Any]:
    """The client's lag, and `rejected` with the reason when it is too long for the run to be used.

    A server that does not tell when service began is judged by the time that requests spend there.
    """
    late = np.concatenate([lags(_column(run, "sent_s"), _column(run, "scheduled_s")) for run in runs])
    service = np.concatenate([_column(run, "service_s") for run in runs])
    p50, p99 = (float(np.quantile(late, p)) for p in (0.5, 0.99))
    what = "service time"
    if np.isnan(service).all():
        what = "time at the server"
        service = np.concatenate([_column(run, "done_s") - _column(run, "sent_s") for run in runs])
    median = float(np.nanmedian(service))
    facts: dict[str, Any] = {"lag_p50_s": p50, "lag_p99_s": p99, "rejected": None}
    if p99 > LAG_LIMIT * median:
        limit = f"{100 * LAG_LIMIT:g} % of the median {what} ({1e3 * median:.3g} ms)"
        facts["rejected"] = f"the client's lag, 99th percentile {1e3 * p99:.3g} ms, exceeds {limit}"
    return facts


def _column(run: LiveRun, name: str) -> Floats:
    return run.log[name].to_numpy(dtype=float)
