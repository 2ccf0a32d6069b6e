"""vLLM: `vllm bench serve`, `latency` and `throughput`; and SGLang's `bench_serving`, which grew from the first.

Requests are sent at `start_times`; they were due `queue_times` earlier. vLLM rescales its gaps so that the last
arrival falls at n/rate: a Poisson bridge. Files without `start_times` hold latencies alone, those without lists
only summaries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import number, numbers, parsed_records, sayable
from qmodel.interop.content import Content
from qmodel.interop.figures import figures_frame
from qmodel.interop.imported import OK, Imported, Translation
from qmodel.interop.logs import CLOCK, LONGEST_S, finished, latency_frame, log_frame, whole_latencies
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader

SUMMARY = re.compile(r"(?P<stat>mean|median|std|p\d+(\.\d+)?)_(?P<metric>ttft|tpot|itl|e2el)_ms")
METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "response"}
SERVE_MAPPING = [
    Translation("start_times - queue_times", "scheduled_s", "from the first; due, before the client's own queue"),
    Translation("start_times", "sent_s", "from the first arrival"),
    Translation("start_times + ttfts", "first_token_s"),
    Translation("start_times + latencies", "done_s"),
    Translation("input_lens, output_lens", "input_tokens, output_tokens"),
    Translation("errors", "status", "empty is ok"),
]
LATENCY_MAPPING = [
    Translation("ttfts", "ttft_s"),
    Translation("ttfts + sum of itls", "response_s", "no latencies in this version"),
    Translation("(response - ttft) / (output_lens - 1)", "tpot_s", "vLLM's TPOT; ITL are the single gaps"),
    Translation("input_lens, output_lens", "input_tokens, output_tokens"),
]


def _record(content: Content) -> dict[str, Any]:
    value = content.json if isinstance(content.json, dict) else content.first_record
    return value if isinstance(value, dict) else {}


def is_serve(content: Content) -> bool:
    """Summaries or lists of `vllm bench serve` or SGLang."""
    record = _record(content)
    return bool({"ttfts", "mean_ttft_ms", "median_ttft_ms"} & set(record)) and "benchmarks" not in record


def is_sglang(content: Content) -> bool:
    """As vLLM's, with SGLang's own fields."""
    record = _record(content)
    return is_serve(content) and bool({"sharegpt_output_len", "random_input_len",
                                       "server_info", "accept_length"} & set(record))  # fmt: skip


def read_serve(content: Content, options: Options) -> Imported:
    """A request log where there are start times; latencies, or figures, where there are not."""
    rows, runs, findings = parsed_records(content)
    detailed = [(k, run) for k, run in zip(rows, runs, strict=True) if isinstance(run.get("ttfts"), list)]
    if not detailed:
        return _summaries(rows, runs, findings)
    if len(detailed) > 1:
        longest = max(detailed, key=lambda pair: len(pair[1]["ttfts"]))
        others = [k for k, run in detailed if run is not longest[1]]
        sentence = f"{len(detailed)} runs in one file: the longest is read, the others are left out"
        findings.append(finding("several runs", others, sentence))
        detailed = [longest]
    return _requests(content, detailed[0][1], findings)


def _requests(content: Content, run: Mapping[str, Any], findings: list[Finding]) -> Imported:
    """A log where there are start times, else latencies."""
    n = len(run["ttfts"])
    ttft = _list(content, run, "ttfts", n)
    response = _response(content, run, ttft, n)
    status = _statuses(content, run, ttft, response, findings)
    lengths = {name: _list(content, run, f"{name[:-7]}_lens", n) for name in ("input_tokens", "output_tokens")}
    origin = {name: run[name] for name in ORIGIN if sayable(run.get(name))}
    if not isinstance(run.get("start_times"), list):
        columns = _latencies(ttft, response, lengths["output_tokens"], status == OK)
        frame = latency_frame(range(1, n + 1), {**columns, "status": status, **lengths})
        frame = whole_latencies(frame, findings)
        return Imported("", "", "latencies", frame, LATENCY_MAPPING, findings, origin=origin)
    columns = _steps(content, run, ttft, response, status == OK)
    frame = log_frame(range(1, n + 1), {**columns, "status": status, **lengths})
    found = Imported(
        "", "", "requests", finished(content.path, frame, findings), SERVE_MAPPING, findings, origin=origin
    )
    rate = number(run.get("request_rate"))
    if math.isfinite(rate) and rate > 0 and number(run.get("burstiness", 1.0)) == 1.0:
        found.nominal, found.nominal_rate = "poisson", rate
    return found


def _statuses(
    content: Content, run: Mapping[str, Any], ttft: np.ndarray, response: np.ndarray, findings: list[Finding]
) -> np.ndarray:
    """ok, or failed: with the last line of the error, or for latencies that are no times."""
    given = run.get("errors")
    errors = given if isinstance(given, list) else [""] * ttft.size
    if len(errors) != ttft.size:
        raise InputError(content.path, f"has {len(errors)} errors for {ttft.size} requests", "fetch it again")
    status = np.array([_status(error) for error in errors], dtype=object)
    times = (ttft >= 0) & (response > 0) & (response < LONGEST_S) & (ttft <= response + CLOCK)
    short = (status == OK) & ~times
    if short.any():
        lines = [int(k) for k in np.flatnonzero(short) + 1]
        findings.append(
            finding("unreadable", lines, f"{len(lines)} request(s) with latencies that are no times; failed")
        )
    return np.where(short, "failed: no latency", status)


def _status(error: Any) -> str:
    return f"failed: {str(error).splitlines()[-1][:80]}" if error else OK


def _latencies(ttft: np.ndarray, response: np.ndarray, output: np.ndarray, ok: np.ndarray) -> dict[str, Any]:
    gaps = output - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(ok & (gaps > 0), (response - ttft) / gaps, np.nan)
    return {"ttft_s": np.where(ok, ttft, np.nan), "response_s": np.where(ok, response, np.nan), "tpot_s": tpot}


def _steps(
    content: Content, run: Mapping[str, Any], ttft: np.ndarray, response: np.ndarray, ok: np.ndarray
) -> dict[str, Any]:
    sent = _list(content, run, "start_times", ttft.size)
    waited = np.nan_to_num(_list(content, run, "queue_times", ttft.size))
    done = np.where(ok, sent + response, np.nan)
    first = np.where(ok, sent + ttft, np.nan)
    return {
        "scheduled_s": sent - waited,
        "sent_s": sent,
        "first_token_s": first,
        "last_token_s": done,
        "done_s": done,
    }


def _response(content: Content, run: Mapping[str, Any], ttft: np.ndarray, n: int) -> np.ndarray:
    if isinstance(run.get("latencies"), list):
        return _list(content, run, "latencies", n)
    gaps = run.get("itls")
    if not isinstance(gaps, list) or len(gaps) != n:
        return np.full(n, np.nan)
    sums = [float(np.sum(numbers(one))) if isinstance(one, list) else math.nan for one in gaps]
    return ttft + np.array(sums)


def _list(content: Content, run: Mapping[str, Any], name: str, n: int) -> np.ndarray:
    values = run.get(name)
    if not isinstance(values, list):
        return np.full(n, np.nan)
    if len(values) != n:
        raise InputError(f"{content.path}, {name}", f"has {len(values)} values for {n} requests", "fetch it again")
    return numbers(values)


ORIGIN = (
    "date backend model_id tokenizer_id num_prompts request_rate burstiness max_concurrency duration completed "
    "failed"
).split()


def _summaries(rows: Sequence[int], runs: Sequence[Mapping[str, Any]], findings: list[Finding]) -> Imported:
    """Targets: mean, median and percentiles of each run."""
    table, mapping = [], {}
    for k, run in zip(rows, runs, strict=True):
        for name, value in run.items():
            match = SUMMARY.fullmatch(name)
            if match is None or not math.isfinite(number(value)):
                continue
            ours = f"{match['stat'].replace('median', 'p50')}_{METRICS[match['metric']]}_s"
            mapping[name] = Translation(name, ours, "milliseconds to seconds")
            table.append({"line": k, "metric": ours, "value": 1e-3 * number(value), "unit": "s", "theirs": name})
        for name, ours, unit in THROUGHPUTS:
            if math.isfinite(number(run.get(name))):
                mapping[name] = Translation(name, ours)
                table.append({"line": k, "metric": ours, "value": number(run[name]), "unit": unit, "theirs": name})
    return Imported("", "", "figures", figures_frame(table), list(mapping.values()), findings)


THROUGHPUTS = (
    ("request_throughput", "throughput", "requests/s"),
    ("output_throughput", "output_throughput_tokens_per_s", "tokens/s"),
    ("duration", "duration_s", "s"),
    ("requests_per_second", "throughput", "requests/s"),
    ("tokens_per_second", "throughput_tokens_per_s", "tokens/s"),
    ("elapsed_time", "duration_s", "s"),
    ("num_requests", "requests", "1"),
)


def is_latency(content: Content) -> bool:
    """`vllm bench latency`: a list of latencies and their mean."""
    record = _record(content)
    return "avg_latency" in record and isinstance(record.get("latencies"), list)


def read_latency(content: Content, options: Options) -> Imported:
    """Times of one batch; batch and lengths are not in the file and come from --level."""
    record = _record(content)
    times = numbers(record["latencies"])
    columns = {"latency_s": times, "replicate": np.arange(1, times.size + 1)}
    found = profile(content.path, range(1, times.size + 1), columns, (), options, phase="generate")
    if not options.levels:
        sentence = (
            "batch size and lengths are not in the file: give them with --level batch_size=8 "
            "--level input_tokens=32 --level output_tokens=128"
        )
        found.findings.append(Finding("no factors", (), sentence))
    found.mapping = [Translation("latencies", "latency_s", "seconds, one row a repetition"),
                     Translation("avg_latency", "(left out)", "their mean")]  # fmt: skip
    return found


def is_throughput(content: Content) -> bool:
    """`vllm bench throughput`: totals only."""
    return {"elapsed_time", "requests_per_second"} <= set(_record(content))


def read_throughput(content: Content, options: Options) -> Imported:
    """Totals of an offline run, as figures."""
    return _summaries([1], [_record(content)], [])


SGLANG = Reader("sglang", "SGLang bench_serving JSONL", is_sglang, read_serve)
SERVE = Reader("vllm-serve", "vLLM bench serve result", is_serve, read_serve)
LATENCY = Reader("vllm-latency", "vLLM bench latency result", is_latency, read_latency)
THROUGHPUT = Reader("vllm-throughput", "vLLM bench throughput result", is_throughput, read_throughput)
