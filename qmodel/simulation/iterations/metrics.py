"""From what became of each request to the metrics of each class, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import percentile_name
from qmodel.intervals import Interval, batch_means, batch_quantile, batch_share
from qmodel.simulation.iterations.columns import BINS_PER_OCTAVE, LEAST_OCTAVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.service.engine import Engine
    from qmodel.simulation.iterations.outcome import TokenOutcome
    from qmodel.simulation.iterations.serving import Totals
    from qmodel.workload import RequestClass

    Floats = NDArray[np.float64]

Metrics = dict[str, Interval | None]
TIMES = ("response", "ttft", "tpot")


def class_metrics(
    part: TokenOutcome, classes: Sequence[RequestClass], percentiles: Sequence[float], rate: float
) -> Metrics:
    """Every metric of these requests, `rate` of which come a second; None where it cannot be had.

    Times are of those served to the end. A request that was rejected or gave up misses its promise.
    """
    served = part.of(part.served)
    metrics: Metrics = {
        "mean_service_s": _mean(served.response_s - served.wait_s),
        "mean_wait_s": _mean(served.wait_s),
    }
    for quantity in TIMES:
        values = getattr(served, f"{quantity}_s")
        values = values[~np.isnan(values)]
        metrics[f"mean_{quantity}_s"] = _mean(values)
        ordered = np.sort(values)
        for percent in percentiles:
            name = percentile_name(percent, quantity)
            metrics[name] = batch_quantile(values, percent / 100, ordered=ordered) if values.size else None
    limited, met = part.met(classes)
    metrics["attainment"] = batch_share(met[limited]) if limited.any() else None
    metrics["goodput"] = _scaled(batch_share(met), rate) if limited.any() else None
    metrics["throughput_tokens_per_s"] = _scaled(_mean(np.where(part.served, part.output, 0).astype(float)), rate)
    told = served.qoe[~np.isnan(served.qoe)]
    metrics["mean_qoe"] = _mean(told)
    metrics["preemptions_per_request"] = _mean(part.preemptions.astype(float))
    for ending, name in ((1, "rejected_share"), (2, "abandoned_share")):
        if (part.ended == ending).any():
            metrics[name] = batch_share(part.ended == ending)
    return metrics


def _mean(values: Floats) -> Interval | None:
    return batch_means(values) if values.size else None


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    if interval is None:
        return None
    low, high = sorted((interval.low * factor, interval.high * factor))
    return Interval(interval.value * factor, low, high, interval.short)


def by_class(
    part: TokenOutcome, classes: Sequence[RequestClass], percentiles: Sequence[float], rates: Sequence[float]
) -> list[tuple[int, Metrics]]:
    """Number and metrics of all requests, then of those of each class; `rates` of the classes."""
    found = [(len(part), class_metrics(part, classes, percentiles, sum(rates)))]
    for index, rate in enumerate(rates):
        if len(rates) == 1:
            return [*found, found[0]]
        own = part.of(np.flatnonzero(part.class_index == index))
        found.append((len(own), class_metrics(own, classes, percentiles, rate)))
    return found


def gap_quantile(gaps: NDArray[np.int64], share: float) -> float | None:
    """Quantile of the gap between tokens (s), the middle of its bin: within 0.3 %; None without gaps."""
    total = int(gaps.sum())
    if not total:
        return None
    at = int(np.searchsorted(np.cumsum(gaps), share * total))
    return 0.0 if at == 0 else float(2.0 ** (LEAST_OCTAVE + (min(at, gaps.size - 1) + 0.5) / BINS_PER_OCTAVE))


def whole_run(totals: Totals, engine: Engine, percentiles: Sequence[float], served: int) -> dict[str, float | None]:
    """Metrics of the run as a whole: gaps between tokens of all requests, warm-up included, and energy."""
    count = int(totals.gaps.sum())
    found: dict[str, float | None] = {"mean_itl_s": totals.gap_s / count if count else None}
    for percent in percentiles:
        found[percentile_name(percent, "itl")] = gap_quantile(totals.gaps, percent / 100)
    if engine.power_w is not None:
        idle = max(0.0, totals.now_s - totals.busy_s) * (engine.idle_power_w or 0.0)
        energy = engine.power_w * totals.busy_s + idle
        found["energy_j_per_request"] = energy / served if served else None
        found["energy_j_per_token"] = energy / totals.tokens if totals.tokens else None
    return found
