"""Drawing the requests of a run.

Each class has its own random streams, one for each thing drawn, so that policies are compared on the very same
requests (common random numbers), and another rate changes the gaps between arrivals and nothing else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.simulation.caching import hits, real_cache, with_hit_ratio
from qmodel.simulation.requests import Requests
from qmodel.simulation.streams import STREAMS, generator, stream
from qmodel.workload import ArrivalProcess, Closed, Discrete, Distribution, Empirical, PredictedSize, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qmodel.scenario import Scenario, ServedClass

    Floats = NDArray[np.float64]

SPARE_ROUNDS = 20
"""Requests of a closed population beyond those counted, a user: they keep the system full to the end."""


def draw(
    scenario: Scenario,
    count: int,
    seed: np.random.SeedSequence,
    horizon_s: float | None = None,
    spare: float = 1.0,
    present: Mapping[str, int] | None = None,
) -> Requests:
    """About `count` requests of all classes (exactly, with one class that is no trace), or those in a horizon.

    A trace that ends before the horizon ends the run for all classes. Requests of closed populations have no
    arrival yet (infinity) and come last, `spare` times as many as are expected. `present`: how
    many of each class are there at time 0, their services not begun.
    """
    classes = scenario.served
    span = _span(scenario, count, horizon_s)
    exactly = count if horizon_s is None and len(classes) == 1 else None
    arrivals = [
        _to_come(scenario, served, exactly, span, spare)
        if isinstance(served.arrivals, Closed)
        else arrival_times(served.arrivals, stream(seed, index, "arrivals"), span, exactly)
        for index, served in enumerate(classes)
    ]
    if present:
        arrivals = _with_present(classes, arrivals, present)
    sizes = [times.size for times in arrivals]
    index, order, times = _merged(arrivals)
    columns = _columns_of(scenario, sizes, order, seed)
    cache = real_cache(scenario)
    if cache is not None:
        hit = hits(cache, index.size, len(classes), index, seed, is_warm=horizon_s is None)
        misses, saved = (_columns_of(with_hit_ratio(scenario, share), sizes, order, seed) for share in (0.0, 1.0))
        columns = {n: np.where(hit, saved[n], c) if c.size else c for n, c in misses.items()}

    def lottery() -> Floats:
        tickets = [generator(seed, i, "lotteries").random(n) for i, n in enumerate(sizes)]
        return _in_order(tickets, order)

    return Requests(classes, times, index, **columns, draw_lottery=lottery)


def _with_present(
    classes: Sequence[ServedClass], arrivals: Sequence[Floats], present: Mapping[str, int]
) -> list[Floats]:
    """Arrivals with those that are there at first. Raises InputError for no class, and no number."""
    names = [served.name for served in classes]
    for name, count in present.items():
        place = f"simulation, present, {name}"
        if name not in names:
            raise InputError(place, "is no class", nearest(name, names))
        if count != int(count) or count < 0:
            raise InputError(place, f"{count} is no number of requests", "give 0 or more")
        if isinstance(classes[names.index(name)].arrivals, Closed):
            raise InputError(place, "is a closed population, whose users think at first", "leave it out")
    first = (np.zeros(int(present.get(name, 0))) for name in names)
    return [np.concatenate(pair) for pair in zip(first, arrivals, strict=True)]


def _span(scenario: Scenario, count: int, horizon_s: float | None) -> float:
    """Seconds in which requests come."""
    if horizon_s is None:
        rate = math.fsum(s.rate for s in scenario.served if not isinstance(s.arrivals, Closed))
        horizon_s = count / rate if rate else math.inf
    ends = [s.arrivals.recorded_s[-1] for s in scenario.served if isinstance(s.arrivals, Trace)]
    return min([horizon_s, *(math.nextafter(end, math.inf) for end in ends)])


def _to_come(scenario: Scenario, served: ServedClass, exactly: int | None, span: float, spare: float) -> Floats:
    """Places for the requests of a closed population: as many as its users, or the servers, can bring about."""
    users = served.arrivals
    assert isinstance(users, Closed)
    if exactly is not None:
        return np.full(exactly + SPARE_ROUNDS * users.population, math.inf)
    if math.isinf(span):
        fault = "closed populations of several classes have no common run length"
        raise InputError("simulation", fault, "give horizon_s, or use one class")
    fastest = min(users.rate, scenario.system.servers / served.size.mean)
    return np.full(int(spare * (1.2 * fastest * span + users.population)) + 16, math.inf)


def _columns_of(
    scenario: Scenario, sizes: Sequence[int], order: NDArray[np.int64] | None, seed: np.random.SeedSequence
) -> dict[str, Floats]:
    """What all requests bring, in order of arrival."""
    classes = scenario.served
    marked = any(_releases(served) for served in classes)
    streams = [{name: stream(seed, i, name) for name in STREAMS} for i in range(len(classes))]
    return _joined(
        [_columns(s, each, n, marked) for s, each, n in zip(classes, streams, sizes, strict=True)], order
    )


def _merged(arrivals: Sequence[Floats]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, Floats]:
    """Class of each arrival of all classes in order of time, that order (None: as they are), and the times."""
    if len(arrivals) == 1:
        return np.zeros(arrivals[0].size, dtype=np.int64), None, arrivals[0]
    from qmodel.simulation.kernels.arrivals import merged_order

    times, first = np.concatenate(arrivals), np.cumsum([0, *(each.size for each in arrivals)])
    order = merged_order(times, first)
    index = (order >= first[1]).astype(np.int64)
    for later in first[2:-1]:
        index += order >= later
    return index, order, times[order]


def _in_order(parts: Sequence[Floats], order: NDArray[np.int64] | None) -> Floats:
    return parts[0] if order is None else np.concatenate(parts)[order]


def _joined(drawn: Sequence[dict[str, Floats]], order: NDArray[np.int64] | None) -> dict[str, Floats]:
    """Columns of all classes in order of arrival; those that are one array in every class stay one."""
    done: dict[tuple[int, ...], Floats] = {}
    joined = {}
    for name in drawn[0]:
        parts = [columns[name] for columns in drawn]
        same = tuple(id(part) for part in parts)
        if same not in done:
            done[same] = parts[0] if not any(part.size for part in parts) else _in_order(parts, order)
        joined[name] = done[same]
    return joined


def _releases(served: ServedClass) -> bool:
    """Whether some result of the class is out before the end of its service."""
    long = served.long_queue
    return served.service.delivered_at is not None or (long is not None and long.delivered_at is not None)


def _columns(
    served: ServedClass, streams: dict[str, np.random.SeedSequence], n: int, marked: bool
) -> dict[str, Floats]:
    """What the requests of one class bring, but for arrival and lottery; marks only where any class has some.

    The long-queue columns come from the same streams again: the same requests, on the smaller model.
    """
    short, long = served.service, served.long_queue
    service = long_service = short.occupancy.sample(_generator(streams, "sizes"), n)
    mark = long_mark = _marks(short.delivered_at, streams, n) if marked else np.empty(0)
    if long is not None:
        long_service = long.occupancy.sample(_generator(streams, "sizes"), n)
        long_mark = _marks(long.delivered_at, streams, n) if marked else mark
    predicted = predictions(served.predicted_size, service, _generator(streams, "predictions"), served.size)
    return {
        "service_s": service,
        "long_s": long_service,
        "mark": mark,
        "long_mark": long_mark,
        "size_s": service,
        "long_size_s": long_service,
        "predicted_s": predicted,
    }


def _generator(streams: dict[str, np.random.SeedSequence], name: str) -> np.random.Generator:
    return np.random.default_rng(streams[name])


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
        times = rng.standard_exponential(exactly)
        np.cumsum(times, out=times)
        times /= rate
        return times
    mean = rate * horizon
    chunks, last = [], 0.0
    while last < mean:
        ahead = mean - last
        more = rng.standard_exponential(int(ahead + 6 * math.sqrt(ahead)) + 16)
        np.cumsum(more, out=more)
        more += last
        chunks.append(more)
        last = float(more[-1])
    times = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    times = times[: np.searchsorted(times, mean)]
    times /= rate
    return times


def _marks(law: Discrete | None, streams: dict[str, np.random.SeedSequence], n: int) -> Floats:
    return np.ones(n) if law is None else law.sample(_generator(streams, "deliveries"), n)


def predictions(
    law: PredictedSize, size: Floats, rng: np.random.Generator, of: Distribution | None = None
) -> Floats:
    """Predicted sizes of requests of these true sizes, draws of the law `of`; NaN where none is made.

    Without `of`, these sizes are taken for their own law.
    """
    if not size.size:
        return size
    return law.draw(size, Empirical(size) if of is None else of, rng)
