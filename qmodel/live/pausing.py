"""Pauses of live requests: drawn before the run, written in the schedule and in the log, and kept by a request.

A request whose service ends with a pause is away for its time, and comes back for a service of its class's own
lengths, its context longer by the new input. `later` is the column with what follows the first service: PAUSE_S:
INPUT:OUTPUT for each later one, spaces between. `away_s` is the sum of the pauses, which no response time counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.workload import RequestClass
    from qmodel.workload.pause import KeyValueCache

LATER, AWAY = "later", "away_s"
LENGTHS = ("input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class LaterService:
    """A service that follows a pause: away for `pause_s`, then so many tokens more."""

    pause_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Pauses:
    """What follows the first service of a request, and what becomes of its KV cache while it is away."""

    kv: KeyValueCache = "keep"
    services: tuple[LaterService, ...] = ()

    @property
    def input_tokens(self) -> int:
        """Tokens that it brings from its pauses, in all."""
        return sum(each.input_tokens for each in self.services)

    @property
    def output_tokens(self) -> int:
        """Tokens that it makes after its first service, in all."""
        return sum(each.output_tokens for each in self.services)

    @property
    def away_s(self) -> float:
        """Seconds of all its pauses."""
        return sum(each.pause_s for each in self.services)


NONE = Pauses()
"""Of a request that is served once."""


def written(services: Iterable[LaterService]) -> str:
    """Services as the column `later` has them.

    >>> written([LaterService(0.25, 40, 20), LaterService(1.5, 30, 10)])
    '0.25:40:20 1.5:30:10'
    """
    return " ".join(f"{each.pause_s!r}:{each.input_tokens}:{each.output_tokens}" for each in services)


def read(text: object) -> tuple[LaterService, ...]:
    """Inverse of `written`; a log has NaN where there are none. Raises InputError.

    >>> read("0.25:40:20")
    (LaterService(pause_s=0.25, input_tokens=40, output_tokens=20),)
    >>> read(float("nan"))
    ()
    """
    if not isinstance(text, str):
        return ()
    try:
        parts = (each.split(":") for each in text.split())
        return tuple(LaterService(float(pause), int(first), int(second)) for pause, first, second in parts)
    except ValueError as error:
        raise InputError(f"column {LATER}", f"{text!r} is no list of services", "e.g. 0.25:40:20") from error


def drawn(
    one: RequestClass, stream: Callable[[str], np.random.Generator], n: int
) -> list[tuple[LaterService, ...]]:
    """What follows the first service of `n` requests: geometric in number, each of the class's own lengths.

    `stream` gives the random stream of a name; those of pauses are no other's.
    """
    if one.pause is None:
        return [()] * n
    rng = stream("pauses")
    numbers = rng.geometric(1.0 - one.pause.probability, n) - 1
    total = int(numbers.sum())
    pauses = np.maximum(0.0, one.pause.duration.sample(rng, total))
    lengths = (one.factors[name].sample(stream(f"later {name}"), total) for name in LENGTHS)
    whole = (np.maximum(1.0, np.rint(each)).astype(int).tolist() for each in lengths)
    rows = zip(pauses.tolist(), *whole, strict=True)
    services = [LaterService(*row) for row in rows]
    ends = np.cumsum(numbers)
    return [tuple(services[end - number : end]) for number, end in zip(numbers, ends, strict=True)]


def pauses_of(scenario: Scenario, rows: Mapping[str, list[Any]]) -> tuple[Pauses, ...]:
    """Of each request of a schedule, given as columns; none where no class pauses."""
    if LATER not in rows:
        return ()
    kinds: dict[str, KeyValueCache] = {each.name: each.pause.kv for each in scenario.classes if each.pause}
    return tuple(
        Pauses(kinds[name], read(text)) if name in kinds else NONE
        for name, text in zip(rows["class"], rows[LATER], strict=True)
    )


def away_s(log: pd.DataFrame) -> NDArray[np.float64]:
    """Seconds that the requests of a log were away, 0 where nobody pauses."""
    return log[AWAY].to_numpy(dtype=float) if AWAY in log else np.zeros(len(log))


def response_s(log: pd.DataFrame) -> NDArray[np.float64]:
    """Seconds from the scheduled arrival to the end, pauses left out."""
    ended = log["done_s"].to_numpy(dtype=float)
    return np.asarray(ended - log["scheduled_s"].to_numpy(dtype=float) - away_s(log))


def check_pauses(scenario: Scenario) -> None:
    """Raise InputError for what is not run live together with pauses."""
    if "pause" not in scenario.features:
        return
    if scenario.transforms:
        raise InputError("transform", "is not run live together with pauses", "leave one of them out")
    if scenario.policy.preemptive and scenario.system.kv_capacity_tokens is not None:
        fault = "is not bounded live for a preemptive policy together with pauses"
        raise InputError("system.kv_capacity_tokens", fault, "leave it out, or use fcfs")
    for one in scenario.classes:
        if one.pause and one.predicted_size.error not in ("none", "exact"):
            fault = "of requests that pause are not run live"
            raise InputError(f"class '{one.name}', predicted_size", fault, "use error = 'exact'")
