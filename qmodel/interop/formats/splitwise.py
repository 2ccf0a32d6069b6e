"""Splitwise: prompt, token and end-to-end times of Llama-2 70B, in milliseconds, five replicates a cell.

Some cells contradict themselves: the whole should be the first token plus the gaps after it, and is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import column
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.floors import memory_findings, weight_bytes
from qmodel.interop.imported import OK, Imported, Translation
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader

SPLITWISE = ("prompt_size", "batch_size", "token_size", "prompt_time", "token_time", "e2e_time", "tensor_parallel")
APART, STOPPED = 3.0, 0.8
"""End-to-end time over the sum of its parts: above, the cell is invalid; below, generation stopped early."""


def is_splitwise(content: Content) -> bool:
    """Its columns of prompt, token and end-to-end time."""
    return content.has(*SPLITWISE)


def read_splitwise(content: Content, options: Options) -> Imported:
    """Phases prefill, decode (time between tokens) and generate; cells that contradict themselves are named."""
    frame = csv_frame(content)
    times = {phase: 1e-3 * column(frame, name) for phase, name in
             (("prefill", "prompt_time"), ("decode", "token_time"), ("generate", "e2e_time"))}  # fmt: skip
    levels: dict[str, Any] = {
        "device": frame["hardware"].astype(str).to_numpy() if "hardware" in frame else "",
        "tensor_parallel": column(frame, "tensor_parallel"),
        "batch_size": column(frame, "batch_size"),
        "input_tokens": column(frame, "prompt_size"),
        "output_tokens": column(frame, "token_size"),
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = times["generate"] / (times["prefill"] + (levels["output_tokens"] - 1.0) * times["decode"])
    findings = _contradictions(frame, levels, ratio)
    status = np.where(ratio > APART, "failed: parts and whole disagree", OK)
    stopped = np.where(ratio < STOPPED, "failed: stopped early", status)
    statuses = {"prefill": status, "decode": status, "generate": stopped}
    tables = [
        pd.DataFrame({"phase": phase, **levels, "latency_s": latency, "status": statuses[phase]}, index=frame.index)
        for phase, latency in times.items()
    ]
    table = pd.concat(tables)
    mapping = [
        Translation("prompt_time", "latency_s, phase = prefill", "milliseconds to seconds"),
        Translation("token_time", "latency_s, phase = decode", "milliseconds to seconds; TBT, one iteration"),
        Translation("e2e_time", "latency_s, phase = generate", "milliseconds to seconds"),
        Translation("hardware", "device"),
        Translation("prompt_size, token_size", "input_tokens, output_tokens"),
    ]
    target = str(frame["model"].iloc[0]) if "model" in frame and frame["model"].nunique() == 1 else "splitwise"
    names = ["phase", *levels]
    columns = {str(name): table[name].to_numpy() for name in table}
    lines = [int(k) for k in table.index]
    made = profile(content.path, lines, columns, names, options, mapping=mapping, findings=findings, target=target)
    size = weight_bytes(target)
    if size is not None:  # each iteration reads all weights once
        decode = made.frame[made.frame["phase"] == "decode"]
        made.findings += memory_findings(decode.assign(status=OK), size)
    return made


def _contradictions(frame: pd.DataFrame, levels: dict[str, Any], ratio: np.ndarray) -> list[Finding]:
    found = []
    cells = pd.DataFrame({**levels, "ratio": ratio, "line": frame.index})
    for key, cell in cells[ratio > APART].groupby(list(levels), sort=True):
        names = dict(zip(levels, key, strict=True))
        sentence = (
            f"on {names['device']} with tensor_parallel = {names['tensor_parallel']:g}, batch_size = "
            f"{names['batch_size']:g} the whole takes {cell['ratio'].median():.0f} times the sum of its parts: "
            "out of memory, requests ran one after another; marked failed in every phase"
        )
        found.append(finding("implausible", [int(k) for k in cell["line"]], sentence))
    early = [int(k) for k in frame.index[ratio < STOPPED]]
    if early:
        sentence = f"{len(early)} rows end before their output is written (stopped early); failed in phase generate"
        found.append(finding("implausible", early, sentence))
    return found


READER = Reader("splitwise", "Splitwise measurements", is_splitwise, read_splitwise)
