"""The visits of requests: which stations each passes, how often it comes back, and what each visit needs.

Rows 0 to n - 1 are the first visits of the n requests; those that follow are behind them, request by request.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.simulation import streams
from qmodel.simulation.draw import predictions
from qmodel.simulation.kernels.network_rows import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario, ServedClass
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Visits:
    """`rows`: columns of all visits; `owner`: the request of each; `following`: its next or NONE, after `gap_s`.

    `patience_s` is infinite but for first visits of impatient classes; `route` is uniform on [0, 1).
    """

    rows: Requests
    owner: Whole
    station: Whole
    following: Whole
    gap_s: Floats
    patience_s: Floats
    route: Floats


def visits_of(scenario: Scenario, requests: Requests, seed: np.random.SeedSequence) -> Visits:
    """All visits of these requests."""
    parts = [_further(scenario, requests, index, seed) for index in range(len(scenario.served))]
    count = len(requests)
    owner = np.concatenate([np.arange(count), *(part.owner for part in parts)])
    # request by request: a stable sort of what follows, class by class, by its owner
    order = np.argsort(owner[count:], kind="stable")
    further = {n: np.concatenate([getattr(part, n) for part in parts])[order] for n in FURTHER}
    first_station = np.array([_path(scenario, served)[0] for served in scenario.served], dtype=np.int64)
    following, gap_s = _links(count, further)
    patience, route = _first(scenario, requests, seed)
    blank = np.full(order.size, np.inf)
    return Visits(
        rows=_rows(requests, further),
        owner=np.concatenate([np.arange(count), further["owner"]]),
        station=np.concatenate([first_station[requests.class_index], further["station"]]),
        following=following,
        gap_s=gap_s,
        patience_s=np.concatenate([patience, blank]),
        route=np.concatenate([route, further["route"]]),
    )


FURTHER = ("owner", "station", "before_s", "service_s", "predicted_s", "lottery", "route")


@dataclass(frozen=True)
class _Further:
    """Visits after the first, of one class, in order of request; `before_s` lies before each."""

    owner: Whole
    station: Whole
    before_s: Floats
    service_s: Floats
    predicted_s: Floats
    lottery: Floats
    route: Floats


def _path(scenario: Scenario, served: ServedClass) -> list[int]:
    """Stations that the class visits, by number."""
    if not scenario.stations:
        return [0]
    return [i for i, station in enumerate(scenario.stations) if station.name in served.at_stations]


def _further(scenario: Scenario, requests: Requests, index: int, seed: np.random.SeedSequence) -> _Further:
    served = scenario.served[index]
    mine = np.flatnonzero(requests.class_index == index)
    path, pause = _path(scenario, served), served.pause
    passes = np.ones(mine.size, dtype=np.int64)
    rng = streams.generator(seed, index, "pauses")
    if pause is not None:
        passes = rng.geometric(1.0 - pause.probability, mine.size)
    number = passes * len(path) - 1
    owner = np.repeat(mine, number)
    # place of each among its request's visits: 1, 2, ...
    place = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + 1
    leg = place % len(path)
    station = np.array(path, dtype=np.int64)[leg]
    before = _transfers(scenario, path)[leg]
    if pause is not None:
        back = leg == 0
        before[back] = pause.duration.sample(rng, int(back.sum()))
    service = _services(scenario, served, station, streams.generator(seed, index, "visits"))
    return _Further(
        owner,
        station,
        before,
        service,
        predictions(served.predicted_size, service, streams.generator(seed, index, "visit predictions")),
        streams.generator(seed, index, "visit lotteries").random(owner.size),
        streams.generator(seed, index, "visit routes").random(owner.size),
    )


def _transfers(scenario: Scenario, path: list[int]) -> Floats:
    """Seconds on the way to each leg of the path from the one before it: over the stations passed by, too."""
    ways = [0.0]
    for here, there in itertools.pairwise(path):
        ways.append(sum(scenario.stations[station].transfer_s for station in range(here, there)))
    return np.array(ways)


def _services(scenario: Scenario, served: ServedClass, station: Whole, rng: np.random.Generator) -> Floats:
    if not scenario.stations:
        return served.size.sample(rng, station.size)
    service = np.empty(station.size)
    for number in np.unique(station):
        chosen = station == number
        law = served.at_stations[scenario.stations[number].name]
        service[chosen] = law.sample(rng, int(chosen.sum()))
    return service


def _links(count: int, further: dict[str, NDArray]) -> tuple[Whole, Floats]:
    """The next visit of each, and the time between."""
    total = count + further["owner"].size
    following, gap = np.full(total, NONE, dtype=np.int64), np.zeros(total)
    owner = further["owner"]
    opens = np.ones(owner.size, dtype=bool)
    opens[1:] = owner[1:] != owner[:-1]
    before = np.where(opens, owner, np.arange(owner.size) + count - 1)
    following[before] = np.arange(owner.size) + count
    gap[before] = further["before_s"]
    return following, gap


def _first(scenario: Scenario, requests: Requests, seed: np.random.SeedSequence) -> tuple[Floats, Floats]:
    """Patience and ticket of first visits."""
    patience, route = np.full(len(requests), np.inf), np.empty(len(requests))
    for index, served in enumerate(scenario.served):
        mine = requests.class_index == index
        size = int(mine.sum())
        route[mine] = streams.generator(seed, index, "routes").random(size)
        if served.patience is not None:
            patience[mine] = served.patience.sample(streams.generator(seed, index, "patience"), size)
    return patience, route


def _rows(requests: Requests, further: dict[str, NDArray]) -> Requests:
    """The columns of all visits; those that follow the first are not known to arrive yet."""
    owner = further["owner"]
    if not owner.size:
        return requests
    service, lottery = further["service_s"], np.concatenate([requests.lottery, further["lottery"]])
    ones = np.ones(owner.size if requests.mark.size else 0)
    return replace(
        requests,
        arrival_s=np.concatenate([requests.arrival_s, np.full(owner.size, np.nan)]),
        class_index=np.concatenate([requests.class_index, requests.class_index[owner]]),
        service_s=np.concatenate([requests.service_s, service]),
        long_s=np.concatenate([requests.long_s, service]),
        mark=np.concatenate([requests.mark, ones]),
        long_mark=np.concatenate([requests.long_mark, ones]),
        size_s=np.concatenate([requests.size_s, service]),
        long_size_s=np.concatenate([requests.long_size_s, service]),
        predicted_s=np.concatenate([requests.predicted_s, further["predicted_s"]]),
        draw_lottery=lambda: lottery,
    )
