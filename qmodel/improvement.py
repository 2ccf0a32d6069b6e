"""What a strategy brings against a baseline, in per cent, with its interval.

Runs under two settings that share their arrivals and sizes are compared request by request, so that the
interval is that of the difference, not of two independent runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from qmodel.errors import InputError
from qmodel.statistics.intervals import BATCHES, CONFIDENCE, Interval, improvement

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


def paired_responses(
    log: pd.DataFrame, baseline: pd.DataFrame, class_name: str = "all"
) -> tuple[ArrayLike, ArrayLike]:
    """Response times (s) of the requests that both logs finished, in order of schedule.

    Raises InputError when the two runs do not share a schedule.
    """
    both = log.merge(baseline, on="request_id", suffixes=("", "_baseline"))
    if not np.allclose(both.scheduled_s, both.scheduled_s_baseline) or len(both) < min(len(log), len(baseline)):
        raise InputError(
            "improvement", "the two runs had different arrivals", "draw both from the same seed and rate"
        )
    kept = both[(both.status == "ok") & (both.status_baseline == "ok")].sort_values("scheduled_s")
    if class_name != "all":
        kept = kept[kept["class"] == class_name]
    return (
        (kept.done_s - kept.scheduled_s).to_numpy(),
        (kept.done_s_baseline - kept.scheduled_s_baseline).to_numpy(),
    )


def mean_improvement(values: ArrayLike, baseline: ArrayLike) -> Interval:
    """How much lower the mean is, in per cent; positive is better."""
    return improvement(values, baseline)


def percentile_improvement(values: ArrayLike, baseline: ArrayLike, p: float, batches: int = BATCHES) -> Interval:
    """How much lower the p-quantile (0 < p < 1) is, in per cent, with a jackknife interval over paired batches.

    Source: the batched jackknife, e.g. Asmussen & Glynn, *Stochastic Simulation* (2007), section III.5.
    """
    first, second = np.asarray(values, dtype=float), np.asarray(baseline, dtype=float)
    if len(first) < 2 * batches:
        return Interval(_gain(first, second, p) if len(first) else math.nan, -math.inf, math.inf, short=True)
    return over_groups(first, second, np.arange(len(first)) * batches // len(first), p)


def over_groups(values: ArrayLike, baseline: ArrayLike, group: ArrayLike, p: float | None = None) -> Interval:
    """How much lower the p-quantile (the mean for None) is, in per cent, with a jackknife interval over the groups.

    `group` numbers the independent replications (or nearly independent batches) that the pairs belong to. One
    group bounds nothing.
    """
    first, second = np.asarray(values, dtype=float), np.asarray(baseline, dtype=float)
    member = np.asarray(group)
    numbers = np.unique(member)
    whole, count = _gain(first, second, p), numbers.size
    if count < 2:
        return Interval(whole, -math.inf, math.inf, short=True)
    without = np.array([_gain(first[member != i], second[member != i], p) for i in numbers])
    pseudo = count * whole - (count - 1) * without
    half = float(stdtrit(count - 1, 0.5 + 0.5 * CONFIDENCE) * pseudo.std(ddof=1)) / math.sqrt(count)
    return Interval(whole, whole - half, whole + half)


def _gain(first: np.ndarray, second: np.ndarray, p: float | None) -> float:
    """How much lower the p-quantile (the mean) of `first` is than that of `second`, in per cent."""
    if p is None:
        return 100.0 * (1.0 - float(first.mean()) / float(second.mean()))
    return 100.0 * (1.0 - float(np.quantile(first, p)) / float(np.quantile(second, p)))
