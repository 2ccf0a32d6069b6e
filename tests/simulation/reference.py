"""Two tiny schedulers in plain Python, written from the definitions alone, to hold the event loops against.

`fluid` serves at rates that change at events only; `stepwise` gives one step at a time. Both look at everybody
present at every decision, so they are slow and plain.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qmodel.policy import DPS, LAS, MLFQ, PS, Policy, Request, RoundRobin


@dataclass
class Job:
    """A request on its way; `size` is what its service takes in the mode it began in."""

    index: int
    request: Request
    short: float
    long: float
    attained: float = 0.0
    size: float = math.nan
    reduced: bool = False
    start: float = math.nan
    done: float = math.nan
    level: float = 0.0
    steps: int = 0

    def begin(self, now: float, long: bool) -> None:
        self.start, self.reduced, self.size = now, long, self.long if long else self.short
        if long:
            self.request.predicted_size *= self.long / self.short
            self.request.size = self.long


@dataclass
class Mode:
    """The queue condition, if there is one."""

    above: float = math.inf
    below: int | None = None
    long: bool = False

    def read(self, present: int) -> bool:
        held_on = self.long and self.below is not None and present >= self.below
        self.long = present > self.above or held_on
        return self.long


def best_ranks(
    policy: Policy, servers: int, thresholds: tuple[float, ...] = ()
) -> Callable[[list[Job], float], tuple[dict[int, float], float]]:
    """Speed 1 for the requests of lowest (rank, arrival); those in service stay without preemption."""

    def rates(present: list[Job], now: float) -> tuple[dict[int, float], float]:
        def place(job: Job) -> tuple:
            kept = not policy.preemptive and not math.isnan(job.start)
            return (not kept, policy.rank(job.request, job.attained), job.index)

        chosen = sorted(present, key=place)[:servers]
        ahead = [edge - job.attained for job in chosen for edge in thresholds if edge > job.attained]
        return {job.index: 1.0 for job in chosen}, min(ahead, default=math.inf)

    return rates


def sharing(
    policy: Policy, servers: int, limit: float
) -> Callable[[list[Job], float], tuple[dict[int, float], float]]:
    """Equal or weighted speeds of at most `limit` requests, the earliest to arrive."""

    def rates(present: list[Job], now: float) -> tuple[dict[int, float], float]:
        inside = sorted(present, key=lambda job: (math.isnan(job.start), job.index))
        inside = inside[: int(min(limit, len(inside)))]
        if policy.sharing == "weighted":
            total = sum(job.request.weight for job in inside)
            return {job.index: job.request.weight / total for job in inside}, math.inf
        return {job.index: min(1.0, servers / len(inside)) for job in inside}, math.inf

    return rates


def least_attained(present: list[Job], now: float) -> tuple[dict[int, float], float]:
    """Those of least attained service share the server, until they are as old as the next."""
    least = min(job.attained for job in present)
    young = [job for job in present if job.attained - least < 1e-12]
    older = [job.attained for job in present if job.attained - least >= 1e-12]
    until = (min(older) - least) * len(young) if older else math.inf
    return {job.index: 1.0 / len(young) for job in young}, until


def fluid(
    jobs: Sequence[Job],
    rates: Callable[[list[Job], float], tuple[dict[int, float], float]],
    mode: Mode | None = None,
) -> None:
    """Serve all jobs, in order of arrival in `jobs`; fills their `start`, `done` and `reduced`."""
    mode = mode or Mode()
    now, arrived = 0.0, 0
    while any(math.isnan(job.done) for job in jobs):
        while arrived < len(jobs) and jobs[arrived].request.arrival_s <= now + 1e-12:
            arrived += 1
        present = [job for job in jobs[:arrived] if math.isnan(job.done)]
        upcoming = jobs[arrived].request.arrival_s if arrived < len(jobs) else math.inf
        if not present:
            now = upcoming
            continue
        speeds, until = rates(present, now)
        for job in present:
            if job.index in speeds and math.isnan(job.start):
                job.begin(now, mode.read(len(present)))
        ending = min((job.size - job.attained) / speeds[job.index] for job in present if job.index in speeds)
        step = min(until, upcoming - now, ending)
        now += step
        for job in present:
            job.attained += step * speeds.get(job.index, 0.0)
            if job.index in speeds and job.size - job.attained < 1e-10:
                job.done = now


def fluid_rates(policy: Policy, servers: int = 1, limit: float = math.inf) -> Callable:
    """The rates of any preset but round robin."""
    if isinstance(policy, PS | DPS) or limit < math.inf:
        return sharing(policy, servers, limit)
    thresholds = policy.thresholds if isinstance(policy, MLFQ) else ()
    return least_attained if isinstance(policy, LAS) else best_ranks(policy, servers, thresholds)


@dataclass
class Turns:
    """Round robin: a queue of those who wait for their turn."""

    queue: list[Job] = field(default_factory=list)

    def serve(self, jobs: Sequence[Job], policy: RoundRobin) -> None:
        now, arrived = 0.0, 0
        serving: Job | None = None
        while any(math.isnan(job.done) for job in jobs):
            if serving is None and not self.queue:
                now = max(now, jobs[arrived].request.arrival_s)
            while arrived < len(jobs) and jobs[arrived].request.arrival_s <= now:
                self.queue.append(jobs[arrived])
                arrived += 1
            if serving is not None:
                self.queue.append(serving)
            serving = self.queue.pop(0)
            if math.isnan(serving.start):
                serving.begin(now, False)
            turn = min(policy.quantum, serving.size - serving.attained)
            now, serving.attained = now + turn, serving.attained + turn
            if serving.size - serving.attained < 1e-12:
                serving.done, serving = now, None


def stepwise(jobs: Sequence[Job], policy: Policy, step_s: float, mode: Mode | None = None) -> list[int]:
    """One step of `step_s` after another; returns whose each was."""
    mode = mode or Mode()
    now, arrived, order = 0.0, 0, []
    number = itertools.count()
    over: Job | None = None
    serving: Job | None = None
    waiting: list[Job] = []
    while any(math.isnan(job.done) for job in jobs):
        if serving is None and not waiting:
            now = max(now, jobs[arrived].request.arrival_s)
        while arrived < len(jobs) and jobs[arrived].request.arrival_s <= now:
            job = jobs[arrived]
            arrived += 1
            present = waiting + ([serving] if serving else [])
            job.level = min((other.level for other in present), default=0.0)
            if policy.sharing:
                job.begin(math.nan, mode.read(len(present) + 1))
            job.request.joined = next(number)
            waiting.append(job)
        if over is not None:
            over.request.joined, over = next(number), None
        serving = _next(serving, waiting, policy)
        if math.isnan(serving.start):
            present_now = len(waiting) + 1
            serving.begin(now, serving.reduced if policy.sharing else mode.read(present_now))
        now += step_s
        order.append(serving.index)
        serving.steps += 1
        total = round(serving.size / step_s)
        before, serving.attained = serving.attained, serving.size * serving.steps / total
        weight = serving.request.weight if policy.sharing == "weighted" else 1.0
        serving.level += (serving.attained - before) / weight
        if isinstance(policy, RoundRobin) and policy.turns(serving.attained) > policy.turns(before):
            over = serving
        if serving.steps == total:
            serving.done, serving, over = now, None, None
    return order


def _next(serving: Job | None, waiting: list[Job], policy: Policy) -> Job:
    def place(job: Job) -> tuple[float, int]:
        return (job.level if policy.sharing else policy.rank(job.request, job.attained)), job.index

    if serving is not None:
        if not (policy.preemptive or policy.sharing):
            return serving
        waiting.append(serving)
    chosen = min(waiting, key=place)
    waiting.remove(chosen)
    return chosen
