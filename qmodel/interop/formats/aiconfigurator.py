"""aiconfigurator: kernel times (parquet, milliseconds) and what whole servers delivered (`silicon_sample.csv`)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

from qmodel.errors import InputError, MissingExtra
from qmodel.fit.hygiene import finding, served_findings
from qmodel.interop.cells import LEAST_S, MOST_S, bad, column, kept
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader

RENAMED = {"isl": "input_tokens", "step": "context_tokens", "op_name": "phase"}
NOT_FACTORS = ("framework", "version", "device", "latency", "power", "power_limit")
SERVED = ("silicon_ttft_ms", "silicon_tpot_ms")


def is_kernels(content: Content) -> bool:
    """Parquet; which kernel is seen when it is read."""
    return content.is_parquet


def read_kernels(content: Content, options: Options) -> Imported:
    """Kernel times with their shapes as factors. Raises MissingExtra without pyarrow."""
    frame = _table(content)
    if not {"op_name", "latency"} <= set(frame):
        raise InputError(
            content.path, "has no columns op_name and latency", "give a *_perf.parquet of aiconfigurator"
        )
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    names = [name for name in map(str, frame) if name not in NOT_FACTORS]
    names = [name for name in names if frame[name].nunique() > 1 or name == "op_name"]
    columns: dict[str, Any] = {RENAMED.get(name, name): frame[name].to_numpy() for name in names}
    columns["latency_s"] = 1e-3 * column(frame, "latency")
    mapping = [Translation("latency", "latency_s", "milliseconds to seconds; one kernel of one layer")]
    mapping += [Translation(theirs, ours) for theirs, ours in RENAMED.items() if theirs in frame]
    if "power" in frame:
        columns["power_w"] = column(frame, "power")
        mapping.append(Translation("power", "power_w", "watts"))
    fixed = {ours: str(frame[theirs].iloc[0]) for theirs, ours in (("device", "device"), ("framework", "target"))
             if theirs in frame and frame[theirs].nunique() == 1}  # fmt: skip
    factors = [RENAMED.get(name, name) for name in names]
    columns |= fixed
    return profile(content.path, range(1, len(frame) + 1), columns, factors, options, mapping=mapping)


def _table(content: Content) -> pd.DataFrame:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    try:
        return parquet.read_table(io.BytesIO(content.data)).to_pandas()
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(content.path, f"is no whole parquet table ({str(error)[:80]})", "fetch it again") from None


def is_silicon(content: Content) -> bool:
    """TTFT and TPOT of served configurations."""
    return content.has("silicon_ttft_ms", "silicon_tpot_ms", "isl", "osl")


def read_silicon(content: Content, options: Options) -> Imported:
    """Served figures, one row a configuration and concurrency."""
    frame = csv_frame(content)
    renames = {"isl": "input_tokens", "osl": "output_tokens", "batch_size": "concurrency", "system": "device",
               "model_path": "target", "tp_size": "tensor_parallel"}  # fmt: skip
    out = frame.drop(columns=list(SERVED)).rename(columns=renames)
    for theirs, ours in zip(SERVED, ("mean_ttft_s", "mean_tpot_s"), strict=True):
        out[ours] = 1e-3 * column(frame, theirs)
    faults, findings = [], []
    for name in ("mean_ttft_s", "mean_tpot_s"):
        given = frame[SERVED[name == "mean_tpot_s"]].notna().to_numpy()
        fault, told = bad(
            np.where(given, out[name], 1.0), name, [int(k) for k in out.index], least=LEAST_S, most=MOST_S
        )
        faults.append(fault)
        findings += told
    out = kept(content.path, out, faults, findings)
    pairs = frame.loc[out.index, list(SERVED)]
    again = pairs.duplicated() & pairs.notna().all(axis=1)
    if again.any():
        sentence = f"{int(again.sum())} row(s) repeat an earlier (TTFT, TPOT) pair to the last digit: copies"
        findings.append(finding("copies", list(out.index[again]), sentence))
    findings += served_findings({"TTFT": "", "TPOT": "", "concurrency": ""})
    mapping = [
        Translation("silicon_ttft_ms", "mean_ttft_s", "milliseconds to seconds; queueing included"),
        Translation("silicon_tpot_ms", "mean_tpot_s", "milliseconds to seconds; batching included"),
        *(Translation(theirs, ours) for theirs, ours in renames.items() if theirs in frame),
    ]
    return Imported("", "", "figures", out, mapping, findings)


KERNELS = Reader("aiconfigurator", "aiconfigurator kernel times (parquet)", is_kernels, read_kernels)
SILICON = Reader("aiconfigurator-silicon", "aiconfigurator served figures", is_silicon, read_silicon)
