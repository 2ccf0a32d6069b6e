"""Live runs: drawn requests served step by step on the device under each policy, against predictions saved before.

The serving loop, the scheduler and the engine are qmodel's own; requests arrive by the clock in the serving
process itself, so there is no client that could lag. First the service time is profiled, then every run is
predicted and the predictions are written down, then the runs are made; all policies see the same requests.
"""

from __future__ import annotations

import csv
import io
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from campaign import livequeue
from campaign.livequeue import CLASSES, RULES, Arrival, Prediction, Rule, ServiceTime
from campaign.records import PACING
from qmodel.live.engine import Engine, Work, warm_up
from qmodel.live.scheduler import Scheduler
from qmodel.live.server import Loop, entries_of
from qmodel.live.wire import Record, RunOrder

COLUMNS = (
    "run_id", "device", "policy", "load", "seed", "request_id", "class", "scheduled_s", "sent_s", "first_token_s",
    "last_token_s", "done_s", "input_tokens", "output_tokens", "exit", "status", "started_s", "left_s", "service_s",
    "size_s", "reduced", "steps",
)  # fmt: skip
"""The request log of every live run, after the columns that say which run it is."""
SPIN_S = 2e-4
IDLE_GAPS = "idle-gaps"
PACINGS = (PACING, IDLE_GAPS)


@dataclass(frozen=True)
class LivePlan:
    """Loads and seeds, seconds of arrivals in each run, and repetitions of each step count in the profile."""

    loads: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8)
    seeds: tuple[int, ...] = (1, 2)
    horizon_s: float = 8.0
    profile_repetitions: int = 20
    warmup_s: float = 0.5
    drain_s: float = 4.0

    @property
    def run_s(self) -> float:
        """Seconds that one run may take."""
        return self.horizon_s + self.drain_s


# --- profile ---------------------------------------------------------------------------------------------


def step_counts() -> list[int]:
    """Every number of steps that a request can have, whole or after early exit."""
    whole = {n for c in CLASSES for n in c.steps}
    return sorted(whole | {max(1, n // 2) for n in whole})


def profile(engine: Engine, plan: LivePlan, keep: Callable[[dict[str, Any]], None]) -> dict[str, dict[int, float]]:
    """Median seconds of a request by pacing and steps, in random order within blocks; `keep` takes every row.

    With idle gaps the device rests before each repetition, for as long on average as the repetition takes.
    """
    warm_up(engine, [Work({"batch_size": 1, "steps": n}, 0.0) for n in step_counts()], plan.warmup_s)
    seconds: dict[tuple[str, int], list[float]] = {}
    generator = random.Random("profile")
    cells = [(pacing, n) for pacing in PACINGS for n in step_counts()]
    for block in range(1, plan.profile_repetitions + 1):
        for pacing, n in generator.sample(cells, len(cells)):
            past = seconds.setdefault((pacing, n), [])
            if pacing == IDLE_GAPS:
                time.sleep(generator.expovariate(1.0) * (median(past) if past else 0.01))
            past.append(timed_request(engine, n))
            keep({"steps": n, "pacing": pacing, "replicate": block, "block": block, "latency_s": past[-1]})
    return {p: {n: median(seconds[p, n]) for n in step_counts()} for p in PACINGS}


def timed_request(engine: Engine, steps: int) -> float:
    """Seconds of one request alone, as the serving loop counts them."""
    begin = time.monotonic()
    job = engine.start(Work({"batch_size": 1, "steps": steps}, 0.0))
    while job.remaining:
        job.step()
    return time.monotonic() - begin


# --- one run ---------------------------------------------------------------------------------------------


class ArrivalsByClock:
    """The serving loop's inbox: a request is there once its time has come; `stopped` when the time is over."""

    def __init__(self, scheduled_s: Sequence[float], origin: float, limit_s: float) -> None:
        self._due = [origin + t for t in scheduled_s]
        self._next, self._end = 0, origin + limit_s
        self.closed = not self._due
        self.stopped = False

    def arrived(self) -> list[int]:
        """Indices of the requests that have come since the last call."""
        now, first = time.monotonic(), self._next
        while self._next < len(self._due) and self._due[self._next] <= now:
            self._next += 1
        self.closed = self._next == len(self._due)
        self.stopped = now > self._end
        return list(range(first, self._next))

    def wait(self, most_s: float | None = None) -> None:
        """Sleep until the next one comes, at most so long; awake at the end, for a sleep ends late."""
        due = self._due[self._next] if self._next < len(self._due) else 0.0
        if most_s is not None:
            due = min(due, time.monotonic() + most_s)
        time.sleep(max(0.0, due - time.monotonic() - SPIN_S))
        while time.monotonic() < due:
            pass


@dataclass
class Results:
    """The serving loop's outbox: records by index; the loop hands them over when it has time to."""

    write: Callable[[Sequence[Record]], None]
    records: dict[int, Record] = field(default_factory=dict)

    def send(self, records: Sequence[Record]) -> None:
        """Requests that are finished or have failed."""
        self.records |= {record.index: record for record in records}
        if records:
            self.write(records)


def serve(
    engine: Engine, arrivals: Sequence[Arrival], rule: Rule, service: ServiceTime, plan: LivePlan,
    write: Callable[[Sequence[Record]], None],
) -> tuple[dict[int, Record], Mapping[str, Any]]:  # fmt: skip
    """Serve the arrivals under the rule; records by request, and what the loop says of itself."""
    order = order_of(arrivals, rule, service)
    warm_up(engine, order.works[:1], min(0.2, plan.warmup_s))
    results = Results(write)
    origin = time.monotonic() + 0.01
    inbox: Any = ArrivalsByClock([a.scheduled_s for a in arrivals], origin, plan.run_s)
    loop = Loop(engine, Scheduler(rule.policy(), rule.condition), entries_of(order), inbox, results)  # type: ignore[arg-type]
    loop.run(origin)
    return results.records, loop.tally.report()


def order_of(arrivals: Sequence[Arrival], rule: Rule, service: ServiceTime) -> RunOrder:
    """The arrivals as the server takes them."""
    reduced = rule.condition is not None

    def work(steps: int, index: int) -> Work:
        return Work({"batch_size": 1, "steps": steps}, service(steps), index)

    return RunOrder(
        policy=b"",
        condition=rule.condition,
        requests=[livequeue.request_of(a, service) for a in arrivals],
        works=[work(a.steps, i) for i, a in enumerate(arrivals)],
        works_long=[work(a.fewer_steps, i) if reduced else None for i, a in enumerate(arrivals)],
        size_long=[service(a.fewer_steps) if reduced else None for a in arrivals],
        delivered=[1.0] * len(arrivals),
    )


# --- rows ------------------------------------------------------------------------------------------------


def row_of(arrival: Arrival, index: int, record: Record | None, service: ServiceTime) -> dict[str, Any]:
    """One row of the log; without a record, of a request that was not finished."""
    row: dict[str, Any] = {
        "request_id": index,
        "class": arrival.traffic.name,
        "scheduled_s": f"{arrival.scheduled_s:.9f}",
        "sent_s": f"{arrival.scheduled_s:.9f}",
        "size_s": f"{service(arrival.steps):.9f}",
        "reduced": 0,
        "steps": arrival.steps,
    }
    if record is None:
        return row | {"status": "failed: the run's time was over"}
    times = {"started_s": record.started_s, "left_s": record.left_s, "service_s": record.service_s}
    row |= {name: f"{seconds:.9f}" for name, seconds in times.items()}
    row |= {"reduced": int(record.reduced), "steps": record.steps, "exit": "reduced" if record.reduced else "full"}
    if record.failure:
        return row | {"status": f"failed: {record.failure}"}
    return row | {"done_s": f"{record.delivered_s:.9f}", "status": "ok"}


class RequestLog:
    """The CSV of all runs; the rows of a run that was cut are dropped when it is taken up again."""

    def __init__(self, path: Path, run_id: str, device: str) -> None:
        self.path, self._who = path, {"run_id": run_id, "device": device}

    def begin(self) -> None:
        """A new file."""
        self._replace([])

    def recover(self, predictions: Sequence[Prediction]) -> set[tuple[str, str, str]]:
        """Runs that are complete in the file; rows of others are removed from it."""
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
        have = Counter(_run_of(row) for row in rows)
        complete = {run for p in predictions if have[run := run_key(p)] == p.requests}
        self._replace([row for row in rows if _run_of(row) in complete])
        return complete

    def append(self, prediction: Prediction, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows of a run, flushed."""
        run = {"policy": prediction.policy, "load": prediction.load, "seed": prediction.seed}
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(self._text([{**self._who, **run, **row} for row in rows]))

    def _replace(self, rows: Sequence[Mapping[str, Any]]) -> None:
        partial = self.path.with_name(self.path.name + ".part")
        partial.write_text(",".join(COLUMNS) + "\n" + self._text(rows), encoding="utf-8")
        partial.replace(self.path)

    def _text(self, rows: Sequence[Mapping[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()


def _run_of(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["policy"], row["load"], row["seed"]


def run_key(prediction: Prediction) -> tuple[str, str, str]:
    """A run as the file names it."""
    return prediction.policy, str(prediction.load), str(prediction.seed)


def rule_named(name: str) -> Rule:
    """The rule of a name."""
    return next(rule for rule in RULES if rule.name == name)


def replayed_mean_s(
    arrivals: Sequence[Arrival], records: Mapping[int, Record], rule: Rule, service: ServiceTime
) -> float:
    """Mean response when the same arrivals take their measured service times, without a device: what is left of the
    difference to the live run is the serving loop's own time.
    """
    steps = [
        records[i].service_s / records[i].steps if i in records and records[i].steps else service.per_step_s
        for i in range(len(arrivals))
    ]
    responses = livequeue.responses_on_paper(arrivals, rule, service, steps)
    return sum(responses) / max(1, len(responses))
