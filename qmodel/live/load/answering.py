"""From the log of a load test to an answer: what each class got, with intervals, and whether the run may be used.

Latency counts from when a request was scheduled. Requests of the first part of the run (a stated share) are dropped
as warm-up. A failed request stays in the denominator: of attainment and goodput, and of percentiles as infinite.
Nothing is assumed of the server: service times are unknown, and the wait is known only where its metrics tell it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.answer import Answer, ClassAnswer, PolicyAnswer, percentile_name
from qmodel.errors import InputError
from qmodel.live.log import OK
from qmodel.live.measured import LAG_LIMIT, mean_of, quantile_of
from qmodel.statistics.intervals import Interval, batch_share
from qmodel.workload.arrival_tests import test_arrivals

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.live.load.running import LoadRun
    from qmodel.scenario import Scenario

    Floats = NDArray[np.float64]

QUANTITIES = ("response", "ttft", "tpot")
GOODPUT_NAMES = {"ttft": "ttft", "tpot": "tpot", "e2el": "response"}
"""Words of --goodput, as in vLLM bench."""
SHORT_OUTPUT = 0.02
"""Fewer output tokens than asked for, by this share, are worth a note."""
Limits = dict[str, float]


def goodput_limits(texts: Sequence[str]) -> Limits:
    """Limits in seconds from `ttft:500`, in milliseconds as in vLLM bench. Raises InputError.

    >>> goodput_limits(["ttft:500", "e2el:2000"])
    {'ttft': 0.5, 'response': 2.0}
    """
    limits: Limits = {}
    for text in (part for each in texts for part in each.replace(",", " ").split()):
        name, _, value = text.partition(":")
        try:
            limit = float(value) / 1e3
        except ValueError:
            limit = math.nan
        if name not in GOODPUT_NAMES or not 0 < limit < math.inf:
            raise InputError(f"--goodput {text}", "is no limit", "ttft:MS, tpot:MS or e2el:MS, e.g. ttft:500")
        limits[GOODPUT_NAMES[name]] = limit
    return limits


def promised(slo: Mapping[str, float]) -> Limits:
    """A class's own limits on each request: the strictest for each quantity.

    >>> promised({"ttft_p95_s": 0.5, "ttft_s": 0.3, "response_p99_s": 4.0})
    {'ttft': 0.3, 'response': 4.0}
    """
    limits: Limits = {}
    for name, limit in slo.items():
        quantity = name.split("_")[0]
        limits[quantity] = min(limit, limits.get(quantity, math.inf))
    return limits


def load_answer(
    run: LoadRun,
    scenario: Scenario,
    *,
    horizon_s: float,
    percentiles: Sequence[float] = (50.0, 95.0, 99.0),
    goodput: Limits | None = None,
    warmup_share: float = 0.1,
) -> Answer:
    """The answer of a run of this scenario; `goodput` overrules the classes' SLOs.

    `run["rejected"]` says why the run must not be used, if so. A server that says it is emulated makes the method
    "simulation". Raises InputError for a warm-up that leaves no request with a response.
    """
    if not 0 <= warmup_share < 1:
        raise InputError("--warmup", f"{warmup_share} is not in [0, 1)", "e.g. 0.1")
    begin = warmup_share * horizon_s
    kept = timed(run.log[run.log["scheduled_s"] >= begin])
    if not (kept["status"] == OK).any():
        raise InputError(str(run.path), "holds no request that came through after the warm-up", "run for longer")
    watched_s = float(np.nanmax(kept["done_s"])) - begin
    limits = {each.name: promised(each.slo) if goodput is None else goodput for each in scenario.classes}
    kept["met"] = met(kept, limits)
    parts = {"all": kept} | {each.name: kept[kept["class"] == each.name] for each in scenario.classes}
    classes = [_class(name, part, watched_s, percentiles) for name, part in parts.items() if len(part)]
    if warmup_share == 0 and "mean_queue_s" in run.measured:
        classes[0].metrics["mean_wait_s"] = run.measured["mean_queue_s"]
    emulated = bool(run.server.card.get("emulated"))
    facts = run_facts(run, kept, horizon_s, warmup_share, scenario)
    result = PolicyAnswer(
        policy=str(run.server.card.get("policy", scenario.policy.name)),
        rate=scenario.rate,
        method="simulation" if emulated else "measured",
        result="emulated run: timed waits in place of computation" if emulated else "open-loop load over HTTP",
        utilisation=None,
        classes=classes,
        source=f"{run.server.card.get('engine') or run.server.software or 'server'} at {run.server.target.base}",
        assumptions=[f"warm-up dropped: the first {100 * warmup_share:g} %", "latencies count from scheduled_s"],
        notes=_notes(facts, kept),
        run=facts,
    )
    return Answer(scenario.fingerprint, [result])


def timed(log: pd.DataFrame) -> pd.DataFrame:
    """With response_s and ttft_s, infinite for what never came, and tpot_s, NaN where there is none."""
    frame = log.copy()
    ok = (frame["status"] == OK).to_numpy()
    due = frame["scheduled_s"].to_numpy(dtype=float)
    done, first = frame["done_s"].to_numpy(dtype=float), frame["first_token_s"].to_numpy(dtype=float)
    frame["response_s"] = np.where(ok, done - due, math.inf)
    frame["ttft_s"] = np.where(np.isfinite(first), first - due, math.inf)
    gaps = frame["output_tokens"].to_numpy(dtype=float) - 1.0
    frame["tpot_s"] = np.where(ok & (gaps > 0), (done - first) / np.where(gaps > 0, gaps, 1.0), math.nan)
    return frame


def met(kept: pd.DataFrame, limits: Mapping[str, Limits]) -> Floats:
    """1 where a request met all its limits, 0 where it missed one or failed, NaN where it has none."""
    out = np.full(len(kept), math.nan)
    ok = (kept["status"] == OK).to_numpy()
    for name, own in limits.items():
        chosen = (kept["class"] == name).to_numpy()
        if own:
            fine = ok[chosen]
            for quantity, limit in own.items():
                fine = fine & ~(kept[f"{quantity}_s"].to_numpy(dtype=float)[chosen] > limit)
            out[chosen] = fine
    return out


def _class(name: str, part: pd.DataFrame, watched_s: float, percentiles: Sequence[float]) -> ClassAnswer:
    ok = part[part["status"] == OK]
    found: dict[str, Interval | None] = {"mean_service_s": None, "mean_wait_s": None}
    for quantity in QUANTITIES:
        times = (part if quantity != "tpot" else ok)[f"{quantity}_s"].dropna().to_numpy(dtype=float)
        found[f"mean_{quantity}_s"] = mean_of(times[np.isfinite(times)])
        for percent in percentiles:
            found[percentile_name(percent, quantity)] = quantile_of(times, percent / 100)
    judged = part["met"].dropna().to_numpy(dtype=float)
    found["attainment"] = batch_share(judged) if judged.size else None
    values: dict[str, float | None] = {m: None if each is None else each.value for m, each in found.items()}
    values["goodput"] = float(judged.sum()) / watched_s if judged.size else None
    values["failed_share"] = 1.0 - len(ok) / len(part)
    values["throughput"] = len(ok) / watched_s
    values["throughput_tokens_per_s"] = float(ok["output_tokens"].sum()) / watched_s
    bounds = {m: (each.low, each.high) for m, each in found.items() if each is not None and each.low == each.low}
    return ClassAnswer(name, len(part) / watched_s, values, ci95=bounds)


def run_facts(
    run: LoadRun, kept: pd.DataFrame, horizon_s: float, warmup_share: float, scenario: Scenario
) -> dict[str, Any]:
    """How the run was made and whether it may be used, as plain values."""
    log = run.log
    finite = math.isfinite(scenario.rate) and float(log["scheduled_s"].iloc[-1]) > 0
    failures = kept["status"][kept["status"] != OK].str.split(":").str[1].str.strip().value_counts()
    facts: dict[str, Any] = {
        "url": run.server.target.base,
        "server": run.server.software,
        "card": run.server.card,
        "emulated": bool(run.server.card.get("emulated")),
        "endpoint": run.server.path,
        "models": run.server.models,
        "requests": len(kept),
        "failed": int((kept["status"] != OK).sum()),
        "failures": {str(name): int(count) for name, count in failures.items()},
        "warmup_share": warmup_share,
        "horizon_s": horizon_s,
        **lag_facts(log),
        **token_facts(log, run.server.words.known),
        "server_metrics": run.measured,
        "log": run.path.name,
    }
    if finite:
        tests = test_arrivals(log["scheduled_s"].to_numpy(dtype=float), scenario.rate, horizon_s=horizon_s)
        facts |= {"arrivals": tests.verdict, "arrivals_poisson": tests.poisson}
    return facts


def lag_facts(log: pd.DataFrame) -> dict[str, Any]:
    """How late the client was, what it was held back by its own cap, and `rejected` where the lag is too long.

    Service alone cannot be seen from outside: the median time from sending to the last token stands in for it.
    """
    sent = log[log["sent_s"].notna()]
    late = (sent["sent_s"] - sent["due_s"]).to_numpy(dtype=float)
    held = (sent["due_s"] - sent["scheduled_s"]).to_numpy(dtype=float)
    median = float(np.nanmedian((log["done_s"] - log["sent_s"]).to_numpy(dtype=float)))
    ttft = float(np.nanmedian((log["first_token_s"] - log["sent_s"]).to_numpy(dtype=float)))
    p50, p99 = (float(np.quantile(late, p)) for p in (0.5, 0.99))
    facts: dict[str, Any] = {"lag_p50_s": p50, "lag_p99_s": p99, "held_back_p99_s": float(np.quantile(held, 0.99))}
    facts |= {"median_at_server_s": median, "median_first_token_s": ttft, "rejected": None}
    if p99 > LAG_LIMIT * median:
        limit = f"{100 * LAG_LIMIT:g} % of the median time at the server ({1e3 * median:.3g} ms)"
        facts["rejected"] = f"the client's lag, 99th percentile {1e3 * p99:.3g} ms, exceeds {limit}"
    return facts


def token_facts(log: pd.DataFrame, tokenizer_known: bool) -> dict[str, Any]:
    """Tokens sent and made, as shares of what was wanted; and how prompts were counted."""
    ok = log[log["status"] == OK]
    return {
        "input_tokens_of_wanted": float(ok["input_tokens"].sum() / ok["wanted_input_tokens"].sum()),
        "output_tokens_of_wanted": float(ok["output_tokens"].sum() / ok["wanted_output_tokens"].sum()),
        "prompts": "as the server counts them" if tokenizer_known else "a word counted as a token",
    }


def itl_facts(tokens: pd.DataFrame, kept_ids: Sequence[int]) -> dict[str, float]:
    """Gaps between pieces of text that came one after another (vLLM's ITL): mean and percentiles, in seconds."""
    kept = tokens[tokens["request_id"].isin(kept_ids)]
    gaps = kept.groupby("request_id")["t_s"].diff().dropna().to_numpy(dtype=float)
    if not gaps.size:
        return {}
    marks = {f"p{percent}_s": float(np.quantile(gaps, percent / 100)) for percent in (50, 95, 99)}
    return {"mean_s": float(gaps.mean()), **marks}


def _notes(facts: Mapping[str, Any], kept: pd.DataFrame) -> list[str]:
    notes = []
    if facts["rejected"]:
        notes.append(f"REJECTED: {facts['rejected']}")
    elif facts["lag_p99_s"] > LAG_LIMIT * facts["median_first_token_s"]:
        share = 100 * facts["lag_p99_s"] / facts["median_first_token_s"]
        notes.append(f"the client's lag (p99) is {share:.0f} % of the median time to first token")
    if facts["held_back_p99_s"] > 0.0:
        notes.append("the cap on concurrency held requests back: this is not open-loop load all the time")
    if facts["failed"]:
        why = ", ".join(f"{name} ({count})" for name, count in list(facts["failures"].items())[:4])
        notes.append(f"{facts['failed']} of {len(kept)} requests failed: {why}; means are of the others")
    if abs(facts["output_tokens_of_wanted"] - 1.0) > SHORT_OUTPUT:
        share = 100 * facts["output_tokens_of_wanted"]
        notes.append(f"the server made {share:.0f} % of the output tokens asked for")
    return notes
