"""Times faster than a device's memory could feed: who reads N bytes cannot be done before N / bandwidth."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.datasheets import device_named
from qmodel.fit.hygiene import Finding, floor_findings

if TYPE_CHECKING:
    import pandas as pd

BYTES_PER_WEIGHT = 2.0
"""16-bit weights."""


def weight_bytes(model: str) -> float | None:
    """Bytes of a model's weights at 16 bits, from the size in its name; None where it names none.

    >>> weight_bytes("llama2-70b"), weight_bytes("Meta-Llama-3.1-8B"), weight_bytes("sdxl")
    (140000000000.0, 16000000000.0, None)
    """
    match = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)b(?![a-z0-9])", model.lower())
    return None if match is None else float(match[1]) * 1e9 * BYTES_PER_WEIGHT


def memory_findings(rows: pd.DataFrame, bytes_read: float, device: str | None = None) -> list[Finding]:
    """Rows with status ok below the floor of their device (or of `device`), `tensor_parallel` of them at once.

    Devices without a known data sheet are passed over, unless `device` names one: then InputError is raised.
    """
    found = []
    ok = rows[rows["status"] == "ok"]
    names = [device] if device is not None else sorted(set(ok["device"].astype(str))) if "device" in ok else []
    for name in names:
        mine = ok if device is not None else ok[ok["device"].astype(str) == name]
        try:
            sheet = device_named(name)
        except InputError:
            if device is not None:
                raise
            continue
        many = mine["tensor_parallel"].to_numpy(float) if "tensor_parallel" in mine else np.ones(len(mine))
        for count in np.unique(many[np.isfinite(many)]):
            found += floor_findings(mine[many == count], bytes_read, count * sheet.bandwidth)
    return found
