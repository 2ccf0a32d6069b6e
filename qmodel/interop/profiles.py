"""Profiles put together from other tools' measurements: one row a timed repetition, or a stated average of some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.columns import ABSENT, RUN_COLUMNS
from qmodel.fit.hygiene import Finding, finding, profile_findings
from qmodel.interop.cells import LEAST_GOOD, LEAST_S, MOST_S
from qmodel.interop.imported import OK, Imported, Translation
from qmodel.interop.reading import Options

if TYPE_CHECKING:
    import pandas as pd


LARGEST_LEVEL = 1e15
"""No factor is larger."""


def profile(
    path: str,
    index: Sequence[int],
    columns: dict[str, Any],
    factors: Sequence[str],
    options: Options,
    *,
    mapping: Sequence[Translation] = (),
    findings: Sequence[Finding] = (),
    **fixed: str,
) -> Imported:
    """A profile of these columns. `fixed` are columns with one value (target, device, phase).

    Rows whose `latency_s` is no time get a status (they stay in the table); `options.levels` adds constant
    factors. Raises InputError where hardly a row is left.
    """
    import pandas as pd

    n = len(index)
    clash = [name for name in options.levels if name in columns]
    if clash:
        raise InputError(f"--level {clash[0]}", "is a column of the file", "leave it out")
    frame = pd.DataFrame({"run_id": "", **fixed, **options.levels, **columns}, index=pd.Index(index))
    given = list(frame["status"]) if "status" in frame else [OK] * n
    told = list(findings)
    given = _levelled(frame, [name for name in factors if name in frame], given, told)
    frame["status"] = _statuses(path, frame, given, told)
    names = [*options.levels, *factors]
    for name in options.levels:
        frame[name] = pd.to_numeric(frame[name], errors="coerce").fillna(frame[name])
    told += profile_findings(frame, names)
    lead = [name for name in RUN_COLUMNS if name in frame and name != "status"]
    order = dict.fromkeys([*lead, *names, *(str(k) for k in frame if k != "status"), "status"])
    return Imported("", "", "profile", frame[list(order)], list(mapping), told, tuple(names))


def _levelled(frame: pd.DataFrame, factors: Sequence[str], given: list[str], told: list[Finding]) -> list[str]:
    """Status of each row, failed where a factor has no level: text that says nothing, no finite number."""
    lacks = np.zeros(len(frame), dtype=bool)
    for name in factors:
        values = frame[name]
        if values.dtype.kind in "iuf":
            lacks |= ~(np.abs(values.to_numpy(float)) <= LARGEST_LEVEL)
        else:
            lacks |= values.astype(str).str.lower().isin(ABSENT).to_numpy()
    if lacks.any():
        sentence = f"{int(lacks.sum())} row(s) have a factor without a level; marked failed"
        told.append(finding("unreadable", list(frame.index[lacks]), sentence))
    return [
        "failed: no level" if lack and status == OK else status for lack, status in zip(lacks, given, strict=True)
    ]


def _statuses(path: str, frame: pd.DataFrame, given: list[str], told: list[Finding]) -> list[str]:
    """Status of each row: a time that is none is a sentinel, or failed; both are told."""
    times = frame["latency_s"].to_numpy(float)
    ok = np.array([status == OK for status in given], dtype=bool)
    sentinel = ok & (times == -1)
    broken = ok & ~sentinel & ~(np.isfinite(times) & (times >= LEAST_S) & (times <= MOST_S))
    if sentinel.any():
        sentence = f"{int(sentinel.sum())} row(s) hold -1 in place of a time: out of memory"
        told.append(finding("sentinel", list(frame.index[sentinel]), sentence))
    if broken.any():
        sentence = f"{int(broken.sum())} row(s) hold no time above 0; marked failed"
        told.append(finding("unreadable", list(frame.index[broken]), sentence))
    good = int((ok & ~broken & ~sentinel).sum())
    if good == 0 or good + int(sentinel.sum()) < LEAST_GOOD * ok.sum():
        raise InputError(path, f"only {good} of {len(frame)} rows hold a time", "mend the file")
    out = np.array(given, dtype=object)
    out[sentinel], out[broken] = "out_of_memory", "failed: no time"
    frame.loc[sentinel | broken, "latency_s"] = np.nan
    return out.tolist()
