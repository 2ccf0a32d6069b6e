"""From what became of each request to the metrics of each class, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from qmodel.answer import ClassAnswer, percentile_name
from qmodel.intervals import CONFIDENCE, Interval, batch_means, batch_quantile, batch_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.simulation.kernels.columns import Log
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]

# A tail index below this is not told apart from 1, below which a mean is infinite.
INFINITE_MEAN = 1.15
TAIL_SHARE, LEAST_TAIL = 0.002, 100


@dataclass(frozen=True)
class Series:
    """Of each counted request, in order of arrival: seconds, and whether it met its limit and was reduced.

    `service_s` is the server's time until the result is out, the wait is the rest of the response. `met` is
    None where no class has a limit, `reduced` None without a queue condition.
    """

    class_index: NDArray[np.int64]
    service_s: Floats
    wait_s: Floats
    response_s: Floats
    slowdown: Floats | None
    met: NDArray[np.bool_] | None
    limited: NDArray[np.bool_]
    reduced: NDArray[np.bool_] | None

    def of(self, chosen: NDArray[np.bool_] | slice) -> Series:
        """The chosen requests alone."""
        kept: dict[str, Any] = {n: None if v is None else v[chosen] for n, v in vars(self).items()}
        return Series(**kept)

    def __len__(self) -> int:
        return self.response_s.size


def series(scenario: Scenario, requests: Requests, log: Log) -> Series:
    """The series of all requests of a run."""
    service = np.where(log.reduced, requests.long_s, requests.service_s)
    mark = np.where(log.reduced, requests.long_mark, requests.mark)
    before = service * mark
    response = log.delivered_s - requests.arrival_s
    limited = np.isfinite(requests.deadline_s)
    return Series(
        requests.class_index,
        before,
        response - before,
        response,
        response / service if (service > 0).all() else None,
        log.delivered_s <= requests.deadline_s if limited.any() else None,
        limited,
        log.reduced if scenario.condition is not None else None,
    )


Metrics = dict[str, Interval | None]


def class_metrics(part: Series, percentiles: Sequence[float]) -> Metrics:
    """Every metric of these requests, with batch-means intervals; None where it cannot be had."""
    metrics: Metrics = {
        "mean_service_s": batch_means(part.service_s),
        "mean_wait_s": finite_mean(part.wait_s),
        "mean_response_s": finite_mean(part.response_s),
    }
    for percent in percentiles:
        metrics[percentile_name(percent)] = batch_quantile(part.response_s, percent / 100)
    metrics["mean_slowdown"] = None if part.slowdown is None else finite_mean(part.slowdown)
    judged = None if part.met is None else part.met[part.limited]
    metrics["attainment"] = None if judged is None or not judged.size else batch_share(judged)
    if part.reduced is not None:
        metrics["share_reduced"] = batch_share(part.reduced)
    return metrics


def finite_mean(values: Floats) -> Interval | None:
    """Mean with its interval; None where the tail is so heavy that there may be no mean."""
    return None if tail_index(values) < INFINITE_MEAN else batch_means(values)


def tail_index(values: Floats) -> float:
    """Hill's estimate of a with P(X > x) ~ x^-a, from the largest values; infinite for fewer than 1,000 values.

    Below 1 the mean is infinite, and no run is long enough for it (Hill, *Ann. Stat.* 3 (1975) 1163-1174).
    """
    k = max(LEAST_TAIL, int(TAIL_SHARE * values.size))
    if values.size < 10 * k:
        return math.inf
    top = np.partition(values, values.size - k - 1)[values.size - k - 1 :]
    edge = float(top.min())
    if edge <= 0:
        return math.inf
    excess = float(np.log(top / edge).sum()) / k
    return math.inf if excess == 0 else 1.0 / excess


def across(replications: Sequence[Metrics]) -> Metrics:
    """Mean of each metric over independent replications, with Student's t interval over them."""
    combined: Metrics = {}
    for name in replications[0]:
        known = [found.value for each in replications if (found := each[name]) is not None]
        values = np.array([value for value in known if not math.isnan(value)])
        combined[name] = _t_interval(values) if values.size else None
    return combined


def _t_interval(values: Floats) -> Interval:
    value = float(values.mean())
    if values.size < 2:
        return Interval(value, -math.inf, math.inf, short=True)
    half = float(stdtrit(values.size - 1, 0.5 + 0.5 * CONFIDENCE) * values.std(ddof=1)) / math.sqrt(values.size)
    return Interval(value, value - half, value + half)


def by_class(part: Series, classes: int, percentiles: Sequence[float]) -> list[Metrics]:
    """Metrics of all requests, then of each class."""
    if classes == 1:
        return [class_metrics(part, percentiles)] * 2
    parts = [part, *(part.of(part.class_index == index) for index in range(classes))]
    return [class_metrics(each, percentiles) for each in parts]


def class_answers(scenario: Scenario, metrics: Sequence[Metrics]) -> list[ClassAnswer]:
    """Answers of `all` and each class from their metrics."""
    rates = [served.rate for served in scenario.served]
    heads = [("all", math.fsum(rates)), *((served.name, served.rate) for served in scenario.served)]
    return [_class_answer(name, rate, each) for (name, rate), each in zip(heads, metrics, strict=True)]


def _class_answer(name: str, rate: float, metrics: Metrics) -> ClassAnswer:
    known = {m: found for m, found in metrics.items() if found is not None and not math.isnan(found.value)}
    values: dict[str, float | None] = {m: known[m].value if m in known else None for m in metrics}
    return ClassAnswer(name, rate, values, ci95={m: (found.low, found.high) for m, found in known.items()})


def too_short(scenario: Scenario, metrics: Sequence[Metrics]) -> list[str]:
    """Which metrics have intervals that the run is too short for, as "METRIC of CLASS"."""
    names = ["all", *(served.name for served in scenario.served)]
    pairs = zip(names, metrics, strict=True)
    return [f"{m} of {name}" for name, each in pairs for m, found in each.items() if found and found.short]


def infinite(scenario: Scenario, metrics: Sequence[Metrics]) -> list[str]:
    """Which means may not exist, as "METRIC of CLASS"."""
    names = ["all", *(served.name for served in scenario.served)]
    means = ("mean_wait_s", "mean_response_s", "mean_slowdown")
    return [f"{m} of {name}" for name, each in zip(names, metrics, strict=True) for m in means if each[m] is None]
