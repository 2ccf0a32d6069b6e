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
from qmodel.intervals import BATCHES, CONFIDENCE, Interval, improvement

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

    def gain(keep: np.ndarray) -> float:
        return 100.0 * (1.0 - float(np.quantile(first[keep], p)) / float(np.quantile(second[keep], p)))

    everything = np.ones(len(first), dtype=bool)
    if len(first) < 2 * batches:
        return Interval(gain(everything) if len(first) else float("nan"), -np.inf, np.inf)
    whole = gain(everything)
    batch = np.arange(len(first)) * batches // len(first)
    pseudo = np.array([batches * whole - (batches - 1) * gain(batch != i) for i in range(batches)])
    half = float(stdtrit(batches - 1, 0.5 + 0.5 * CONFIDENCE) * pseudo.std(ddof=1)) / math.sqrt(batches)
    return Interval(whole, whole - half, whole + half)
