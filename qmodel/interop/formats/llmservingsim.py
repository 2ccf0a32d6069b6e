"""LLMServingSim: kernel times of one layer in microseconds; composed, whole iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qmodel.errors import InputError
from qmodel.interop.cells import column
from qmodel.interop.content import Content, read_content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader

KERNELS = {
    "attention": ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
    "dense": ("layer", "tokens", "time_us"),
    "per_sequence": ("layer", "sequences", "time_us"),
}
KERNEL_NAMES = {
    "prefill_chunk": "prefill_tokens",
    "kv_prefill": "history_tokens",
    "n_decode": "batch_size",
    "kv_decode": "context_tokens",
    "layer": "layer",
    "tokens": "tokens",
    "sequences": "sequences",
}
IN_LAYER = {
    "qkv_proj": 1,
    "rotary_emb": 1,
    "o_proj": 1,
    "gate_up_proj": 1,
    "act_fn": 1,
    "down_proj": 1,
    "layernorm": 2,
}
"""Kernels of one transformer layer and how often each runs."""
ONCE = ("embedding", "final_layernorm")


def _kernel(content: Content) -> str | None:
    return next((kind for kind, names in KERNELS.items() if content.has(*names)), None)


def is_llmservingsim(content: Content) -> bool:
    """Kernel times in microseconds."""
    return _kernel(content) is not None


def read_llmservingsim(content: Content, options: Options) -> Imported:
    """Kernel times per layer; with `--layers N`, whole iterations composed of attention, dense and per-sequence."""
    kind = _kernel(content)
    if kind is None:
        raise InputError(content.path, "has none of the kernels' columns", "give attention, dense or per_sequence")
    frame = csv_frame(content)
    mapping = [Translation("time_us", "latency_s", "microseconds to seconds; one layer, one kernel")]
    names = KERNELS[kind][:-1]
    mapping += [Translation(name, KERNEL_NAMES[name]) for name in names if KERNEL_NAMES[name] != name]
    levels: dict[str, Any] = {
        KERNEL_NAMES[name]: frame[name].astype(str).to_numpy() if name == "layer" else column(frame, name)
        for name in names
    }
    times = 1e-6 * column(frame, "time_us")
    if kind == "attention":
        levels = {"phase": _phases(levels), **levels}
        if options.layers is not None:
            times = times * options.layers + _rest(content, levels, options.layers)
            note = "of all layers, with the dense kernels and the head of the files beside it"
            mapping.append(Translation("attention, dense, per_sequence", "latency_s", f"one iteration: {note}"))
    lines = [int(k) for k in frame.index]
    return profile(content.path, lines, {**levels, "latency_s": times}, list(levels), options, mapping=mapping)


def _phases(levels: dict[str, Any]) -> np.ndarray:
    only_decode, only_prefill = levels["prefill_tokens"] == 0, levels["batch_size"] == 0
    return np.where(only_decode, "decode", np.where(only_prefill, "prefill", "mixed"))


def _rest(content: Content, levels: dict[str, Any], layers: int) -> np.ndarray:
    """Time of everything but attention, s, by tokens in the iteration and sequences that leave a token."""
    dense, head = (_beside(content, kind) for kind in ("dense", "per_sequence"))
    by_token = dense.pivot_table(index="tokens", columns="layer", values="time_us")
    missing = [name for name in (*IN_LAYER, *ONCE) if name not in by_token]
    if missing:
        raise InputError(f"{content.path}, --layers", f"the dense file lacks {missing[0]}", "leave --layers out")
    inner = by_token[list(IN_LAYER)].mul(pd.Series(IN_LAYER)).sum(axis=1)
    outer = by_token[list(ONCE)].sum(axis=1)
    whole = layers * inner + outer
    last = head.groupby("sequences")["time_us"].sum()
    tokens = levels["prefill_tokens"] + levels["batch_size"]
    sequences = np.maximum(levels["batch_size"] + (levels["prefill_tokens"] > 0), 1)
    found = [np.interp(x, table.index.to_numpy(float), table.to_numpy(float), left=np.nan, right=np.nan)
             for x, table in ((tokens, whole), (sequences, last))]  # fmt: skip
    return 1e-6 * (found[0] + found[1])


def _beside(content: Content, kind: str) -> pd.DataFrame:
    """The table of `kind` in the file beside this one."""
    path = Path(content.path)
    other = read_content(path.with_name(path.name.replace("attention", kind)))
    if _kernel(other) != kind:
        raise InputError(str(other.path), f"is no table of {kind} kernels", "leave --layers out")
    return csv_frame(other)


READER = Reader("llmservingsim", "LLMServingSim kernel times", is_llmservingsim, read_llmservingsim)
