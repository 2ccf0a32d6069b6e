"""Laws that every run obeys, by name; each check raises `Broken` with what it saw.

| name | says |
|---|---|
| conservation | every request that came was served, was rejected or gave up: exactly one of them |
| causality | arrival <= first service, then services and overheads one after another, result out by the end |
| work conservation | one server is busy exactly while somebody is there |
| caps | no more at once than there may be |
| no lost work | a server's busy time is the services and overheads of its requests, however often interrupted |
| Little's law | the integral of the number in the system is the sum of the times spent there |
| determinism | the same requests and seed give the same bits |
| live order | services are taken up in the order of the live scheduler |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.simulation.network.serving import Fates
    from qmodel.simulation.replaying import Outcome

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SLACK = 1e-9
"""Relative error of sums of times that rounding may leave."""


class Broken(AssertionError):
    """An invariant that does not hold: `name`, and where."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(f"{name}: {where}")
        self.name = name


@dataclass(frozen=True)
class Records:
    """What became of each request. Times (s) that there are not are NaN; `service_s` is service alone."""

    arrival_s: Floats
    start_s: Floats
    done_s: Floats
    delivered_s: Floats
    service_s: Floats
    overhead_s: Floats
    away_s: Floats
    rejected: Flags
    abandoned: Flags

    @classmethod
    def of_fates(cls, fates: Fates) -> Records:
        """Of a run of the general loop, or of batches."""
        from qmodel.simulation.kernels.network_rows import ABANDONED, REJECTED

        return cls(
            fates.arrival_s, fates.start_s, fates.done_s, fates.delivered_s, fates.service_s, fates.overhead_s,
            fates.away_s, fates.state == REJECTED, fates.state == ABANDONED,
        )  # fmt: skip

    @classmethod
    def of_outcome(cls, outcome: Outcome, arrival_s: Floats, service_s: Floats) -> Records:
        """Of a replay of these requests."""
        none = np.zeros(arrival_s.size)
        return cls(
            arrival_s, outcome.start_s, outcome.done_s, outcome.delivered_s, service_s, none, none,
            outcome.rejected, outcome.abandoned,
        )  # fmt: skip

    @property
    def served(self) -> Flags:
        """Who was served to the end."""
        return ~np.isnan(self.delivered_s)

    @property
    def left_s(self) -> Floats:
        """When each was out of the system; at once, if rejected."""
        return np.where(self.rejected, self.arrival_s, self.done_s)


def conservation(run: Records) -> None:
    """Every request that came was served, was rejected or gave up: exactly one of them."""
    ends = run.served.astype(int) + run.rejected + run.abandoned
    _require("conservation", ends == 1, "ends %s times", ends)


def causality(run: Records, fastest: float = 1.0) -> None:
    """Arrival, first service, services one after another, result out by the end; servers at most so fast."""
    ok = run.served
    needed = run.start_s + run.service_s / fastest + run.away_s
    slack = SLACK * np.maximum(1.0, np.abs(run.done_s))
    _require("causality", ~ok | (run.start_s >= run.arrival_s - slack), "starts at %s, before it came", run.start_s)
    _require("causality", ~ok | (run.done_s >= needed - slack), "is done at %s, before it could be", run.done_s)
    _require("causality", ~ok | (run.delivered_s <= run.done_s + slack), "is out at %s, after it", run.delivered_s)
    early = run.abandoned & (run.done_s < run.arrival_s - slack)
    _require("causality", ~early, "gives up at %s, before it came", run.done_s)


def work_conservation(run: Records) -> None:
    """One server is busy exactly while somebody is there: busy periods end as they do first come, first served.

    For those that were served, on one server that is always there, at any order.
    """
    ok = run.served
    order = np.argsort(run.arrival_s[ok], kind="stable")
    arrival, work = run.arrival_s[ok][order], (run.service_s + run.overhead_s)[ok][order]
    if not arrival.size:
        return
    expected = _busy_ends(arrival, _first_come(arrival, work))
    found = _busy_ends(arrival, np.sort(run.done_s[ok]))
    if len(expected) != len(found) or not np.allclose(expected, found, rtol=SLACK, atol=1e-7):
        raise Broken("work conservation", f"busy periods end at {found[:5]}..., not at {expected[:5]}...")


def _first_come(arrival: Floats, work: Floats) -> Floats:
    """Departures of a queue in order of arrival: Lindley's recursion without a loop."""
    total = np.cumsum(work)
    return total + np.maximum.accumulate(arrival - (total - work))


def _busy_ends(arrival: Floats, done: Floats) -> list[float]:
    """Instants at which the i-th to leave leaves before the next comes; both sorted."""
    gap = np.append(arrival[1:] > done[:-1] + 1e-9 * np.maximum(1.0, done[:-1]), True)
    return list(done[gap])


def caps(run: Records, most: int, of: str = "in the system") -> None:
    """No more at once than `most`: "in the system", or "in service" from the first service to the end."""
    came = ~run.rejected & ~np.isnan(run.left_s)
    begin, end = run.arrival_s[came], run.left_s[came]
    if of == "in service":
        begun = run.served
        begin, end = run.start_s[begun], run.done_s[begun]
    present = _present(begin, end)[1]
    if present.size and present.max() > most:
        raise Broken("caps", f"{present.max()} {of}, and {most} is the most")


def _present(begin: Floats, end: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Instants of change, and how many are there from each on; who leaves at an instant is gone at it."""
    times = np.concatenate((begin, end))
    change = np.repeat([1, -1], begin.size)
    order = np.lexsort((change, times))
    return times[order], np.cumsum(change[order])


def no_lost_work(run: Records, busy_s: float) -> None:
    """The servers' busy time is the services and overheads of the requests, however often interrupted or moved."""
    needed = float((run.service_s + run.overhead_s)[run.served].sum())
    if abs(busy_s - needed) > SLACK * max(1.0, needed):
        raise Broken("no lost work", f"servers were busy for {busy_s} s, requests needed {needed} s")


def littles_law(run: Records, area_s: float) -> None:
    """The integral of the number in the system, counted as it changes, is the sum of the times spent there."""
    stays = (run.left_s - run.arrival_s)[np.isfinite(run.left_s)]
    total = float(stays.sum())
    if abs(area_s - total) > SLACK * max(1.0, total):
        raise Broken("Little's law", f"integral {area_s} s, sum of stays {total} s")


def determinism(one: Mapping[str, NDArray], other: Mapping[str, NDArray]) -> None:
    """Two runs of the same are the same bits."""
    for name, column in one.items():
        if not np.array_equal(column, other[name], equal_nan=np.asarray(column).dtype.kind == "f"):
            raise Broken("determinism", f"{name} differs")


def live_order(simulated: NDArray[np.int64], live: NDArray[np.int64]) -> None:
    """Services are taken up in the order of the live scheduler."""
    if simulated.size != live.size:
        raise Broken("live order", f"{simulated.size} services against {live.size}")
    differs = np.flatnonzero(simulated != live)
    if differs.size:
        at = int(differs[0])
        raise Broken("live order", f"service {at + 1} is of request {simulated[at]}, live of {live[at]}")


def _require(name: str, holds: Flags, text: str, values: NDArray) -> None:
    if not holds.all():
        first = int(np.argmin(holds))
        raise Broken(name, f"request {first + 1} " + text % values[first])
