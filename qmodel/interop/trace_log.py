"""Traces as request logs: arrival times and lengths, rows without either left out and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import checked, column
from qmodel.interop.content import Content
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.logs import finished, log_frame

LENGTH = {"least": 0.0, "most": 1e8, "whole": True}
"""Lengths are whole numbers."""


def trace_log(
    content: Content,
    frame: pd.DataFrame,
    times_s: np.ndarray,
    lengths: tuple[str, str],
    mapping: list[Translation],
    findings: list[Finding],
    **columns: Any,
) -> Imported:
    """A request log of arrival times and lengths, rows without either left out and named."""
    values = {"scheduled_s": times_s, "input_tokens": column(frame, lengths[0])}
    values |= {"output_tokens": column(frame, lengths[1])}
    log = log_frame([int(k) for k in frame.index], values | columns)
    rules: dict[str, dict[str, Any]] = {"scheduled_s": {}, "input_tokens": LENGTH, "output_tokens": LENGTH}
    log, told = checked(content.path, log, rules)
    findings += told
    log = finished(content.path, log, findings)
    findings += _no_output(log)
    return Imported("", "", "requests", log, mapping, findings)


def _no_output(log: pd.DataFrame) -> list[Finding]:
    empty = log.index[log["output_tokens"].to_numpy(float) == 0]
    if not len(empty):
        return []
    return [finding("sentinel", list(empty), f"{len(empty)} row(s) have 0 output tokens: failed requests")]
