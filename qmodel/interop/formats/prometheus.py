"""Prometheus text of a server's `/metrics`: vLLM's and llama.cpp's own figures, waiting measured directly.

Histograms give means exactly (sum over count) and percentiles by linear interpolation inside a bucket, which is
said: the true value lies in the bucket.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.content import Content
from qmodel.interop.figures import figures_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader

SAMPLE = re.compile(r"(?P<name>(?:vllm|llamacpp)[:_][A-Za-z0-9_:]+)(?:\{(?P<labels>[^}]*)\})?\s+(?P<value>\S+)")
LESS = re.compile(r'le="([^"]+)"')
HISTOGRAMS = {
    "request_queue_time_seconds": ("wait_s", "until the first service: measured by the server"),
    "request_prefill_time_seconds": ("prefill_s", ""),
    "request_decode_time_seconds": ("decode_s", ""),
    "time_to_first_token_seconds": ("ttft_s", "from arrival at the server"),
    "time_per_output_token_seconds": ("itl_s", "the gaps between tokens"),
    "inter_token_latency_seconds": ("itl_s", "the gaps between tokens"),
    "request_time_per_output_token_seconds": ("tpot_s", ""),
    "e2e_request_latency_seconds": ("response_s", "from arrival at the server"),
    "iteration_tokens_total": ("iteration_tokens", "tokens of an iteration"),
    "request_prompt_tokens": ("input_tokens", ""),
    "request_generation_tokens": ("output_tokens", ""),
}
GAUGES = {
    "num_requests_running": ("running", "1"),
    "num_requests_waiting": ("waiting", "1"),
    "kv_cache_usage_perc": ("kv_cache_share", "1"),
    "gpu_cache_usage_perc": ("kv_cache_share", "1"),
    "num_preemptions_total": ("preemptions", "1"),
    "prompt_tokens_total": ("total_input_tokens", "tokens"),
    "generation_tokens_total": ("total_output_tokens", "tokens"),
    "requests_processing": ("running", "1"),
    "requests_deferred": ("waiting", "1"),
    "n_busy_slots_per_decode": ("mean_busy_slots", "1"),
    "n_decode_total": ("iterations", "1"),
}
PERCENTS = (50.0, 95.0, 99.0)


def is_metrics(content: Content) -> bool:
    """Text with samples of vLLM or llama.cpp."""
    if content.is_parquet or content.is_tar or content.looks_like_json:
        return False
    return re.search(r"^(?:vllm|llamacpp)[:_]\w+", content.text[:200_000], re.MULTILINE) is not None


def read(content: Content, options: Options) -> Imported:
    """Figures since the server started: sums over all label sets."""
    plain: dict[str, float] = {}
    buckets: dict[str, dict[float, float]] = {}
    first: dict[str, int] = {}
    findings: list[Finding] = []
    lost = []
    for k, line in content.lines():
        match = SAMPLE.match(line.strip())
        if match is None:
            continue
        name, value = re.split(r"[:_]", match["name"], maxsplit=1)[1], _float(match["value"])
        if not math.isfinite(value) or value < 0:
            lost.append(k)
            continue
        first.setdefault(name.removesuffix("_sum").removesuffix("_count").removesuffix("_bucket"), k)
        edge = LESS.search(match["labels"] or "")
        if name.endswith("_bucket") and edge is not None:
            counts = buckets.setdefault(name.removesuffix("_bucket"), {})
            counts[_float(edge[1])] = counts.get(_float(edge[1]), 0.0) + value
        else:
            plain[name] = plain.get(name, 0.0) + value
    if lost:
        findings.append(finding("unreadable", lost, f"{len(lost)} sample(s) are no number >= 0, left out"))
    table, mapping = [], []
    for theirs, (ours, note) in HISTOGRAMS.items():
        rows = list(_histogram(theirs, ours, plain, buckets.get(theirs, {})))
        table += [row | {"line": first.get(theirs, 0)} for row in rows]
        if rows:
            mapping.append(Translation(theirs, f"mean_{ours}, percentiles", note))
    for theirs, (ours, unit) in GAUGES.items():
        if theirs in plain:
            row = {"metric": ours, "value": plain[theirs], "unit": unit, "theirs": theirs}
            table.append(row | {"line": first.get(theirs, 0)})
            mapping.append(Translation(theirs, ours))
    if not table:
        raise InputError(content.path, "holds none of the known metrics of vLLM or llama.cpp", "fetch it again")
    sentence = "counted since the server started: warm-up and earlier runs are in these figures"
    findings.append(Finding("scope", (), sentence))
    return Imported("", "", "figures", figures_frame(table), mapping, findings)


def _histogram(
    theirs: str, ours: str, plain: dict[str, float], buckets: dict[float, float]
) -> Iterator[dict[str, object]]:
    count, total = plain.get(f"{theirs}_count", 0.0), plain.get(f"{theirs}_sum")
    unit = "s" if ours.endswith("_s") else "tokens"
    if count > 0 and total is not None:
        row = {"metric": f"mean_{ours}", "value": total / count, "unit": unit, "theirs": f"{theirs}_sum/_count"}
        yield row
    for percent in PERCENTS:
        value = interpolated(buckets, percent / 100.0)
        if value is not None:
            yield {"metric": f"p{percent:g}_{ours}", "value": value, "unit": unit, "theirs": f"{theirs}_bucket"}


def interpolated(buckets: dict[float, float], share: float) -> float | None:
    """Quantile of cumulative buckets, linear inside its bucket; None where it lies beyond the last finite edge,
    or where counts fall.

    >>> interpolated({1.0: 50.0, 2.0: 100.0, math.inf: 100.0}, 0.75)
    1.5
    """
    edges = sorted(edge for edge in buckets if edge == edge)
    counts = [buckets[edge] for edge in edges]
    if not edges or counts[-1] <= 0 or counts != sorted(counts):
        return None
    wanted, below, low = share * buckets[edges[-1]], 0.0, 0.0
    for edge in edges:
        if buckets[edge] >= wanted:
            inside = buckets[edge] - below
            return None if math.isinf(edge) or inside <= 0 else low + (edge - low) * (wanted - below) / inside
        below, low = buckets[edge], edge
    return None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


READER = Reader("metrics", "server's /metrics (Prometheus text)", is_metrics, read)
