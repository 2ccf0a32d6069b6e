"""Request logs put together from other tools' fields, and looked over: order, clocks, quantised stamps, caps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.fit.lengths import heaps
from qmodel.interop.imported import LOG_COLUMNS, OK

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TIMES = ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "done_s", "started_s")
CLOCK = 1e-3
"""Two clocks of one machine may differ so much, in seconds."""
LENGTHS = ("input_tokens", "output_tokens")
STEPS = ("sent_s", "first_token_s", "done_s", *LENGTHS)
LATENCY_COLUMNS = (
    "request_id",
    "class",
    "ttft_s",
    "tpot_s",
    "response_s",
    "input_tokens",
    "output_tokens",
    "status",
)
LONE = 0.9
"""A gap of this share of the span stands alone."""
LONGEST_S = 1e7
"""No request takes longer."""
MOST_TOKENS = 1e8
"""No request is longer."""
LARGEST_SPAN_S = 100 * 366 * 86400.0


def log_frame(index: Sequence[int], columns: dict[str, Any]) -> pd.DataFrame:
    """A request log of these columns; those of the contract that are not given are empty."""
    import pandas as pd

    n = len(index)
    blank: dict[str, Any] = {"request_id": np.arange(n), "class": "requests", "exit": "", "status": OK}
    out = {name: columns.get(name, blank.get(name, np.nan)) for name in LOG_COLUMNS}
    out |= {name: values for name, values in columns.items() if name not in out}
    return pd.DataFrame(out, index=pd.Index(index))


def latency_frame(index: Sequence[int], columns: dict[str, Any]) -> pd.DataFrame:
    """Latencies and lengths of requests whose arrival times are unknown."""
    import pandas as pd

    n = len(index)
    blank: dict[str, Any] = {"request_id": np.arange(n), "class": "requests", "status": OK}
    out = {name: columns.get(name, blank.get(name, np.nan)) for name in LATENCY_COLUMNS}
    return pd.DataFrame(out, index=pd.Index(index))


def finished(path: str, frame: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame:
    """The log in order of arrival from second 0, what is wrong with it added to `findings`."""
    lost = ~np.isfinite(frame["scheduled_s"].to_numpy(float))
    if lost.all():
        raise InputError(path, "has no arrival time that is a number", "give a file with arrival times")
    if lost.any():
        lines = list(frame.index[lost])
        findings.append(finding("unreadable", lines, f"{len(lines)} row(s) have no arrival time, left out"))
        frame = frame[~lost]
    frame = _in_order(frame, findings)
    start = float(frame["scheduled_s"].iloc[0])
    for name in TIMES:
        if name in frame:
            frame[name] = frame[name].to_numpy(float) - start
    if float(frame["scheduled_s"].iloc[-1]) > LARGEST_SPAN_S:
        raise InputError(path, "spans more than a hundred years", "its times are in another unit, or damaged")
    frame = _causal(frame, findings)
    frame = _whole(frame, findings)
    findings += _lone_gap(frame)
    findings += quantised(frame)
    findings += atoms(frame)
    return frame


def _in_order(frame: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame:
    times = frame["scheduled_s"].to_numpy(float)
    falls = np.flatnonzero(np.diff(times) < 0)
    if not falls.size:
        return frame.copy()
    lines = [int(k) for k in frame.index.to_numpy()[falls + 1]]
    findings.append(finding("order", lines, f"{len(lines)} row(s) come before the one above; sorted by arrival"))
    return frame.iloc[np.argsort(times, kind="stable")].copy()


def _causal(frame: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame:
    """Rows whose steps are out of order are failed: their latencies cannot be right."""
    wrong = np.zeros(len(frame), dtype=bool)
    steps = ("sent_s", "first_token_s", "last_token_s", "done_s")
    ok = (frame["status"] == OK).to_numpy()
    for before, after in pairwise(steps):
        with np.errstate(invalid="ignore"):
            wrong |= frame[after].to_numpy(float) < frame[before].to_numpy(float) - CLOCK
    with np.errstate(invalid="ignore"):
        took = frame["done_s"].to_numpy(float) - frame["scheduled_s"].to_numpy(float)
        wrong |= (took < -CLOCK) | (took > LONGEST_S)
    wrong &= ok
    if wrong.any():
        frame.loc[wrong, "status"] = "failed: times out of order"
        sentence = f"in {int(wrong.sum())} row(s) a step comes before an earlier one or months after it; failed"
        findings.append(finding("clock", list(frame.index[wrong]), sentence))
    return frame


def _whole(frame: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame:
    """Steps and lengths that most requests have and some lack; lengths that are no lengths become empty."""
    return _told_missing(_real_lengths(frame), findings, STEPS)


def whole_latencies(frame: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame:
    """The same for requests without arrival times."""
    return _told_missing(_real_lengths(frame), findings, ("response_s", "ttft_s", *LENGTHS))


def _real_lengths(frame: pd.DataFrame) -> pd.DataFrame:
    for name in LENGTHS:
        values = frame[name].to_numpy(float)
        with np.errstate(invalid="ignore"):
            wrong = (values < 0) | (values > MOST_TOKENS) | (np.isfinite(values) & (values % 1 != 0))
        frame[name] = np.where(wrong, np.nan, values)
    return frame


def _told_missing(frame: pd.DataFrame, findings: list[Finding], names: Sequence[str]) -> pd.DataFrame:
    ok = (frame["status"] == OK).to_numpy()
    for name in names:
        lacks = ok & ~np.isfinite(frame[name].to_numpy(float))
        if not lacks.any() or lacks.sum() == ok.sum():
            continue
        rows = list(frame.index[lacks])
        findings.append(finding("missing", rows, f"{len(rows)} request(s) have no {name}, or none that can be"))
        if name == "done_s":
            frame.loc[lacks, "status"] = "failed: no end"
    return frame


def _lone_gap(frame: pd.DataFrame) -> list[Finding]:
    """One gap that is nearly the whole span: a damaged stamp, or two records in one file."""
    times = frame["scheduled_s"].to_numpy(float)
    if times.size < 20:
        return []
    gaps = np.diff(times)
    k = int(np.argmax(gaps))
    if gaps[k] < LONE * times[-1]:
        return []
    share = 100 * gaps[k] / times[-1]
    sentence = f"one gap of {gaps[k]:.4g} s is {share:.0f} % of the span: a damaged stamp, or two records"
    return [finding("gap", [int(frame.index[k + 1])], sentence)]


def quantised(frame: pd.DataFrame) -> list[Finding]:
    """Arrival stamps on a coarse grid: statistics below it mean nothing."""
    times = frame["scheduled_s"].to_numpy(float)
    if times.size < 20 or times[-1] <= 0:
        return []
    gaps = np.diff(times)
    ties = float(np.mean(gaps == 0))
    positive = gaps[gaps > 0]
    if ties < 0.05 or not positive.size:
        return []
    least = float(positive.min())
    cells = positive[:100_000] / least
    least *= float(np.mean(cells / np.rint(cells)))  # stamps are rounded themselves
    cells = positive[:100_000] / least
    if least * times.size / times[-1] < 1e-3 or np.abs(cells - np.rint(cells)).max() > 0.01:
        return []
    lines = [int(k) for k in frame.index[1:][gaps == 0]]
    sentence = (
        f"arrival stamps lie on a grid of {least:.4g} s and {100 * ties:.0f} % repeat the one before: nothing can "
        "be said of shorter times"
    )
    return [finding("quantised", lines, sentence)]


def atoms(frame: pd.DataFrame) -> list[Finding]:
    """Lengths that heap up: caps (truncation, max_tokens) and other atoms."""
    found = []
    for name in ("input_tokens", "output_tokens"):
        values = frame[name].to_numpy(float)
        for low, high, _ in heaps(values[np.isfinite(values)]):
            capped, at = high == np.nanmax(values), (values >= low) & (values <= high)
            place = f"exactly {low:g}" if low == high else f"from {low:g} to {high:g}"
            kind = "the largest of all: a cap" if capped else "an atom"
            share = 100.0 * at.sum() / np.isfinite(values).sum()
            sentence = f"{share:.1f} % of {name} are {place}, {kind}"
            found.append(finding("atom", [int(k) for k in frame.index[at]], sentence))
    return found
