"""What many streams of tokens come to together, and the older forms of quality: exact functions of timelines.

A timeline is the token times of one request (s). A reader is described by when the first token is awaited and by a
reading speed (`qmodel.metrics.one_stream.digested`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.metrics.one_stream import digested, token_times

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def qoe_by_area(
    token_s: ArrayLike, *, awaited_s: float, tokens_per_s: float, penalty: float = 1.0
) -> float:  # fmt: skip
    """Quality of experience S_actual / S_expected, the first version of Andes: a ratio of areas, 0 to 1.

    S_actual is the area under the tokens taken in, a curve that starts at the first token and climbs no faster than
    the reading speed; S_expected that under min((t - awaited) tokens_per_s, tokens); both up to the moment at which
    the last token is taken in. `penalty` alpha multiplies by alpha^(seconds that the first token is late). Equal to
    `qmodel.metrics.one_stream.qoe` up to the width of a token (here tokens are steps, not a fluid, in both).

    >>> reader = {"awaited_s": 1.0, "tokens_per_s": 5.0}
    >>> steady = 0.2 * np.arange(100)
    >>> halves = np.repeat([1.0, 10.0], 50)
    >>> timelines = (1.0 + steady, 6.0 + steady, 1.0 + 2 * steady, halves)
    >>> [round(qoe_by_area(times, **reader), 3) for times in timelines]
    [1.0, 0.664, 0.667, 1.0]
    >>> round(qoe_by_area(6.0 + steady, penalty=0.9, **reader), 3)
    0.392
    """
    if not 0 <= penalty <= 1:
        raise InputError("qoe, penalty", f"{penalty} is out of range", "give 0 to 1")
    taken_in = digested(token_s, awaited_s=awaited_s, tokens_per_s=tokens_per_s)
    ideal = awaited_s + np.arange(taken_in.size) / tokens_per_s
    end = taken_in[-1]
    expected, actual = float((end - ideal).sum()), float((end - taken_in).sum())
    late = max(0.0, float(token_times(token_s, -math.inf)[0]) - awaited_s)
    return (actual / expected if expected > 0 else 1.0) * penalty**late


def reader_idle(token_s: ArrayLike, *, awaited_s: float, tokens_per_s: float) -> float:
    """Seconds that the reader waits with nothing left to read: the end of reading less the ideal one.

    A buffer of early tokens hides a pause; what it does not hide is idle time.

    >>> reader_idle([1.0, 1.0, 3.0], awaited_s=1.0, tokens_per_s=2.0)
    1.0
    """
    taken_in = digested(token_s, awaited_s=awaited_s, tokens_per_s=tokens_per_s)
    return float(taken_in[-1] - awaited_s - (taken_in.size - 1) / tokens_per_s)


def smooth_benefit(
    token_s: ArrayLike, *, awaited_s: float, tokens_per_s: float, per_idle_s: float | None = None
) -> float:  # fmt: skip
    """Benefit of a stream: tokens less a penalty for the time its reader waits, at least 0.

    The penalty is linear, `per_idle_s` tokens a second (the reading speed, if not given): what would have been read
    meanwhile. The source leaves its form open; any that grows with the idle time keeps the two properties that
    the metric is for: holding tokens back, or dropping a request, never raises it.

    >>> smooth_benefit([1.0, 1.0, 3.0], awaited_s=1.0, tokens_per_s=2.0)
    1.0
    """
    idle = reader_idle(token_s, awaited_s=awaited_s, tokens_per_s=tokens_per_s)
    price = tokens_per_s if per_idle_s is None else per_idle_s
    return max(0.0, np.asarray(token_s).size - price * idle)


def smooth_goodput(
    timelines: Iterable[ArrayLike], span_s: float, *, awaited_s: Sequence[float], tokens_per_s: float,
    per_idle_s: float | None = None,
) -> float:  # fmt: skip
    """Sum of the benefits of all streams, per second of the span. `awaited_s`: when each first token is awaited.

    A dropped request is an empty timeline: it adds nothing.

    >>> smooth_goodput([[1.0, 1.5], []], 2.0, awaited_s=[1.0, 1.0], tokens_per_s=2.0)
    1.0
    """
    if not span_s > 0:
        raise InputError("smooth goodput, span_s", f"{span_s} is no span", "give seconds above 0")
    total = sum(
        smooth_benefit(times, awaited_s=awaited, tokens_per_s=tokens_per_s, per_idle_s=per_idle_s)
        for times, awaited in zip(timelines, awaited_s, strict=True)
        if np.size(times)
    )
    return total / span_s


def token_goodput(tokens: ArrayLike, met: ArrayLike, span_s: float) -> float:
    """Tokens a second of requests that meet all their limits.

    >>> token_goodput([100, 50, 10], [True, False, True], 11.0)
    10.0
    """
    if not span_s > 0:
        raise InputError("token goodput, span_s", f"{span_s} is no span", "give seconds above 0")
    return float(np.asarray(tokens, dtype=float)[np.asarray(met, dtype=bool)].sum()) / span_s


def attainment(met: ArrayLike) -> float:
    """Share of requests that meet all their limits; NaN without any.

    >>> attainment([True, False, True, True])
    0.75
    """
    values = np.asarray(met, dtype=bool)
    return float(values.mean()) if values.size else math.nan


def slowdown(response_s: ArrayLike, size_s: ArrayLike) -> float:
    """Mean of response / size, the size being the time alone.

    >>> slowdown([2.0, 9.0], [1.0, 3.0])
    2.5
    """
    sizes = np.asarray(size_s, dtype=float)
    if not (sizes > 0).all():
        raise InputError("slowdown, size_s", "holds a size that is not positive", "leave such requests out")
    return float((np.asarray(response_s, dtype=float) / sizes).mean())


def fairness(values: ArrayLike) -> float:
    """Jain's index (sum x)^2 / (n sum x^2): 1 if all are equal, 1/n if one has everything.

    >>> fairness([1.0, 1.0, 1.0]), fairness([1.0, 0.0, 0.0, 0.0])
    (1.0, 0.25)
    """
    x = np.asarray(values, dtype=float)
    square = float((x**2).sum())
    if x.size == 0 or (x < 0).any() or square == 0:
        raise InputError("fairness", "needs amounts >= 0, one above 0", "leave the others out")
    return float(x.sum()) ** 2 / (x.size * square)


def joules_per_token(power_w: ArrayLike, at_s: ArrayLike, tokens: float) -> float:
    """Integral of sampled power (trapezoids) over the tokens made meanwhile.

    >>> joules_per_token([100.0, 300.0, 300.0], [0.0, 1.0, 2.0], 250)
    2.0
    """
    if not tokens > 0:
        raise InputError("joules per token, tokens", f"{tokens} is not positive", "measure a span with tokens")
    return float(np.trapezoid(np.asarray(power_w, dtype=float), np.asarray(at_s, dtype=float))) / tokens


def mean_quality(qualities: ArrayLike, shares: ArrayLike) -> float:
    """Quality of a mix: sum of share times quality, shares summing to 1.

    >>> mean_quality([1.0, 0.9], [0.75, 0.25])
    0.975
    """
    weights = np.asarray(shares, dtype=float)
    if not math.isclose(float(weights.sum()), 1.0, rel_tol=1e-9) or (weights < 0).any():
        raise InputError("quality, shares", "do not sum to 1", "give the share of each part")
    return float(np.asarray(qualities, dtype=float) @ weights)
