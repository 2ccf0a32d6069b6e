"""Mooncake traces: milliseconds, lengths, and which blocks of a prompt were seen before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qmodel.interop.cells import number, parsed_records
from qmodel.interop.content import Content
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader
from qmodel.interop.trace_log import trace_log

MOONCAKE_BLOCK = 512
"""Tokens that one entry of `hash_ids` stands for."""


def is_mooncake(content: Content) -> bool:
    """Lines with `timestamp`, `input_length`, `output_length`."""
    return {"timestamp", "input_length", "output_length"} <= set(content.first_record)


def read_mooncake(content: Content, options: Options) -> Imported:
    """Stamps are milliseconds; `hash_ids` tell which blocks of a prompt had been seen before."""
    rows, records, findings = parsed_records(content)

    def values(name: str) -> np.ndarray:
        return np.array([number(record.get(name)) for record in records])

    frame = pd.DataFrame({name: values(name) for name in ("input_length", "output_length")}, index=rows)
    times = 1e-3 * values("timestamp")
    mapping = [
        Translation("timestamp", "scheduled_s", "milliseconds to seconds from the first"),
        Translation("input_length", "input_tokens"),
        Translation("output_length", "output_tokens"),
    ]
    columns: dict[str, Any] = {}
    if any("hash_ids" in record for record in records):
        columns["cached_tokens"] = seen_before(records)
        note = f"leading blocks of {MOONCAKE_BLOCK} tokens seen before: the most a prefix cache could save"
        mapping.append(Translation("hash_ids", "cached_tokens", note))
    lengths = ("input_length", "output_length")
    found = trace_log(content, frame, times, lengths, mapping, findings, **columns)
    if columns:
        share = float(found.frame["cached_tokens"].sum() / max(found.frame["input_tokens"].sum(), 1.0))
        found.origin["prefix_hit"] = round(share, 4)
    return found


def seen_before(records: list[dict[str, Any]]) -> np.ndarray:
    """Input tokens of each request in leading blocks that an earlier one had, shape (requests,).

    >>> seen_before([{"input_length": 600, "hash_ids": [1, 2]}, {"input_length": 900, "hash_ids": [1, 3]}])
    array([  0., 512.])
    """
    known: set[Any] = set()
    out = np.zeros(len(records))
    for k, record in enumerate(records):
        blocks = record.get("hash_ids")
        if not isinstance(blocks, list):
            continue
        blocks = [block for block in blocks if isinstance(block, int | str)]
        leading = next((j for j, block in enumerate(blocks) if block not in known), len(blocks))
        out[k] = min(leading * MOONCAKE_BLOCK, max(number(record.get("input_length")), 0.0))
        known.update(blocks)
    return np.nan_to_num(out)


READER = Reader("mooncake", "Mooncake trace", is_mooncake, read_mooncake)
