"""Mooncake traces: milliseconds, lengths, and which blocks of a prompt were seen before."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qmodel.interop.cells import each_record, number, told_lost
from qmodel.interop.content import Content
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader
from qmodel.interop.trace_log import trace_log

FIELDS = ("input_length", "output_length", "timestamp")
MOONCAKE_BLOCK = 512
"""Tokens that one entry of `hash_ids` stands for."""
LARGEST_ID = 50_000_000
"""Block ids from here on are kept in a set."""


def is_mooncake(content: Content) -> bool:
    """Lines with `timestamp`, `input_length`, `output_length`."""
    return {"timestamp", "input_length", "output_length"} <= set(content.first_record)


def read_mooncake(content: Content, options: Options) -> Imported:
    """Stamps are milliseconds; `hash_ids` tell which blocks of a prompt had been seen before."""
    rows, values, lost = array("q"), array("d"), []
    seen = SeenBlocks()
    for k, record in each_record(content):  # a record at a time: a million of them with their blocks would not fit
        if not isinstance(record, dict):
            lost.append(k)
            continue
        rows.append(k)
        values.extend((*(number(record.get(name)) for name in FIELDS), seen.tokens(record)))
    findings = told_lost(content.path, len(rows), lost)
    table = np.array(values).reshape(-1, len(FIELDS) + 1)
    frame = pd.DataFrame(table[:, :2], columns=list(FIELDS[:2]), index=pd.Index(np.array(rows)))
    mapping = [
        Translation("timestamp", "scheduled_s", "milliseconds to seconds from the first"),
        Translation("input_length", "input_tokens"),
        Translation("output_length", "output_tokens"),
    ]
    if not seen.any:
        return trace_log(content, frame, 1e-3 * table[:, 2], FIELDS[:2], mapping, findings)
    note = f"leading blocks of {MOONCAKE_BLOCK} tokens seen before: the most a prefix cache could save"
    mapping.append(Translation("hash_ids", "cached_tokens", note))
    cached = {"cached_tokens": table[:, 3]}
    found = trace_log(content, frame, 1e-3 * table[:, 2], FIELDS[:2], mapping, findings, **cached)
    share = float(found.frame["cached_tokens"].sum() / max(found.frame["input_tokens"].sum(), 1.0))
    found.origin["prefix_hit"] = round(share, 4)
    return found


class SeenBlocks:
    """The blocks of earlier prompts, as a prefix cache without bound would hold them.

    >>> seen = SeenBlocks()
    >>> seen.tokens({"input_length": 600, "hash_ids": [1, 2]})
    0.0
    >>> seen.tokens({"input_length": 900, "hash_ids": [1, 3]})
    512.0
    """

    def __init__(self) -> None:
        self.any = False
        self._small = bytearray()  # one byte an id: ids count up from 0, and a set of millions would not fit
        self._others: set[int | str] = set()

    def tokens(self, record: Mapping[str, Any]) -> float:
        """Input tokens of the request in leading blocks that an earlier one had; its blocks join them."""
        given = record.get("hash_ids")
        mine = [block for block in given if isinstance(block, int | str)] if isinstance(given, list) else []
        leading = next((j for j, block in enumerate(mine) if not self._has(block)), len(mine))
        for block in mine[leading:]:
            self._add(block)
        length = number(record.get("input_length"))
        return min(float(leading * MOONCAKE_BLOCK), length) if length > 0 else 0.0

    def _has(self, block: int | str) -> bool:
        if isinstance(block, int) and 0 <= block < LARGEST_ID:
            return block < len(self._small) and bool(self._small[block])
        return block in self._others

    def _add(self, block: int | str) -> None:
        self.any = True
        if not (isinstance(block, int) and 0 <= block < LARGEST_ID):
            self._others.add(block)
            return
        if block >= len(self._small):
            self._small.extend(bytes(max(block + 1 - len(self._small), len(self._small))))
        self._small[block] = 1


READER = Reader("mooncake", "Mooncake trace", is_mooncake, read_mooncake)
