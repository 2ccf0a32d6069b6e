"""From what became of each request to the metrics of each class, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from qmodel.answer import ClassAnswer, percentile_name
from qmodel.simulation.counted import Counted
from qmodel.statistics.intervals import (
    CONFIDENCE,
    Interval,
    batch_deviation,
    batch_means,
    batch_quantile,
    batch_share,
)
from qmodel.statistics.order_statistics import InOrder
from qmodel.statistics.warm_up import settles
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.simulation.kernels.columns import Log
    from qmodel.simulation.network.serving import Fates
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]

# A tail index below this is not told apart from 1, below which a mean is infinite.
INFINITE_MEAN = 1.15
INFINITE_VARIANCE = 2 * INFINITE_MEAN
TAIL_SHARE, LEAST_TAIL = 0.002, 100


@dataclass(frozen=True)
class Series:
    """Of each counted request, in order of arrival: seconds, and whether it met its limit and was reduced.

    `service_s` is the server's time until the result is out, the wait is the rest of the response (less pauses and
    transfers); in a random environment the wait ends where the first service starts. `limited` and `met` are None
    where no class has a limit, `reduced` without a queue condition, `slowdown` where a service takes no time.
    `rejected` and `abandoned` are None where nobody can be; whoever is has NaN for the times, and misses its limit.
    """

    class_index: NDArray[np.int64]
    service_s: Floats
    wait_s: Floats
    response_s: Floats
    slowdown: Floats | None
    limited: NDArray[np.bool_] | None
    met: NDArray[np.bool_] | None
    reduced: NDArray[np.bool_] | None
    rejected: NDArray[np.bool_] | None = None
    abandoned: NDArray[np.bool_] | None = None

    @property
    def lost(self) -> NDArray[np.bool_] | None:
        """Who was never served; None where nobody can be."""
        if self.rejected is None or self.abandoned is None:
            return self.abandoned if self.rejected is None else self.rejected
        return self.rejected | self.abandoned

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Series:
        """The chosen requests alone."""
        kept: dict[str, Any] = {n: None if v is None else v[chosen] for n, v in vars(self).items()}
        return Series(**kept)

    def __len__(self) -> int:
        return self.response_s.size


def series(scenario: Scenario, requests: Requests, log: Log) -> Series:
    """The series of all requests of a run."""
    service = size = requests.service_s
    if scenario.condition is not None:
        service = size = np.where(log.reduced, requests.long_s, requests.service_s)
    before = service
    if requests.mark.size:
        before = service * np.where(log.reduced, requests.long_mark, requests.mark)
    response = log.delivered_s - requests.arrival_s
    limited, met = judged(scenario, requests.class_index, response)
    return Series(
        requests.class_index,
        before,
        response - before,
        response,
        response / size if size.all() else None,
        limited,
        met,
        log.reduced if scenario.condition is not None else None,
    )


def judged(
    scenario: Scenario, class_index: NDArray[np.int64], response: Floats
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Who has a limit, and who met it; None where no class has one. NaN meets none."""
    limits = np.array([limit_of(served.slo, "response") for served in scenario.served])
    if not np.isfinite(limits).any():
        return None, None
    return np.isfinite(limits)[class_index], response <= limits[class_index]


def series_of_fates(scenario: Scenario, requests: Requests, fates: Fates) -> Series:
    """The series of all requests of a run on the general loop, or in batches; by row."""
    from qmodel.simulation.kernels.network_rows import ABANDONED, REJECTED

    rejected = fates.state == REJECTED if scenario.system.buffer is not None else None
    impatient = any(served.patience is not None for served in scenario.served)
    response = fates.delivered_s - fates.arrival_s
    service = fates.service_s
    if requests.mark.size:
        service = service * np.where(fates.reduced, requests.long_mark, requests.mark)
    wait = response - service - fates.away_s
    if scenario.system.environment is not None:  # the same work takes longer or shorter: what counts is its start
        wait = fates.start_s - fates.arrival_s
        service = response - wait - fates.away_s
    limited, met = judged(scenario, requests.class_index, response)
    positive = fates.size_s > 0
    return Series(
        requests.class_index,
        service,
        wait,
        response,
        response / np.where(positive, fates.size_s, 1.0),
        limited,
        met,
        fates.reduced if scenario.condition is not None else None,
        rejected,
        fates.state == ABANDONED if impatient else None,
    )


Metrics = dict[str, Interval | None]


def class_metrics(part: Series, of: Counted, percentiles: Sequence[float]) -> Metrics:
    """Every metric of these requests of the series, with batch-means intervals; None where it cannot be had."""
    metrics: Metrics = {}
    if part.met is not None:
        assert part.limited is not None
        metrics["attainment"] = _share(of.flags("met")[of.flags("limited")])
    for name in ("rejected", "abandoned"):
        if getattr(part, name) is not None:
            metrics[f"{name}_share"] = _share(of.flags(name))
    lost = part.lost
    if lost is not None and lost.any():
        of = of.among(~lost)
    return _times(part, of, percentiles) | {"attainment": None} | metrics


def _share(happened: NDArray[np.bool_]) -> Interval | None:
    return batch_share(happened) if happened.size else None


def _times(part: Series, of: Counted, percentiles: Sequence[float]) -> Metrics:
    metrics: Metrics = {name: batch_means(of.times(name[5:])) for name in ("mean_service_s", "mean_wait_s")}
    response = of.times("response_s")
    metrics["mean_response_s"] = batch_means(response)
    ordered = of.ordered(response)
    metrics["std_response_s"] = None if _varies_without_end(ordered) else batch_deviation(response)
    for percent in percentiles:
        metrics[percentile_name(percent)] = batch_quantile(response, percent / 100, ordered=ordered)
    metrics["mean_slowdown"] = None
    if part.slowdown is not None:
        slowdown = of.times("slowdown")
        if _hill(_tail(of.ordered(slowdown))) >= INFINITE_MEAN:
            metrics["mean_slowdown"] = batch_means(slowdown)
    if part.reduced is not None:
        metrics["share_reduced"] = batch_share(of.flags("reduced"))
    return metrics


def _varies_without_end(values: InOrder) -> bool:
    """Whether values look as if their variance were infinite; shorter series are not judged."""
    return values.size * TAIL_SHARE >= LEAST_TAIL and _hill(_tail(values)) < INFINITE_VARIANCE


def _tail(values: InOrder) -> Floats:
    """The values that tell of a tail, the next below them first; no entries if they are too few."""
    k = max(LEAST_TAIL, int(TAIL_SHARE * values.size))
    return values.largest(k + 1 if values.size >= 10 * k else 0)


def is_settled(part: Series) -> bool:
    """Whether MSER-5 finds an end of the warm-up, in the responses of those that were served."""
    return settles(part.response_s if part.lost is None else part.response_s[~part.lost])


def tail_index(values: Floats) -> float:
    """Hill's estimate of a with P(X > x) ~ x^-a, from the largest values; infinite for fewer than 1,000 values.

    Below 1 the mean is infinite, and no run is long enough for it (Hill, *Ann. Stat.* 3 (1975) 1163-1174).
    """
    return _hill(_tail(InOrder(values.copy())))


def _hill(top: Floats) -> float:
    """The same from the largest values, the first of which is the next below them; infinite for none."""
    if top.size < 2 or top[0] <= 0:
        return math.inf
    excess = float(np.log(top / top[0]).sum()) / (top.size - 1)
    return math.inf if excess == 0 else 1.0 / excess


def across(replications: Sequence[tuple[int, Metrics]]) -> Metrics:
    """Each metric over independent replications of (number of requests, metrics), weighted by the requests.

    The interval is Student's t for a ratio estimate: sum of n_r value_r over sum of n_r (Law 2015, section 9.4.2).
    """
    combined: Metrics = {}
    for name in replications[0][1]:
        known = [(count, found.value) for count, each in replications if (found := each[name]) is not None]
        known = [(count, value) for count, value in known if count and not math.isnan(value)]
        combined[name] = _ratio_interval(*np.array(known, dtype=float).T) if known else None
    return combined


def _ratio_interval(counts: Floats, values: Floats) -> Interval:
    total, runs = float(counts.sum()), counts.size
    value = float(counts @ values) / total
    if runs < 2:
        return Interval(value, -math.inf, math.inf, short=True)
    variance = runs / (runs - 1) * float(((counts * (values - value)) ** 2).sum())
    half = float(stdtrit(runs - 1, 0.5 + 0.5 * CONFIDENCE)) * math.sqrt(variance) / total
    return Interval(value, value - half, value + half)


def by_class(part: Series, classes: int, percentiles: Sequence[float]) -> list[tuple[int, Metrics]]:
    """Number and metrics of all requests, then of those of each class."""
    everyone = Counted(part)
    if classes == 1:
        return [(len(part), class_metrics(part, everyone, percentiles))] * 2
    each_class = (everyone.among(part.class_index == index) for index in range(classes))
    return [(len(each), class_metrics(part, each, percentiles)) for each in (everyone, *each_class)]


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
    pairs = _named(scenario, metrics)
    return [f"{m} of {name}" for name, each in pairs for m, found in each.items() if found and found.short]


def _named(scenario: Scenario, metrics: Sequence[Metrics]) -> list[tuple[str, Metrics]]:
    """Metrics with the name of their class; `all` only where there are several."""
    names = ["all", *(served.name for served in scenario.served)]
    return list(zip(names, metrics, strict=True))[1 if len(names) == 2 else 0 :]
