"""The requests of a run, drawn before it: arrival, class, size, prediction, lottery, moment of delivery.

Each class has its own random streams, one for each of these, so that policies are compared on the very same
requests (common random numbers), and another rate changes the gaps between arrivals and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.workload import ArrivalProcess, Discrete, PredictedSize, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from qmodel.scenario import Scenario, ServedClass
    from qmodel.simulation.kernels.columns import Demand

    Floats = NDArray[np.float64]

STREAMS = ("arrivals", "sizes", "predictions", "lotteries", "deliveries")


@dataclass(frozen=True)
class Requests:
    """Columns in order of arrival. `classes` are those that `class_index` points into.

    `service_s` holds while the queue is short, `long_s` while it is long; `mark` and `long_mark` are the
    shares of them after which the result is out. `size_s` and `long_size_s` are what the policy is told of them
    (the same, unless measured services are replayed), `predicted_s` is NaN where no prediction is made.
    """

    classes: tuple[ServedClass, ...]
    arrival_s: Floats
    class_index: NDArray[np.int64]
    service_s: Floats
    long_s: Floats
    mark: Floats
    long_mark: Floats
    size_s: Floats
    long_size_s: Floats
    predicted_s: Floats
    lottery: Floats

    def __len__(self) -> int:
        return self.arrival_s.size

    @cached_property
    def priority(self) -> Floats:
        """Priority of each request's class."""
        return self._by_class([float(served.priority) for served in self.classes])

    @cached_property
    def weight(self) -> Floats:
        """Weight of each request's class."""
        return self._by_class([served.weight for served in self.classes])

    @cached_property
    def deadline_s(self) -> Floats:
        """Arrival plus the response limit of the class; infinite without one."""
        return self.arrival_s + self._by_class([response_limit(served.slo) for served in self.classes])

    @property
    def demand(self) -> Demand:
        """What the event loops read."""
        from qmodel.simulation.kernels.columns import Demand

        return Demand(self.arrival_s, self.service_s, self.long_s, self.mark, self.long_mark)

    def _by_class(self, values: Sequence[float]) -> Floats:
        if len(values) == 1:
            return np.full(len(self), values[0])
        return np.asarray(values, dtype=float)[self.class_index]


def response_limit(slo: dict[str, float]) -> float:
    """Limit on the response time of a single request (s): the strictest `response_...` limit; infinite without one.

    >>> response_limit({"response_p99_s": 10.0, "ttft_p95_s": 1.0})
    10.0
    """
    return min((limit for name, limit in slo.items() if name.startswith("response_")), default=math.inf)


def draw(scenario: Scenario, count: int, seed: np.random.SeedSequence, horizon_s: float | None = None) -> Requests:
    """About `count` requests of all classes (exactly, with one class that is no trace), or those in a horizon.

    A trace that ends before the horizon ends the run for all classes.
    """
    children = seed.spawn(len(scenario.served))
    horizon = _last_recorded(scenario, count / scenario.rate if horizon_s is None else horizon_s)
    exactly = count if horizon_s is None and len(children) == 1 else None
    columns = [
        _draw_class(served, child, horizon, exactly)
        for served, child in zip(scenario.served, children, strict=True)
    ]
    sizes = [column[0].size for column in columns]
    index = np.repeat(np.arange(len(sizes)), sizes)
    if len(columns) == 1:
        return Requests(scenario.served, columns[0][0], index, *columns[0][1:])
    from qmodel.simulation.kernels.arrivals import merged_order

    joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    order = merged_order(joined[0], np.concatenate(([0], np.cumsum(sizes))))
    return Requests(scenario.served, joined[0][order], index[order], *(column[order] for column in joined[1:]))


def _last_recorded(scenario: Scenario, horizon: float) -> float:
    ends = [s.arrivals.recorded_s[-1] for s in scenario.served if isinstance(s.arrivals, Trace)]
    return min([horizon, *(math.nextafter(end, math.inf) for end in ends)])


def _draw_class(
    served: ServedClass, seed: np.random.SeedSequence, horizon: float, exactly: int | None
) -> list[Floats]:
    """The columns of one class, without the class index."""
    streams = dict(zip(STREAMS, seed.spawn(len(STREAMS)), strict=True))
    arrival = arrival_times(served.arrivals, streams["arrivals"], horizon, exactly)
    n = arrival.size
    service = served.service.occupancy.sample(np.random.default_rng(streams["sizes"]), n)
    mark = _marks(served.service.delivered_at, np.random.default_rng(streams["deliveries"]), n)
    long, long_mark = service, mark
    if served.long_queue is not None:  # the same streams again: the same request, on the smaller model
        long = served.long_queue.occupancy.sample(np.random.default_rng(streams["sizes"]), n)
        long_mark = _marks(served.long_queue.delivered_at, np.random.default_rng(streams["deliveries"]), n)
    predicted = predictions(served.predicted_size, service, np.random.default_rng(streams["predictions"]))
    lottery = np.random.default_rng(streams["lotteries"]).random(n)
    return [arrival, service, long, mark, long_mark, service, long, predicted, lottery]


def arrival_times(
    process: ArrivalProcess, seed: np.random.SeedSequence, horizon: float, exactly: int | None = None
) -> Floats:
    """Times in [0, horizon), or the first `exactly` times of a process that goes on."""
    if process.is_poisson:
        return _poisson_times(process.rate, np.random.default_rng(seed), horizon, exactly)
    if exactly is None or isinstance(process, Trace):
        return process.times(np.random.default_rng(seed), horizon)
    longer = horizon
    while True:
        times = process.times(np.random.default_rng(seed), longer)
        if times.size >= exactly:
            return times[:exactly]
        longer *= 1.0 + 10.0 / math.sqrt(exactly)


def _poisson_times(rate: float, rng: np.random.Generator, horizon: float, exactly: int | None) -> Floats:
    if exactly is not None:
        return np.cumsum(rng.standard_exponential(exactly)) / rate
    mean = rate * horizon
    chunks, last = [], 0.0
    while last < mean:
        ahead = mean - last
        chunks.append(last + np.cumsum(rng.standard_exponential(int(ahead + 6 * math.sqrt(ahead)) + 16)))
        last = float(chunks[-1][-1])
    times = np.concatenate(chunks)
    return times[: np.searchsorted(times, mean)] / rate


def _marks(law: Discrete | None, rng: np.random.Generator, n: int) -> Floats:
    return np.ones(n) if law is None else law.sample(rng, n)


def predictions(law: PredictedSize, size: Floats, rng: np.random.Generator) -> Floats:
    """Predicted sizes of requests of these true sizes; NaN where none is made."""
    if law.error == "exact":
        return size
    if law.error == "exponential":
        return size * rng.standard_exponential(size.size)
    if law.error == "lognormal":
        sigma = math.sqrt(math.log1p(law.scv))
        return size * rng.lognormal(-0.5 * sigma**2, sigma, size.size)
    return np.full(size.size, np.nan)


def given(
    classes: tuple[ServedClass, ...],
    arrival_s: ArrayLike,
    class_index: ArrayLike,
    service_s: ArrayLike,
    *,
    service_long_s: ArrayLike | None = None,
    delivered_share: ArrayLike | None = None,
    size_s: ArrayLike | None = None,
    size_long_s: ArrayLike | None = None,
    predicted_s: ArrayLike | None = None,
    lottery: ArrayLike | None = None,
) -> Requests:
    """Requests that are known one by one.

    Left out, services are the same in a long queue, results are out at the end, sizes are the services, predictions
    the sizes, and lotteries 0. Raises InputError naming the column and row that is wrong: text, NaN, other lengths,
    arrivals out of order, a service that takes no time, a share outside (0, 1], a class that does not exist.
    """
    arrival = _column("arrival_s", arrival_s, None)
    n = arrival.size
    if not n:
        raise InputError("replay, arrival_s", "holds no request", "give at least one")
    service = _column("service_s", service_s, n)
    index = _column("class_index", class_index, n)
    mark = np.ones(n) if delivered_share is None else _column("delivered_share", delivered_share, n)
    long = service if service_long_s is None else _column("service_long_s", service_long_s, n)
    size = service if size_s is None else _column("size_s", size_s, n)
    long_size = (
        (long if size_s is None else size) if size_long_s is None else _column("size_long_s", size_long_s, n)
    )
    predicted = size if predicted_s is None else _column("predicted_s", predicted_s, n)
    tickets = np.zeros(n) if lottery is None else _column("lottery", lottery, n)
    _check(
        "arrival_s",
        np.concatenate(([False], np.diff(arrival) < 0)),
        "comes before the one above it",
        "sort by time",
    )
    for name, column in (
        ("service_s", service),
        ("service_long_s", long),
        ("size_s", size),
        ("size_long_s", long_size),
    ):
        _check(name, column <= 0, "takes no time", "give seconds above 0")
    _check("delivered_share", (mark <= 0) | (mark > 1), "is no share", "give more than 0 and at most 1")
    known = (index >= 0) & (index < len(classes)) & (index == np.floor(index))
    _check("class_index", ~known, "is no class", f"give 0 to {len(classes) - 1}")
    return Requests(
        classes, arrival, index.astype(np.int64), service, long, mark, mark, size, long_size, predicted, tickets
    )


def _column(name: str, values: ArrayLike, n: int | None) -> Floats:
    try:
        column = np.ascontiguousarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"replay, {name}", "holds text", "give numbers") from error
    if column.ndim != 1 or (n is not None and column.size != n):
        raise InputError(f"replay, {name}", f"has shape {column.shape}", "give one value a request")
    _check(name, ~np.isfinite(column), "is not a finite number", "leave the request out")
    return column


def _check(name: str, wrong: NDArray[np.bool_], fault: str, remedy: str) -> None:
    if wrong.any():
        raise InputError(f"replay, {name}, row {int(np.argmax(wrong)) + 1}", fault, remedy)
