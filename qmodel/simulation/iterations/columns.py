"""What the loops of a batching engine read and write: records, and named tuples of arrays.

Token counts are integers. A request's *context* is its prompt and what it has generated; its key-value (KV) cache
holds one token less while it decodes, for the last token is computed in the iteration to come.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NEVER = np.iinfo(np.int64).max

WAITING, PREFILLING, DECODING, PAUSED, FREE = range(5)
"""Where a live request is; FREE: the row is nobody's."""
KEEP, DISCARD, SWAP = range(3)
"""What becomes of the KV cache of a request that pauses."""
NOTHING, RESERVE, FUTURE = range(3)
"""How admission looks ahead: not at all, at the sum of full lengths, at the memory at every future completion."""
SERVED, REJECTED, ABANDONED = range(3)
"""How a request ended: rejected (it can never fit, or the system is full), abandoned (out of patience)."""
MORE, GROW, FLUSH, OVER, THRASHING = range(5)
"""Why a loop returned: more arrivals, more rows or more room for records are needed, all is done, or hardly
anything but what was computed before is computed."""

COUNTS_OF_REQUEST = (
    "request", "class_index", "prompt", "output", "generated", "computed", "prefix", "blocks", "reserved", "chunk",
    "state", "swapped", "late", "resumed", "preemptions", "recomputed", "stage", "stages", "farthest", "cached",
    "mark", "reduced",
)  # fmt: skip
TIMES_OF_REQUEST = (
    "arrival_s",
    "patience_s",
    "start_s",
    "first_s",
    "last_s",
    "away_s",
    "encode_s",
    "digest_s",
    "digested_s",
)
COUNTS_OF_ENGINE = (
    "next", "live", "running", "decoding", "waiting", "paused", "tick", "soonest", "used", "context", "reserved",
    "iterations", "free_rows", "records", "tokens", "preemptions", "recomputed", "swapped", "spoken", "uneven",
    "outside", "balked", "computed", "samples", "peak_running", "peak_tokens", "peak_blocks",
    "freed", "reached", "caching", "long_queue",
)  # fmt: skip
TIMES_OF_ENGINE = ("now_s", "decoded_s", "extra_s", "busy_s", "sample_s", "gap_s")


def _record(counts: tuple[str, ...], times: tuple[str, ...]) -> np.dtype:
    """Rows of whole numbers and seconds whose fields are attributes, without the compiler too."""
    fields = [(name, np.int64) for name in counts] + [(name, np.float64) for name in times]
    return np.dtype((np.record, np.dtype(fields, align=True)))


LIVE = _record(COUNTS_OF_REQUEST, TIMES_OF_REQUEST)
"""A live request. `prefix`: tokens that a prefix cache holds. `late`: its last token, at `last_s`, is older than
the last decoding iteration, in which it had no part. `away_s`: seconds of pauses. `stage`, `stages`: row of the
next service, and how many follow. `farthest`: tokens once computed, before the cache was lost. `cached`, `mark`:
full blocks given back that hold its cache, and where (see `prefix_cache`). `encode_s`: seconds of encoding to come
at admission. `reduced`: its service started while the queue was long. `digest_s`, `digested_s`: when its reader
digests the last token, and the sum of those times."""

NOW = _record(COUNTS_OF_ENGINE, TIMES_OF_ENGINE)
"""The engine's present. `tick` counts decoding iterations, `soonest` is the tick at which the next request ends.
`used`: KV blocks in use; `context`: tokens of those that decode. `extra_s`: swapping and resuming due before the
next iteration. `balked`: the first in the queue goes before others that run, but was not let in yet. `uneven`: not
all that decode emitted a token when the last iteration ended. `freed`, `reached`, `caching`: see `prefix_cache`.
`long_queue`: whether the queue condition held when it was last read."""


class Arrivals(NamedTuple):
    """What arriving requests bring, in order of time; `first` is the number of the first one in the whole run.

    `prefix`: prompt tokens that a prefix cache holds. `generated` tokens come with it, its KV cache too, the last
    of them made at `spoke_s` (a request that another pool has prefilled). `born_s`: its own arrival, from which
    latency counts. `stage`, `stages`: where its later services are in `Stages`, and how many. `patience_s`: longest
    wait for the first service. `encode_s`: what its first admission adds to the iteration. `until_s`: where more
    will follow, the engine goes on to the end of the iteration under way then.
    """

    first: int
    arrival_s: Floats
    class_index: Integers
    prompt: Integers
    output: Integers
    prefix: Integers
    generated: Integers
    spoke_s: Floats
    born_s: Floats
    patience_s: Floats
    encode_s: Floats
    stage: Integers
    stages: Integers
    until_s: float


class Stages(NamedTuple):
    """Later services: the pause before each, what it adds to the prompt, and its output tokens."""

    pause_s: Floats
    prompt: Integers
    output: Integers


class Limits(NamedTuple):
    """What bounds the engine, and how it decides. `blocks` is NEVER where memory does not bind.

    `reader_s` and `awaited_s` (one entry a class): seconds a token at which a reader reads, and the expected time
    to first token; NaN where nobody asks. `exit_at`, `exit_until`: shares of an iteration's work a token may leave
    after, and the cumulated probabilities. `most_anew`: tokens that may be computed again before it is asked
    whether anything else is computed (see `loop.thrashes`). `above`, `below`, `clip`: the queue condition, and the
    most tokens of an output while it holds; `above` is NEVER where there is none, `below` without hysteresis.
    """

    max_batch: int
    max_tokens: int
    blocks: int
    block_tokens: int
    buffer: int
    prefill_first: bool
    whole_prompt: bool
    lookahead: int
    preemptive: bool
    volatile: bool
    swap: bool
    caching: bool
    swap_s: float
    resume_s: float
    most_anew: int
    drafts: int
    acceptance: float
    exit_at: Floats
    exit_until: Floats
    exit_stops: bool
    kv_of_pause: Integers
    reader_s: Floats
    awaited_s: Floats
    prompt_s: float
    token_s: float
    seed: int
    jumps: bool
    sample_s: float
    timeline: bool
    above: int
    below: int
    clip: int


class Times(NamedTuple):
    """Iteration time: linear terms, pairs of queries and keys, and tables.

    The tables are over tokens, sequences and (chunk, history, decodes, context). Empty ones add nothing.
    `attention` is on the grid of the four axes; `known` says which cells were measured.
    """

    base: float
    per_sequence: float
    per_context: float
    per_prefill: float
    per_pair: float
    draft: float
    tokens_at: Floats
    tokens_s: Floats
    sequences_at: Floats
    sequences_s: Floats
    chunk_at: Floats
    history_at: Floats
    decodes_at: Floats
    context_at: Floats
    attention_s: NDArray[np.float64]
    known: NDArray[np.bool_]


class Engine(NamedTuple):
    """The state of an engine between two iterations.

    `running` holds the rows in order of admission, `ends` the tick at which each emits its last token. The heaps
    of waiting and paused requests have a key, the request's number for ties, and its row. `cached` holds the rows
    of those whose cache may be found again, in the order of the queue of free blocks. `shift` counts decoding
    requests by how full their last block is (see `memory`).
    """

    now: Any
    live: Any
    free: Integers
    running: Integers
    ends: Integers
    wait_key: Floats
    wait_tie: Integers
    wait_row: Integers
    back_key: Floats
    back_tie: Integers
    back_row: Integers
    cached: Integers
    shift: Integers


class Records(NamedTuple):
    """What became of requests, in the order in which they left; times in seconds on the arrivals' clock."""

    request: Integers
    class_index: Integers
    ended: Integers
    arrival_s: Floats
    start_s: Floats
    first_s: Floats
    done_s: Floats
    away_s: Floats
    prompt: Integers
    output: Integers
    preemptions: Integers
    recomputed: Integers
    qoe: Floats
    reduced: Integers


class Sinks(NamedTuple):
    """What is gathered over a run: gaps between tokens by logarithmic bin, samples of the state, token times."""

    gaps: Integers
    sampled_s: Floats
    sampled: Integers
    token_request: Integers
    token_s: Floats


GAP_BINS, BINS_PER_OCTAVE, LEAST_OCTAVE = 8192, 128, -32


def blank_engine(rows: int, block_tokens: int) -> Engine:
    """An empty engine with room for so many live requests."""
    now = np.zeros(1, dtype=NOW)
    now["soonest"], now["free_rows"] = NEVER, rows
    live = np.zeros(rows, dtype=LIVE)
    live["state"] = FREE
    heaps = [np.empty(rows, dtype=kind) for kind in (np.float64, np.int64, np.int64) * 2]
    free = np.arange(rows, dtype=np.int64)[::-1].copy()
    lists = (np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64))
    cached = np.empty(rows, dtype=np.int64)
    columns: list[Any] = [now, live, free, *lists, *heaps, cached, np.zeros(block_tokens, dtype=np.int64)]
    return Engine(*columns)


def grown(engine: Engine) -> Engine:
    """The same engine with room for twice as many live requests."""
    rows = engine.live.size
    larger = blank_engine(2 * rows, engine.shift.size)
    for name in Engine._fields:
        getattr(larger, name)[: getattr(engine, name).size] = getattr(engine, name)
    larger.live["state"][rows:] = FREE
    added = np.arange(2 * rows - 1, rows - 1, -1, dtype=np.int64)
    unused = int(engine.now["free_rows"][0])
    larger.free[:rows], larger.free[rows : rows + unused] = added, engine.free[:unused]
    larger.now["free_rows"] = rows + unused
    return larger


def blank_records(rows: int) -> Records:
    """Room for so many records."""
    kinds = {"arrival_s", "start_s", "first_s", "done_s", "away_s", "qoe"}
    columns: list[Any] = [np.empty(rows, dtype=np.float64 if n in kinds else np.int64) for n in Records._fields]
    return Records(*columns)
