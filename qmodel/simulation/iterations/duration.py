"""How long an iteration takes: linear terms, pairs of queries and keys, interpolated tables."""

from __future__ import annotations

from qmodel.simulation.iterations.columns import NEVER, Floats, Times
from qmodel.simulation.iterations.compiling import inlined


@inlined
def cell(axis: Floats, value: float) -> tuple[int, float]:
    """Index of the interval of the axis that the value is interpolated in, and its position there.

    Below 0 or above 1 outside the axis: the outer interval's slope is continued.
    """
    last = axis.size - 1
    if last == 0:
        return 0, 0.0
    low, high = 0, last - 1  # the last interval that begins at the value or before it
    while low < high:
        middle = (low + high + 1) >> 1
        if axis[middle] <= value:
            low = middle
        else:
            high = middle - 1
    return low, (value - axis[low]) / (axis[low + 1] - axis[low])


@inlined
def interpolated(axis: Floats, values: Floats, at: float) -> float:
    """Piecewise-linear interpolation."""
    low, share = cell(axis, at)
    if axis.size == 1:
        return values[0]
    return values[low] + share * (values[low + 1] - values[low])


@inlined
def attention(times: Times, chunk: float, history: float, decodes: float, context: float) -> tuple[float, bool]:
    """Multilinear interpolation in the four axes; and whether it rests on measured cells alone."""
    at0, w0 = cell(times.chunk_at, chunk)
    at1, w1 = cell(times.history_at, history)
    at2, w2 = cell(times.decodes_at, decodes)
    at3, w3 = cell(times.context_at, context)
    total, inside = 0.0, True
    for share in (w0, w1, w2, w3):
        inside &= -1e-12 <= share <= 1.0 + 1e-12
    for corner in range(16):
        b0, b1, b2, b3 = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1, corner >> 3
        weight = (w0 if b0 else 1 - w0) * (w1 if b1 else 1 - w1) * (w2 if b2 else 1 - w2) * (w3 if b3 else 1 - w3)
        if weight != 0.0:
            total += weight * times.attention_s[at0 + b0, at1 + b1, at2 + b2, at3 + b3]
            inside &= times.known[at0 + b0, at1 + b1, at2 + b2, at3 + b3]
    return total, inside


@inlined
def duration(
    times: Times, decodes: float, context: float, prefills: int, chunk: int, history: float, drafts: int
) -> tuple[float, bool]:
    """Seconds of an iteration, and whether it lies inside the tables.

    `decodes` sequences decode with `context` tokens in all, each verifying `drafts` drafted tokens too; `prefills`
    sequences prefill `chunk` tokens in all, with `history` tokens in their caches on average.
    """
    verified = decodes * (1 + drafts)
    taken = times.base + times.per_sequence * (verified + prefills)
    taken += times.per_context * context + times.per_prefill * chunk + times.draft * drafts
    taken += times.per_pair * (verified + chunk) * (context + chunk + history * prefills)
    inside = True
    if times.tokens_at.size:
        tokens = verified + chunk
        taken += interpolated(times.tokens_at, times.tokens_s, tokens)
        inside &= times.tokens_at[0] <= tokens <= times.tokens_at[-1]
    if times.sequences_at.size:
        rows = verified + prefills
        taken += interpolated(times.sequences_at, times.sequences_s, rows)
        inside &= times.sequences_at[0] <= rows <= times.sequences_at[-1]
    if times.attention_s.size:
        mean = context / decodes if decodes > 0 else times.context_at[0]
        seconds, measured = attention(times, chunk, history if chunk > 0 else times.history_at[0], verified, mean)
        taken += seconds
        inside &= measured
    return taken, inside


@inlined
def rise(times: Times, decodes: float, context: float, drafts: int, taken_s: float) -> tuple[float, int]:
    """How much longer the next iteration takes when the same sequences decode, and for how many that holds.

    Between the levels of a table; its edges are where it begins and ends to be measured. An iteration time that
    falls with the context is looked at anew each time.
    """
    rise_s = (times.per_context + times.per_pair * decodes * (1 + drafts)) * decodes
    if times.attention_s.size == 0 or times.context_at.size == 1:
        return rise_s, NEVER
    mean, last = context / decodes, times.context_at.size - 1
    low, _ = cell(times.context_at, mean)
    history, chunk = times.history_at[0], 0.0
    now_s, _ = attention(times, chunk, history, decodes, mean)
    next_s, _ = attention(times, chunk, history, decodes, mean + 1.0)
    edge = times.context_at[low + 1]
    if mean < times.context_at[0]:
        edge = times.context_at[0]
    straight = NEVER if mean >= times.context_at[last] else int(edge - mean) + 1
    if straight == 1:
        return 0.0, 1
    rise_s += next_s - now_s
    if rise_s < 0.0:
        return 0.0, NEVER if rise_s > -1e-15 * taken_s else 1
    return rise_s, straight
