"""Tokens as they come out: gaps between them, the reader who digests them, and the log of their times."""

from __future__ import annotations

import math
from typing import Any

from qmodel.simulation.iterations.columns import (
    BINS_PER_OCTAVE,
    GAP_BINS,
    LEAST_OCTAVE,
    Engine,
    Limits,
    Sinks,
)
from qmodel.simulation.iterations.compiling import inlined, part


@inlined
def gap_bin(seconds: float) -> int:
    """Logarithmic bin of a gap: 128 an octave, from 2^-32 s on."""
    if seconds <= 0.0:
        return 0
    return min(max(int((math.log2(seconds) - LEAST_OCTAVE) * BINS_PER_OCTAVE), 0), GAP_BINS - 1)


@inlined
def count_gap(engine: Engine, sinks: Sinks, seconds: float, times: int) -> None:
    """Count a gap between tokens that occurs so many times."""
    sinks.gaps[gap_bin(seconds)] += times
    engine.now[0].gap_s += seconds * times


@inlined
def count_rising_gaps(engine: Engine, sinks: Sinks, first_s: float, rise_s: float, rounds: int, times: int) -> None:
    """Count gaps first, first + rise, ... of so many iterations, each `times` times, bin by bin."""
    engine.now[0].gap_s += times * rounds * (first_s + 0.5 * rise_s * (rounds - 1))
    counted = 0
    while counted < rounds:
        now_bin = gap_bin(first_s + rise_s * counted)
        until = rounds
        if rise_s > 0.0:
            edge = 2.0 ** (LEAST_OCTAVE + (now_bin + 1) / BINS_PER_OCTAVE)
            until = min(rounds, max(counted + 1, math.ceil((edge - first_s) / rise_s)))
        sinks.gaps[now_bin] += times * (until - counted)
        counted = until


@part
def last_token_s(engine: Engine, request: Any) -> float:
    """When a decoding request emitted its last token."""
    return request.last_s if request.late else max(request.last_s, engine.now[0].decoded_s)


@inlined
def is_heard(limits: Limits, request: Any) -> bool:
    """Whether anybody asks for the times of the request's tokens."""
    return limits.timeline or limits.reader_s[request.class_index] > 0.0


@part
def speak(engine: Engine, limits: Limits, sinks: Sinks, request: Any, token: int, at_s: float) -> None:
    """Token number `token` (from 1) is out: the reader digests it, the log notes it.

    d_1 = max(t_1, awaited), d_k = max(t_k, d_(k-1) + reader_s): nobody reads a token before it is there, nor faster
    than they read.
    """
    if limits.timeline:
        sinks.token_request[engine.now[0].spoken] = request.request
        sinks.token_s[engine.now[0].spoken] = at_s
        engine.now[0].spoken += 1
    each = limits.reader_s[request.class_index]
    if each > 0.0:
        earliest = request.arrival_s + limits.awaited_s[request.class_index]
        if token > 1:
            earliest = request.digest_s + each
        request.digest_s = max(at_s - request.away_s, earliest)
        request.digested_s += request.digest_s


@part
def experience(limits: Limits, request: Any) -> float:
    """Quality of experience of a request that has emitted all its tokens (see `qmodel.metrics.one_stream.qoe`)."""
    each = limits.reader_s[request.class_index]
    if not each > 0.0:
        return math.nan
    count, end = request.output, request.digest_s
    first = request.arrival_s + limits.awaited_s[request.class_index]
    whole = count * (end - first) - each * (0.5 * count * (count - 1))
    lost = request.digested_s - count * first - each * (0.5 * count * (count - 1))
    if lost <= 1e-9 * abs(request.digested_s):
        return 1.0
    return 1.0 - lost / whole
