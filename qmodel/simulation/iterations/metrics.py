"""From what became of each request to the metrics of each class, with their intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import percentile_name
from qmodel.simulation.iterations.columns import BINS_PER_OCTAVE, LEAST_OCTAVE
from qmodel.simulation.iterations.serving import GapsSoFar
from qmodel.statistics.intervals import BATCHES, Interval, batch_means, batch_quantile, batch_share

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
    part: TokenOutcome, classes: Sequence[RequestClass], percentiles: Sequence[float], rate: float,
    conditional: bool = False,
) -> Metrics:  # fmt: skip
    """Every metric of these requests, `rate` of which come a second; None where it cannot be had.

    Times are of those served to the end, and so is the share of those for whom the queue condition held
    (`conditional`: there is one). A request that was rejected or gave up misses its promise.
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
    if conditional:
        metrics["share_reduced"] = batch_share(served.reduced == 1) if len(served) else None
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
    part: TokenOutcome, classes: Sequence[RequestClass], percentiles: Sequence[float], rates: Sequence[float],
    conditional: bool = False,
) -> list[tuple[int, Metrics]]:  # fmt: skip
    """Number and metrics of all requests, then of those of each class; `rates` of the classes."""
    found = [(len(part), class_metrics(part, classes, percentiles, sum(rates), conditional))]
    for index, rate in enumerate(rates):
        if len(rates) == 1:
            return [*found, found[0]]
        own = part.of(np.flatnonzero(part.class_index == index))
        found.append((len(own), class_metrics(own, classes, percentiles, rate, conditional)))
    return found


def gap_quantile(gaps: NDArray[np.int64], share: float) -> float | None:
    """Quantile of the gap between tokens (s), the middle of its bin: within 0.3 %; None without gaps."""
    total = int(gaps.sum())
    if not total:
        return None
    at = int(np.searchsorted(np.cumsum(gaps), share * total))
    return 0.0 if at == 0 else float(2.0 ** (LEAST_OCTAVE + (min(at, gaps.size - 1) + 0.5) / BINS_PER_OCTAVE))


def gap_metrics(totals: Totals, percentiles: Sequence[float], warmup: int) -> Metrics:
    """Mean and percentiles of the gaps between tokens of all requests, from when `warmup` of them had left on.

    Intervals by batch means over the stretches of the run, in which all gaps count alike.
    """
    kept = [each for each in totals.gaps_so_far if each.left >= warmup] if warmup else totals.gaps_so_far
    start = kept[0] if warmup and len(kept) > 1 else GapsSoFar(0, np.zeros_like(totals.gaps), 0.0)
    gaps, spent = totals.gaps - start.gaps, totals.gap_s - start.gap_s
    ends = [start, *(each for each in kept if each.left > start.left)]
    parts = [(b.gaps - a.gaps, b.gap_s - a.gap_s) for a, b in itertools.pairwise(ends)]
    parts = [(part, part_s) for part, part_s in parts if part.any()]
    count = int(gaps.sum())
    means = [part_s / int(part.sum()) for part, part_s in parts]
    found: Metrics = {"mean_itl_s": _around(spent / count if count else None, means)}
    for percent in percentiles:
        share = percent / 100
        each = [gap_quantile(part, share) or 0.0 for part, _ in parts]
        found[percentile_name(percent, "itl")] = _around(gap_quantile(gaps, share), each)
    return found


def _around(value: float | None, parts: Sequence[float]) -> Interval | None:
    """The value with an interval by the values of consecutive stretches of a run."""
    if value is None:
        return None
    if len(parts) < BATCHES:
        return Interval(value, value, value, True)
    found = batch_means(np.array(parts))
    return Interval(value, value + found.low - found.value, value + found.high - found.value, found.short)


def energy(totals: Totals, engine: Engine, served: int) -> dict[str, float | None]:
    """Joules a request served and a token, where the engine's power is known; idle spells included."""
    if engine.power_w is None:
        return {}
    idle = max(0.0, totals.now_s - totals.busy_s) * (engine.idle_power_w or 0.0)
    spent = engine.power_w * totals.busy_s + idle
    return {
        "energy_j_per_request": spent / served if served else None,
        "energy_j_per_token": spent / totals.tokens if totals.tokens else None,
    }


def whole_run(totals: Totals, engine: Engine, percentiles: Sequence[float], served: int) -> dict[str, float | None]:
    """Metrics of the run as a whole, warm-up included: gaps between tokens of all requests, and energy."""
    gaps = gap_metrics(totals, percentiles, 0)
    return {name: None if found is None else found.value for name, found in gaps.items()} | energy(
        totals, engine, served
    )
