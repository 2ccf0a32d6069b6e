"""What the reader of a stream of tokens sees: exact functions of one request's token times.

Times are seconds on one clock, tokens in order. Definitions are vLLM's; the quality of experience is that of Andes
(Liu et al., arXiv 2404.16283).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def token_times(token_s: ArrayLike, scheduled_s: float = 0.0) -> Floats:
    """The times as an array. Raises InputError unless they are finite, in order, and none before `scheduled_s`.

    >>> token_times([0.5, 0.7]).tolist()
    [0.5, 0.7]
    """
    times = np.asarray(token_s, dtype=float)
    if times.ndim != 1 or not times.size:
        raise InputError("token times", f"have shape {times.shape}", "give one time or more")
    if not np.isfinite(times).all():
        raise InputError("token times", "are not all finite numbers", "leave the request out")
    if times[0] < scheduled_s or (np.diff(times) < 0).any():
        raise InputError("token times", "run backwards", "sort them, from the scheduled time on")
    return times


def ttft(token_s: ArrayLike, scheduled_s: float = 0.0) -> float:
    """Time to first token: first token - scheduled.

    >>> ttft([1.5, 1.75], scheduled_s=1.0)
    0.5
    """
    return float(token_times(token_s, scheduled_s)[0] - scheduled_s)


def e2e(token_s: ArrayLike, scheduled_s: float = 0.0) -> float:
    """End-to-end latency: last token - scheduled.

    >>> e2e([1.5, 1.75], scheduled_s=1.0)
    0.75
    """
    return float(token_times(token_s, scheduled_s)[-1] - scheduled_s)


def itl(token_s: ArrayLike) -> Floats:
    """Inter-token latencies: each gap between tokens.

    >>> itl([1.0, 1.25, 1.75]).tolist()
    [0.25, 0.5]
    """
    return np.diff(token_times(token_s, -math.inf))


def tpot(token_s: ArrayLike) -> float:
    """Time per output token after the first: (E2E - TTFT) / (tokens - 1); NaN for a single token.

    >>> tpot([1.0, 1.25, 1.75])
    0.375
    """
    times = token_times(token_s, -math.inf)
    return float((times[-1] - times[0]) / (times.size - 1)) if times.size > 1 else math.nan


def digested(token_s: ArrayLike, *, awaited_s: float, tokens_per_s: float) -> Floats:
    """When a reader has taken in each token: not before it is there, and no faster than they read.

    d_1 = max(t_1, awaited), d_k = max(t_k, d_(k-1) + 1 / tokens_per_s): tokens that come early wait in a buffer.

    >>> digested([1.0, 1.0, 3.0], awaited_s=1.0, tokens_per_s=2.0).tolist()
    [1.0, 1.5, 3.0]
    """
    if not (tokens_per_s > 0 and math.isfinite(tokens_per_s) and math.isfinite(awaited_s)):
        raise InputError("qoe, tokens_per_s", f"{tokens_per_s} is no reading speed", "give tokens/s above 0")
    times, each = token_times(token_s, -math.inf), 1.0 / tokens_per_s
    # d_k - k/v is the running maximum of t_j - j/v, and of the awaited time
    ahead = np.maximum.accumulate(np.maximum(times - each * np.arange(times.size), awaited_s))
    return ahead + each * np.arange(times.size)


def qoe(token_s: ArrayLike, *, awaited_s: float, tokens_per_s: float) -> float:
    """Quality of experience 1 - S_delay / S_whole, between 0 and 1.

    The ideal reader takes in token k at e_k = awaited + (k-1) / tokens_per_s, the real one at d_k (`digested`).
    S_delay = sum of d_k - e_k. S_whole = sum of d_n - e_k, which makes lengths comparable and agrees with the ratio
    of areas of Andes' first version, S_actual / S_expected up to the end. 1 if nothing is late.

    100 tokens read at 5 tokens/s, the first awaited after 1 s: on time; the first one 5 s late; at half the speed;
    50 at once, a pause of 9 s that the buffer hides, 50 more:

    >>> reader = {"awaited_s": 1.0, "tokens_per_s": 5.0}
    >>> steady = 0.2 * np.arange(100)
    >>> halves = np.repeat([1.0, 10.0], 50)
    >>> timelines = (1.0 + steady, 6.0 + steady, 1.0 + 2 * steady, halves)
    >>> [round(qoe(times, **reader), 3) for times in timelines]
    [1.0, 0.664, 0.667, 1.0]
    """
    taken_in = digested(token_s, awaited_s=awaited_s, tokens_per_s=tokens_per_s)
    ideal = awaited_s + np.arange(taken_in.size) / tokens_per_s
    delay = float((taken_in - ideal).sum())
    whole = float((taken_in[-1] - ideal).sum())
    return 1.0 if delay <= 1e-9 * max(1.0, abs(float(taken_in[-1])) * taken_in.size) else 1.0 - delay / whole


def meets(
    token_s: ArrayLike, scheduled_s: float = 0.0, *, response_s: float = math.inf, ttft_s: float = math.inf,
    tpot_s: float = math.inf,
) -> bool:  # fmt: skip
    """Whether a request meets all these limits; a single token has no TPOT to miss.

    >>> meets([0.5, 0.75], ttft_s=0.5, tpot_s=0.2)
    False
    """
    each = tpot(token_s)
    in_time = e2e(token_s, scheduled_s) <= response_s and ttft(token_s, scheduled_s) <= ttft_s
    return in_time and not each > tpot_s


def goodput(met: ArrayLike, span_s: float) -> float:
    """Requests a second that meet all their limits, over a span of seconds.

    >>> goodput([True, False, True], 4.0)
    0.5
    """
    if not span_s > 0:
        raise InputError("goodput, span_s", f"{span_s} is no span", "give seconds above 0")
    return float(np.count_nonzero(met)) / span_s
