"""ServeGen: rates of clients by window, with the law of their gaps; and tables of lengths.

No requests: the windows say rate, CV and a Gamma or Weibull law; the tables say which lengths had which share.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import checked, column
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader

FAMILIES = ("Gamma", "Weibull")
COLUMNS = ("client_id", "window_start_s", "rate_rps", "iat_cv", "iat_family", "iat_param1", "iat_param2")
PAIR = re.compile(r"(\d{1,9})\s*:\s*([0-9.]+(?:[eE][-+]?\d{1,3})?)")
MOST_MEMBERS = 10_000
TABLES = {"input_tokens": "input_tokens", "text_tokens": "input_tokens", "output_tokens": "output_tokens"}


def is_windows(content: Content) -> bool:
    """With the header that names the columns, or upstream's rows without one."""
    return content.has("window_start_s", "rate_rps", "iat_cv") or _bare(content)


def _bare(content: Content) -> bool:
    """Upstream has no header: six fields, the fourth a family."""
    return len(content.header) == 6 and content.header[3] in FAMILIES


def read_windows(content: Content, options: Options) -> Imported:
    """Rate and CV of each client and window."""
    if _bare(content):
        named = Content(content.path, (",".join(COLUMNS[1:]) + "\n").encode() + content.data, content.sha256)
        frame = csv_frame(named).assign(client_id=0)
        frame.index = frame.index - 1
    else:
        frame = csv_frame(content)
    out = pd.DataFrame(
        {
            "client": frame.get("client_id", 0),
            "window_start_s": column(frame, "window_start_s"),
            "rate": column(frame, "rate_rps"),
            "gap_cv": column(frame, "iat_cv"),
            "gap_family": frame["iat_family"].astype(str) if "iat_family" in frame else "",
        },
        index=frame.index,
    )
    most = {"least": 0.0, "most": 1e9}
    rules: dict[str, dict[str, Any]] = {"window_start_s": most, "rate": most, "gap_cv": most}
    out, findings = checked(content.path, out, rules)
    total = float(out.groupby("window_start_s")["rate"].sum().mean())
    weighted = float(np.average(out["gap_cv"], weights=out["rate"])) if out["rate"].sum() > 0 else float("nan")
    origin = {
        "clients": int(out["client"].nunique()),
        "windows": int(out["window_start_s"].nunique()),
        "mean_total_rate": total,
        "rate_weighted_gap_cv": weighted,
    }
    sentence = "windows of clients, no request log: rates can be replayed, single gaps cannot"
    findings.append(Finding("scope", (), sentence))
    mapping = [
        Translation("rate_rps", "rate", "requests/s of one client in one window"),
        Translation("iat_cv", "gap_cv", "inside a window: not that of the whole"),
        Translation("iat_family", "gap_family"),
    ]
    return Imported("", "", "windows", out, mapping, findings, origin=origin)


def is_dataset(content: Content) -> bool:
    """Windows with tables of lengths as text, in JSON or a tar of them."""
    if content.is_tar:
        return True
    value = content.json
    first = next(iter(value.values()), None) if isinstance(value, dict) and value else None
    return isinstance(first, dict) and "output_tokens" in first and isinstance(first["output_tokens"], str)


def read_dataset(content: Content, options: Options) -> Imported:
    """Shares of lengths, summed over clients and windows with equal weight each."""
    documents = _members(content) if content.is_tar else [content.json]
    shares: dict[str, dict[int, float]] = {"input_tokens": {}, "output_tokens": {}}
    tables, lost = 0, 0
    for document in documents:
        for window in document.values() if isinstance(document, Mapping) else ():
            if not isinstance(window, Mapping):
                lost += 1
                continue
            for theirs, ours in TABLES.items():
                pairs = PAIR.findall(str(window.get(theirs, "")))
                tables += bool(pairs)
                for length, share in pairs:
                    shares[ours][int(length)] = shares[ours].get(int(length), 0.0) + float(share)
    if not tables:
        raise InputError(content.path, "holds no table of lengths", "fetch it again")
    rows = [
        {"field": ours, "tokens": length, "share": share / sum(table.values())}
        for ours, table in shares.items()
        for length, share in sorted(table.items())
        if sum(table.values()) > 0
    ]
    findings = [finding("unreadable", (), f"{lost} window(s) hold no tables")] if lost else []
    findings.append(Finding("scope", (), "shares by length, clients and windows weighted equally; no joint law"))
    frame = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1))
    mapping = [
        Translation("input_tokens or text_tokens", "input_tokens"),
        Translation("output_tokens", "output_tokens"),
    ]
    return Imported("", "", "figures", frame, mapping, findings, origin={"tables": tables})


def _members(content: Content) -> list[Any]:
    """JSON members of the archive, read in memory: nothing is unpacked to disk."""
    out: list[Any] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(content.data)) as archive:
            for member in archive:
                if len(out) > MOST_MEMBERS:
                    break
                file = archive.extractfile(member) if member.isfile() and member.name.endswith(".json") else None
                if file is not None:
                    out.append(_json(file.read()))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(content.path, f"is not a whole archive ({error})", "fetch it again") from None
    if not any(isinstance(one, Mapping) for one in out):
        raise InputError(content.path, "is an archive without ServeGen's tables", "give one of its datasets")
    return out


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


WINDOWS = Reader("servegen", "ServeGen client windows", is_windows, read_windows)
DATASET = Reader("servegen-lengths", "ServeGen tables of lengths", is_dataset, read_dataset)
