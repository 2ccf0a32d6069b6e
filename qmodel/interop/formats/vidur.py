"""Vidur profiling tables: a mean of about 20 repetitions an operator and cell, in milliseconds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import column
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader

STATS = "time_stats."
VIDUR_FACTORS = {
    "num_tokens": "tokens",
    "num_tensor_parallel_workers": "tensor_parallel",
    "batch_size": "batch_size",
    "prefill_chunk_size": "prefill_tokens",
    "kv_cache_size": "context_tokens",
    "num_workers": "workers",
    "size": "message_bytes",
    "devices_per_node": "devices_per_node",
}
GEMMS = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")
FASTEST_FLOPS = 5e15
"""No device multiplies matrices faster than this many operations a second (dense, 2026)."""


def is_vidur(content: Content) -> bool:
    """Columns `time_stats.OPERATOR.mean`."""
    return any(name.startswith(STATS) and name.endswith(".mean") for name in content.header)


def read_vidur(content: Content, options: Options) -> Imported:
    """One row an operator and cell: the mean of about 20 repetitions, with their median, least and largest.

    Phase `gemm` is the sum of the matrix products of a layer, where all four are there.
    """
    frame = csv_frame(content)
    operators = [name[len(STATS) : -len(".mean")] for name in content.header
                 if name.startswith(STATS) and name.endswith(".mean")]  # fmt: skip
    factors = {theirs: ours for theirs, ours in VIDUR_FACTORS.items() if theirs in frame}
    levels = {ours: column(frame, theirs) for theirs, ours in factors.items()}
    parts = [_operator(frame, name, levels) for name in operators]
    if set(GEMMS) <= set(operators):
        parts.append(_products(frame, levels))
    table = pd.concat(parts)
    table = table[table.pop("given").to_numpy(bool)]
    table = table[table[list(levels)].notna().all(axis=1)]
    mapping = [
        Translation(f"{STATS}OPERATOR.mean", "latency_s, phase = OPERATOR", "milliseconds to seconds; a mean")
    ]
    mapping += [Translation(theirs, ours) for theirs, ours in factors.items() if theirs != ours]
    if set(GEMMS) <= set(operators):
        mapping.append(Translation(" + ".join(GEMMS), "latency_s, phase = gemm", "one layer's matrix products"))
    findings = [
        Finding("averages", (), "each row is a mean of about 20 repetitions: no replicates, no noise to see")
    ]
    findings += _flops(frame)
    columns = {str(name): table[name].to_numpy() for name in table}
    lines = [int(k) for k in table.index]
    return profile(content.path, lines, columns, ["phase", *levels], options, mapping=mapping, findings=findings)


def _operator(frame: pd.DataFrame, name: str, levels: dict[str, np.ndarray]) -> pd.DataFrame:
    out = pd.DataFrame({"phase": name, **levels}, index=frame.index)
    stats = [column for column in frame if str(column).startswith(f"{STATS}{name}.")]
    out["given"] = frame[stats].notna().any(axis=1)  # prefill has no decode times, and the other way round
    for stat, ours in (("mean", "latency_s"), ("median", "latency_median_s"), ("std", "latency_std_s")):
        theirs = f"{STATS}{name}.{stat}"
        out[ours] = 1e-3 * column(frame, theirs) if theirs in frame else np.nan
    return out


def _products(frame: pd.DataFrame, levels: dict[str, np.ndarray]) -> pd.DataFrame:
    out = pd.DataFrame({"phase": "gemm", **levels}, index=frame.index)
    out["given"] = True
    out["latency_s"] = 1e-3 * np.sum([column(frame, f"{STATS}{name}.mean") for name in GEMMS], axis=0)
    return out


def _flops(frame: pd.DataFrame) -> list[Finding]:
    """Rows that would need more operations a second than any device has: a wrong unit, or copied cells."""
    needed = (
        "num_tokens",
        "n_embd",
        "n_expanded_embd",
        "num_tensor_parallel_workers",
        f"{STATS}mlp_down_proj.mean",
    )
    if not set(needed) <= set(frame):
        return []
    tokens, width, inner, parallel, time_ms = (column(frame, name) for name in needed)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = 2.0 * tokens * width * inner / parallel / (1e-3 * time_ms)
    fast = np.flatnonzero(rate > FASTEST_FLOPS)
    if not fast.size:
        return []
    lines = [int(k) for k in frame.index.to_numpy()[fast]]
    sentence = (
        f"{len(lines)} row(s) imply more than {FASTEST_FLOPS:.0e} operations/s: not milliseconds, or not measured"
    )
    return [finding("too fast", lines, sentence)]


READER = Reader("vidur", "Vidur profiling table", is_vidur, read_vidur)
