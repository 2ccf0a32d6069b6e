"""qmodel's own files: profiles and request logs."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.columns import RUN_COLUMNS
from qmodel.fit.hygiene import Finding, profile_findings
from qmodel.interop.cells import LEAST_S, MOST_S, bad, column, kept
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import LOG_COLUMNS, Imported
from qmodel.interop.logs import TIMES, finished
from qmodel.interop.reading import Options, Reader
from qmodel.service.units import SUFFIXES


def is_profile(content: Content) -> bool:
    """A CSV with latency_s and no arrival times."""
    return content.has("latency_s") and "scheduled_s" not in content.header


def is_log(content: Content) -> bool:
    """A CSV of requests with their scheduled times."""
    return content.has("scheduled_s") or content.has("arrival_s")


def read_profile(content: Content, options: Options) -> Imported:
    """As it is, its cells checked."""
    frame = csv_frame(content)
    if "status" not in frame:
        frame["status"] = "ok"
    ok = (frame["status"] == "ok").to_numpy()
    times = column(frame, "latency_s")
    fault, findings = bad(times[ok], "latency_s", [int(k) for k in frame.index[ok]], least=LEAST_S, most=MOST_S)
    wrong = np.zeros(len(frame), dtype=bool)
    wrong[np.flatnonzero(ok)[fault]] = True
    frame["latency_s"] = times
    frame = kept(content.path, frame, [wrong], findings)
    factors = tuple(
        name for name in map(str, frame) if name not in RUN_COLUMNS and not name.endswith((*SUFFIXES, "_at", "_ms"))
    )
    findings += profile_findings(frame, factors)
    return Imported("", "", "profile", frame, findings=findings, factors=factors)


def read_log(content: Content, options: Options) -> Imported:
    """As it is, in order of arrival; `arrival_s` alone is enough."""
    frame = csv_frame(content)
    if "scheduled_s" not in frame:
        frame = frame.rename(columns={"arrival_s": "scheduled_s"})
    findings: list[Finding] = []
    for name in (*TIMES, "input_tokens", "output_tokens"):
        if name in frame:
            frame[name] = column(frame, name)
    least = float(frame["scheduled_s"].min())
    if least < 0:
        raise InputError(content.path, f"has an arrival at {least:g} s", "give seconds from the start of the run")
    blank: dict[str, Any] = {"request_id": np.arange(len(frame)), "class": "requests", "exit": "", "status": "ok"}
    for name in LOG_COLUMNS:
        if name not in frame:
            frame[name] = blank.get(name, np.nan)
    frame["status"] = frame["status"].fillna("ok").astype(str)
    frame = frame[[*LOG_COLUMNS, *(name for name in frame if name not in LOG_COLUMNS)]]
    return Imported("", "", "requests", finished(content.path, frame, findings), findings=findings)


PROFILE = Reader("profile", "qmodel profile CSV", is_profile, read_profile)
LOG = Reader("log", "qmodel request log", is_log, read_log)
