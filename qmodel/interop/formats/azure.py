"""Azure LLM inference traces (2023, 2024): dates and lengths."""

from __future__ import annotations

import numpy as np
import pandas as pd

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader
from qmodel.interop.trace_log import trace_log


def is_azure(content: Content) -> bool:
    """Its three columns."""
    return content.has("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read_azure(content: Content, options: Options) -> Imported:
    """Stamps are dates with seven decimals."""
    frame = csv_frame(content, ("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
    findings: list[Finding] = []
    stamps = _dates(content.path, frame["TIMESTAMP"])
    mapping = [
        Translation("TIMESTAMP", "scheduled_s", "date and time to seconds from the first request"),
        Translation("ContextTokens", "input_tokens"),
        Translation("GeneratedTokens", "output_tokens"),
    ]
    return trace_log(content, frame, stamps, ("ContextTokens", "GeneratedTokens"), mapping, findings)


def _dates(path: str, given: pd.Series) -> np.ndarray:
    """Dates as seconds, NaN where there is none."""
    if given.dtype.kind in "iufb":
        raise InputError(f"{path}, column TIMESTAMP", "holds no dates", "Azure writes 2023-11-16 18:15:46.6805900")
    text = given.astype(str)
    text = text.where(text.str.match(r"\d"), "")  # pandas reads "today" as a date
    stamps = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
    if stamps.notna().sum() == 0:
        raise InputError(f"{path}, column TIMESTAMP", "holds no dates", "Azure writes 2023-11-16 18:15:46.6805900")
    whole = stamps.dt.as_unit("ns").astype("int64").to_numpy()
    valid = stamps.notna().to_numpy()
    return np.where(valid, 1e-9 * (whole - whole[valid].min()), np.nan)


READER = Reader("azure", "Azure LLM inference trace", is_azure, read_azure)
