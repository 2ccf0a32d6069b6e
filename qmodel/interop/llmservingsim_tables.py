"""LLMServingSim's profiles of one layer, read as a composed iteration time; and its records of real vLLM runs.

A profile (version 1) is three CSV files, times in microseconds: `dense` (layer, tokens), `attention` (prefill_chunk
after kv_prefill tokens, beside n_decode sequences of kv_decode tokens each), `per_sequence` (lm_head and sampler by
sequences). They were taken with one transformer layer; the model has `layers` of them. The older
attention files (version 0) have prefill and decode apart, in milliseconds, with the context summed over the batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.service.composed import AttentionTable, ComposedTime, Curve

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

IN_A_BLOCK = {
    "layernorm": 2, "qkv_proj": 1, "rotary_emb": 1, "o_proj": 1, "gate_up_proj": 1, "act_fn": 1, "down_proj": 1,
}  # fmt: skip
"""How often a layer of this name occurs in a transformer block: one norm before attention, one before the MLP."""
IN_A_MODEL = ("embedding", "final_layernorm")
"""Layers that a model has once."""
MICROSECOND, MILLISECOND = 1e-6, 1e-3
GRID = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
OLDER_HISTORY = np.array([0.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 1536.0])
OLDER_CONTEXT: NDArray[np.float64] = np.array([2.0**power for power in range(5, 17)])
"""Levels that the older files are read at: tokens before the chunk, and context a sequence."""
OLDER = ("batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill")


def read_tables(
    dense: Path, attention: Path, per_sequence: Path, *, layers: int, occurrences: Mapping[str, int] | None = None
) -> ComposedTime:
    """The iteration time of a model of so many layers.

    `occurrences` tells how often a layer occurs in a block, where it is not one of Llama's. Raises InputError that
    names file and column or layer.
    """
    if layers < 1:
        raise InputError("layers", f"{layers} is below 1", "give the model's number of transformer blocks")
    return ComposedTime(
        dense=_dense(dense, layers, {**IN_A_BLOCK, **(occurrences or {})}),
        head=_by_level(per_sequence, "sequences"),
        attention=read_attention(attention).scaled(layers),
        name=f"{layers} layers of {attention.name.removesuffix('_attention.csv')}",
    )


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(str(path), f"cannot be read: {error}", "give a CSV file of the profile") from error
    missing = next((name for name in columns if name not in table), None)
    if missing is not None:
        raise InputError(f"{path}, column {missing}", "is missing", f"the file has {', '.join(map(str, table))}")
    numbers = table[[name for name in columns if name != "layer"]]
    wrong = numbers.apply(pd.to_numeric, errors="coerce").isna().any(axis=1) | (numbers.to_numpy() < 0).any(axis=1)
    if not len(table) or wrong.any():
        row = int(np.argmax(wrong)) + 2 if len(table) else 2
        raise InputError(f"{path}, line {row}", "holds no measurement", "give numbers >= 0")
    return table


def _layers(path: Path, level: str) -> pd.DataFrame:
    """Seconds by level (rows) and layer (columns)."""
    table = _table(path, ("layer", level, "time_us"))
    return table.pivot_table(index=level, columns="layer", values="time_us") * MICROSECOND


def _curve(path: Path, found: pd.Series) -> Curve:
    if found.isna().any():
        raise InputError(
            str(path), f"misses a layer at {found.index[found.isna()][0]}", "profile every layer there"
        )
    return Curve(found.index.to_numpy(dtype=float), found.to_numpy(dtype=float))


def _dense(path: Path, layers: int, in_a_block: Mapping[str, int]) -> Curve:
    table = _layers(path, "tokens")
    names = [str(name) for name in table]
    unknown = next((name for name in names if name not in in_a_block and name not in IN_A_MODEL), None)
    if unknown is not None:
        known = [*in_a_block, *IN_A_MODEL]
        raise InputError(f"{path}, layer {unknown}", "is unknown", f"{nearest(unknown, known)} or give occurrences")
    often = {name: 1 if name in IN_A_MODEL else layers * in_a_block[name] for name in names}
    return _curve(path, sum(table[name] * times for name, times in often.items()))  # type: ignore[arg-type]


def _by_level(path: Path, level: str) -> Curve:
    table = _layers(path, level)
    return _curve(path, table.sum(axis=1, skipna=False))


def read_attention(path: Path) -> AttentionTable:
    """The attention of one layer; cells that were not measured stay empty. Raises InputError."""
    import pandas as pd

    try:
        names = set(pd.read_csv(path, nrows=0))
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(str(path), f"cannot be read: {error}", "give a CSV file of the profile") from error
    return _older_attention(path) if "is_prefill" in names else _grid_attention(path)


def _grid_attention(path: Path) -> AttentionTable:
    table = _table(path, (*GRID, "time_us"))
    chunk, history, decodes = (_with_zero(table[name]) for name in GRID[:3])
    context = np.unique(table.kv_decode[table.kv_decode > 0]).astype(float)
    taken = np.full((chunk.size, history.size, decodes.size, context.size), np.nan)
    seconds = table.time_us.to_numpy() * MICROSECOND
    at = [np.searchsorted(axis, table[name]) for axis, name in zip((chunk, history, decodes), GRID, strict=False)]
    alone = (table.n_decode == 0).to_numpy()
    taken[at[0][alone], at[1][alone], 0] = seconds[alone][:, None]
    with_decodes = [each[~alone] for each in at] + [np.searchsorted(context, table.kv_decode[~alone])]
    taken[tuple(with_decodes)] = seconds[~alone]
    taken[0] = taken[0, :1]  # without a chunk, history says nothing
    taken[0, :, 0] = 0.0
    return AttentionTable(chunk, history, decodes, context, taken)


def _with_zero(values: pd.Series) -> Floats:
    return np.union1d([0.0], values.to_numpy(dtype=float))


def _older_attention(path: Path) -> AttentionTable:
    """Prefill and decode measured apart: an iteration with both takes the sum."""
    table = _table(path, OLDER)
    together = table.is_prefill.astype(bool)
    prompts, decodes = table[together], table[~together]
    before = (prompts.kv_cache_size - prompts.prefill_chunk_size).clip(lower=0)
    taken = prompts["time_stats.attn_prefill.mean"] * MILLISECOND
    chunk, prefill = _resampled(prompts.prefill_chunk_size, before, taken, lambda _: OLDER_HISTORY)
    prefill[0] = 0.0
    taken = decodes["time_stats.attn_decode.mean"] * MILLISECOND
    sizes, decode = _resampled(decodes.batch_size, decodes.kv_cache_size, taken, lambda size: OLDER_CONTEXT * size)
    decode[0] = 0.0
    both = np.add(prefill[:, :, None, None], decode)
    return AttentionTable(chunk, OLDER_HISTORY, sizes, OLDER_CONTEXT, both)


def _resampled(
    groups: pd.Series, at: pd.Series, taken_s: pd.Series, wanted: Callable[[float], Floats]
) -> tuple[Floats, Floats]:
    """Zero and the groups, and for each the times at the levels wanted, interpolated; NaN where not measured."""
    levels = _with_zero(groups)
    rows = np.full((levels.size, wanted(0.0).size), np.nan)
    for row, level in enumerate(levels[1:], start=1):
        mean = taken_s[groups == level].groupby(at[groups == level]).mean()
        rows[row] = np.interp(wanted(level), mean.index.to_numpy(dtype=float), mean, left=np.nan, right=np.nan)
    return levels, rows


@dataclass(frozen=True)
class RecordedRun:
    """A recorded run of a serving engine, requests in order of arrival; seconds from the first arrival."""

    arrival_s: Floats
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    first_token_s: Floats
    last_token_s: Floats

    @property
    def response_s(self) -> Floats:
        """From arrival to the last token."""
        return self.last_token_s - self.arrival_s

    @property
    def ttft_s(self) -> Floats:
        """From arrival to the first token."""
        return self.first_token_s - self.arrival_s


def read_run(path: Path) -> RecordedRun:
    """A `requests.jsonl` of a vLLM run: arrivals on the wall clock, the rest on the engine's monotonic clock.

    The clocks are aligned by the request that the engine took in fastest, as if that took no time.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        names = ("arrival_time", "queued_ts", "first_token_ts", "last_token_ts", "input_toks", "output_toks")
        columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), f"cannot be read: {error}", "give a requests.jsonl of a vLLM run") from error
    if not rows:
        raise InputError(str(path), "holds no request", "give a requests.jsonl of a vLLM run")
    order = np.argsort(columns["arrival_time"], kind="stable")
    columns = {name: column[order] for name, column in columns.items()}
    start = columns["arrival_time"][0]
    shift = float((columns["queued_ts"] - columns["arrival_time"]).min())
    return RecordedRun(
        columns["arrival_time"] - start,
        columns["input_toks"].astype(np.int64),
        columns["output_toks"].astype(np.int64),
        columns["first_token_ts"] - shift - start,
        columns["last_token_ts"] - shift - start,
    )
