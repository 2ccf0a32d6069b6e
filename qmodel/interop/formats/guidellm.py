"""guidellm: its JSON (gz or not) holds requests, its CSV summaries.

Names differ: `inter_token_latency_ms` is everyone else's TPOT, and `time_per_output_token_ms` includes the first
token. Its "poisson" is not Poisson: every worker draws the same gaps from the same seed, so each gap is used up to
`worker_count` times in a row (seen in 0.8.1); what the arrivals are is tested, never believed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import number, sayable
from qmodel.interop.content import Content
from qmodel.interop.figures import figures_frame
from qmodel.interop.imported import OK, Imported, Translation
from qmodel.interop.logs import finished, log_frame
from qmodel.interop.reading import Options, Reader

MAPPING = [
    Translation("timings.targeted_start", "scheduled_s", "from the first"),
    Translation("timings.request_start", "sent_s"),
    Translation("timings.first_token_iteration", "first_token_s"),
    Translation("timings.last_token_iteration", "last_token_s"),
    Translation("timings.request_end", "done_s"),
    Translation("prompt_tokens, output_tokens", "input_tokens, output_tokens"),
    Translation("inter_token_latency_ms", "TPOT", "not the gaps between tokens: everyone else's TPOT"),
    Translation("time_per_output_token_ms", "(left out)", "includes the time to first token"),
    Translation("request_latency", "done_s - sent_s", "response time here counts from scheduled_s"),
]
UNIX_ERA = 1e8
"""A target time before 1973 was never set."""
GROUPS = {"successful": OK, "errored": "failed: error", "incomplete": "failed: incomplete"}


def is_json(content: Content) -> bool:
    """`benchmarks` with their requests."""
    value = content.json
    return isinstance(value, dict) and isinstance(value.get("benchmarks"), list)


def read_json(content: Content, options: Options) -> Imported:
    """Requests of the benchmark that has most of them."""
    benchmarks = [one for one in content.json["benchmarks"] if isinstance(one, dict)]
    if not benchmarks:
        raise InputError(content.path, "holds no benchmark", "fetch it again")
    sizes = [sum(len(requests) for requests in _groups(one).values()) for one in benchmarks]
    k = int(np.argmax(sizes))
    findings: list[Finding] = []
    if len(benchmarks) > 1:
        others = [j + 1 for j in range(len(benchmarks)) if j != k]
        sentence = f"{len(benchmarks)} benchmarks in one file: number {k + 1}, the longest, is read"
        findings.append(finding("several runs", others, sentence))
    rows = [
        (request, status) for name, status in GROUPS.items() for request in _groups(benchmarks[k]).get(name, [])
    ]
    rows = [(request, status) for request, status in rows if isinstance(request, Mapping)]
    if not rows:
        raise InputError(content.path, "holds no request", "run guidellm with its requests saved")
    return _log(content, rows, _strategy(benchmarks[k]), findings)


def _groups(benchmark: Mapping[str, Any]) -> dict[str, list[Any]]:
    requests = benchmark.get("requests")
    if not isinstance(requests, Mapping):
        return {}
    return {name: value for name, value in requests.items() if isinstance(value, list)}


def _strategy(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    config = benchmark.get("config")
    strategy = config.get("strategy") if isinstance(config, Mapping) else None
    return dict(strategy) if isinstance(strategy, Mapping) else {}


def _log(
    content: Content, rows: list[tuple[Any, str]], strategy: dict[str, Any], findings: list[Finding]
) -> Imported:
    timings = [_timings(request) for request, _ in rows]

    def stamp(name: str) -> np.ndarray:
        return np.array([number(one.get(name)) for one in timings])

    due, sent = stamp("targeted_start"), stamp("request_start")
    index = list(range(1, len(rows) + 1))
    with np.errstate(invalid="ignore"):
        unset = np.isfinite(sent) & (sent > UNIX_ERA) & ~(due > UNIX_ERA)
    if unset.any():
        sentence = f"{int(unset.sum())} target time(s) were never set; the time of sending stands in for them"
        findings.append(finding("uninitialised", list(np.flatnonzero(unset) + 1), sentence))
        due = np.where(unset, sent, due)
    frame = log_frame(
        index,
        {
            "scheduled_s": due,
            "sent_s": sent,
            "first_token_s": stamp("first_token_iteration"),
            "last_token_s": stamp("last_token_iteration"),
            "done_s": stamp("request_end"),
            "input_tokens": np.array([number(request.get("prompt_tokens")) for request, _ in rows]),
            "output_tokens": np.array([number(request.get("output_tokens")) for request, _ in rows]),
            "status": [status for _, status in rows],
        },
    )
    lost = (frame["status"] == OK) & ~np.isfinite(frame["done_s"])
    if lost.any():
        frame.loc[lost, "status"] = "failed: no end"
        findings.append(
            finding("unreadable", list(frame.index[lost]), "successful requests without an end; failed")
        )
    frame = finished(content.path, frame, findings)
    kind, rate = strategy.get("type_"), number(strategy.get("rate"))
    origin = {name: strategy[name] for name in ("type_", "rate", "random_seed", "worker_count", "max_concurrency")
              if sayable(strategy.get(name))}  # fmt: skip
    return Imported(
        "", "", "requests", frame, MAPPING, findings, origin=origin,
        nominal=kind if isinstance(kind, str) else None,
        nominal_rate=rate if kind == "poisson" and math.isfinite(rate) and rate > 0 else None,
    )  # fmt: skip


def _timings(request: Mapping[str, Any]) -> Mapping[str, Any]:
    info = request.get("info")
    timings = info.get("timings") if isinstance(info, Mapping) else None
    return timings if isinstance(timings, Mapping) else {}


FIGURES = {
    "Request Latency": ("response_s", "from sending"),
    "Scheduled Latency": ("response_s", "from schedule"),
    "Time to First Token": ("ttft_s", ""),
    "Inter Token Latency": ("tpot_s", "everyone else's TPOT"),
    "Time per Output Token": ("(left out)", "includes the time to first token"),
}
UNITS = {"sec": 1.0, "ms": 1e-3, "us": 1e-6}
STATS = {"Mean": "mean", "Median": "p50", "Std Dev": "std"}


def is_csv(content: Content) -> bool:
    """Three header lines, the first of groups."""
    return len(content.header) > 3 and {"Benchmark", "Timings", "Request Latency"} <= set(content.header)


def read_csv(content: Content, options: Options) -> Imported:
    """Summaries: the unit is read from the second line of the header."""
    try:
        lines = list(csv.reader(io.StringIO(content.text)))
    except csv.Error as error:
        raise InputError(content.path, f"is not CSV ({error})", "fetch it again") from None
    if len(lines) < 4:
        raise InputError(content.path, "has fewer than three header lines and a row", "fetch it again")
    groups, units, stats = lines[:3]
    table, mapping = [], {}
    for k, row in enumerate(lines[3:], 4):
        for group, unit, stat, cell in zip(groups, units, stats, row, strict=False):
            if group not in FIGURES or stat not in STATS or not unit.startswith("Successful"):
                continue
            ours, note = FIGURES[group]
            scale, value = UNITS.get(unit.rpartition(" ")[2].lower()), _float(cell)
            mapping[group] = Translation(f"{group} ({unit})", ours, note)
            if scale is None or not math.isfinite(value) or value < 0 or ours == "(left out)":
                continue
            name = f"{STATS[stat]}_{ours}"
            table.append(
                {"line": k, "metric": name, "value": value * scale, "unit": "s", "theirs": f"{group} {stat}"}
            )
    return Imported("", "", "figures", figures_frame(table), list(mapping.values()))


def _float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


JSON = Reader("guidellm", "guidellm result", is_json, read_json)
CSV = Reader("guidellm-csv", "guidellm summary CSV", is_csv, read_csv)
