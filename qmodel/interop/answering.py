"""From an imported request log to an Answer: what its requests were seen to get, measured elsewhere.

Requests of the first part (a stated share of the arrivals' span) are dropped as warm-up; intervals are from batch
means in order of arrival. Failed requests count in percentiles as infinite. Nothing is assumed of the server:
service times are not in such logs, so utilisation and mean service time are None, and the wait is known only where
the tool says when service began.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.answer import Answer, ClassAnswer, PolicyAnswer, percentile_name
from qmodel.errors import InputError
from qmodel.interop.imported import OK, Imported
from qmodel.statistics.intervals import Interval, batch_means, batch_quantile
from qmodel.workload.arrival_tests import test_arrivals

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario

    Floats = NDArray[np.float64]

WARMUP_SHARE = 0.1
GROWTH = 2.0
"""A last third of responses so many times the first says that the queue grew through the run."""


def answer_of_log(
    log: Imported,
    scenario: Scenario | None = None,
    *,
    policy: str = "fcfs",
    percentiles: Sequence[float] = (50.0, 95.0, 99.0),
    warmup_share: float = WARMUP_SHARE,
) -> Answer:
    """The Answer (`record`, method measured) of an imported log, to be compared with a prediction.

    With a scenario, the answer takes its fingerprint, policy and rate, so that `compare` matches the two; a
    realised rate that is another is noted. Raises InputError for a table that holds no latencies of requests.
    """
    if log.shape not in ("requests", "latencies"):
        raise InputError(log.path or "log", f"is a table of {log.shape}, not of requests", "give a request log")
    if not 0 <= warmup_share < 1:
        raise InputError("warmup_share", f"{warmup_share} is not in [0, 1)", "e.g. 0.1")
    kept = _steady(_timed(log), warmup_share if log.shape == "requests" else 0.0)
    if not (kept["status"] == OK).any() or not np.isfinite(kept["response_s"].to_numpy(float)).any():
        raise InputError(log.path or "log", "holds no request with a response time", "give a log with latencies")
    span = _span(kept)
    realised = (len(kept) - 1) / span if span > 0 else math.nan
    parts = {"all": kept} | {str(name): part for name, part in kept.groupby("class", sort=True)}
    result = PolicyAnswer(
        policy=scenario.policy.name if scenario is not None else policy,
        rate=scenario.rate if scenario is not None else realised,
        method="measured",
        result="imported log",
        utilisation=None,
        classes=[_class(name, part, span, percentiles) for name, part in parts.items()],
        source=f"{log.title}: {log.path} (sha256 {log.sha256[:12]})",
        assumptions=_assumptions(log, warmup_share),
        notes=_notes(log, kept, realised, scenario),
        run=_run(log, kept, realised),
    )
    return Answer(scenario.fingerprint if scenario is not None else "", [result])


def _timed(log: Imported) -> pd.DataFrame:
    """With response_s, ttft_s, tpot_s and wait_s, infinite or NaN where there is none."""
    frame = log.frame.copy()
    ok = (frame["status"] == OK).to_numpy()
    if log.shape == "requests":
        due = frame["scheduled_s"].to_numpy(float)
        frame["response_s"] = frame["done_s"].to_numpy(float) - due
        frame["ttft_s"] = frame["first_token_s"].to_numpy(float) - due
        gaps = frame["output_tokens"].to_numpy(float) - 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            tpot = (frame["done_s"] - frame["first_token_s"]).to_numpy(float) / gaps
        frame["tpot_s"] = np.where(gaps > 0, tpot, np.nan)
        frame["wait_s"] = frame["started_s"].to_numpy(float) - due if "started_s" in frame else np.nan
    else:
        frame["wait_s"] = np.nan
    frame["response_s"] = np.where(ok, frame["response_s"].to_numpy(float), np.inf)
    return frame


def _steady(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    if "scheduled_s" not in frame or not share:
        return frame
    times = frame["scheduled_s"].to_numpy(float)
    return frame[times >= share * times[-1]]


def _span(frame: pd.DataFrame) -> float:
    if "scheduled_s" not in frame or len(frame) < 2:
        return 0.0
    return float(frame["scheduled_s"].iloc[-1] - frame["scheduled_s"].iloc[0])


def _class(name: str, part: pd.DataFrame, span: float, percentiles: Sequence[float]) -> ClassAnswer:
    ok = part[part["status"] == OK]
    found: dict[str, Interval | None] = {
        "mean_service_s": None,
        "mean_wait_s": _mean(ok["wait_s"]),
        "mean_response_s": _mean(ok["response_s"]),
    }
    responses = part["response_s"].to_numpy(float)
    found |= {percentile_name(percent): _quantile(responses, percent / 100) for percent in percentiles}
    found |= {"mean_ttft_s": _mean(ok["ttft_s"]), "mean_tpot_s": _mean(ok["tpot_s"])}
    found |= {percentile_name(99.0, "ttft"): _quantile(ok["ttft_s"].to_numpy(float), 0.99)}
    values = {metric: None if one is None else one.value for metric, one in found.items()}
    bounds = {m: (one.low, one.high) for m, one in found.items() if one is not None and one.low == one.low}
    rate = (len(part) - 1) / span if span > 0 and len(part) > 1 else math.nan
    return ClassAnswer(name, rate, values, ci95=bounds)


def _mean(values: pd.Series) -> Interval | None:
    series = values.to_numpy(float)
    series = series[np.isfinite(series)]
    return batch_means(series) if series.size else None


def _quantile(values: Floats, p: float) -> Interval | None:
    """p-quantile where failed requests are infinite; None where it falls among them."""
    values = values[~np.isnan(values)]
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    most = float(finite.max())
    found = batch_quantile(np.where(np.isfinite(values), values, 2.0 * most + 1.0), p)
    if found.value > most:
        return None
    return Interval(found.value, found.low, math.inf if found.high > most else found.high, found.short)


def _assumptions(log: Imported, warmup_share: float) -> list[str]:
    if log.shape == "latencies":
        return ["latencies count from sending: arrival times are not in the file", "no warm-up dropped"]
    return [f"warm-up dropped: the first {100 * warmup_share:g} % of the run", "latencies count from scheduled_s"]


def _notes(log: Imported, kept: pd.DataFrame, realised: float, scenario: Scenario | None) -> list[str]:
    notes = [str(one) for one in log.findings]
    failed = int((kept["status"] != OK).sum())
    if failed:
        notes.append(f"{failed} of {len(kept)} requests failed; means are of the others")
    if scenario is not None and realised == realised and abs(realised / scenario.rate - 1.0) > 0.05:
        notes.append(f"realised rate {realised:.4g}/s, the scenario's is {scenario.rate:.4g}/s")
    response = kept.loc[kept["status"] == OK, "response_s"].to_numpy(float)
    third = response.size // 3
    if log.shape == "requests" and third >= 20:
        growth = response[-third:].mean() / response[:third].mean()
        if growth > GROWTH:
            notes.append(
                f"responses of the last third are {growth:.1f} times those of the first: the queue grew through "
                "the run, these figures belong to this horizon and there is no steady state"
            )
    return notes


def _run(log: Imported, kept: pd.DataFrame, realised: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"file": log.path, "sha256": log.sha256, "kind": log.kind, "requests": len(kept)}
    facts |= {"failed": int((kept["status"] != OK).sum())}
    if log.shape == "requests":
        tests = test_arrivals(log.frame["scheduled_s"].to_numpy(float), log.nominal_rate)
        facts |= {"rate": realised, "arrivals": tests.verdict, "arrivals_poisson": tests.poisson}
        lag = (log.frame["sent_s"] - log.frame["scheduled_s"]).to_numpy(float)
        if np.isfinite(lag).any():
            facts["lag_p99_s"] = float(np.nanquantile(lag, 0.99))
    return facts
