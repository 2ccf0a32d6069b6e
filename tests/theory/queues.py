"""Slow and plain simulations of single queues, written apart from the package: the tests' second opinion."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error from batch means."""

    mean: float
    error: float

    @classmethod
    def of(cls, values, batches=40, warm_up=0.05):
        kept = np.asarray(values)[int(len(values) * warm_up) :]
        size = len(kept) // batches
        means = kept[: size * batches].reshape(batches, size).mean(axis=1)
        return cls(float(kept.mean()), float(means.std(ddof=1) / batches**0.5))

    def agrees(self, value, within=0.02, sigmas=4.0):
        """Whether the value lies within four standard errors, themselves small against the mean."""
        assert self.error < within * self.mean, f"standard error {self.error:g} of {self.mean:g} is too wide"
        return abs(value - self.mean) < sigmas * self.error


@dataclass
class Job:
    arrival: float
    number: int
    short: float
    long: float
    left: float = -1.0
    reduced: bool = False
    done: float = 0.0


def jobs(classes, n, seed):
    """`n` jobs of Poisson classes given as (rate, short law, long law), merged in order of arrival."""
    rng = np.random.default_rng(seed)
    total = sum(rate for rate, *_ in classes)
    made = []
    for number, (rate, short, long) in enumerate(classes):
        count = int(n * rate / total)
        times = np.cumsum(rng.exponential(1.0 / rate, count)).tolist()
        pairs = zip(times, short.sample(rng, count).tolist(), long.sample(rng, count).tolist(), strict=True)
        made += [Job(time, number, s, long_s) for time, s, long_s in pairs]
    return sorted(made, key=lambda job: job.arrival)


def priority_queue(arriving, preemptive, above=10**9):
    """Serve by class number, FCFS inside; long service for a start with more than `above` present."""
    levels = [[] for _ in range(1 + max(job.number for job in arriving))]
    present, now, current, i = 0, 0.0, None, 0
    while i < len(arriving):
        if current is None:
            level = next((level for level in levels if level), None)
            if level is None:
                now = arriving[i].arrival
                levels[arriving[i].number].append(arriving[i])
                present += 1
                i += 1
                continue
            current = level.pop(0)
            if current.left < 0:
                current.reduced = present > above
                current.left = current.long if current.reduced else current.short
        end = now + current.left
        if arriving[i].arrival < end:
            newcomer = arriving[i]
            i += 1
            present += 1
            current.left -= newcomer.arrival - now
            now = newcomer.arrival
            levels[newcomer.number].append(newcomer)
            if preemptive and newcomer.number < current.number:
                levels[current.number].insert(0, current)
                current = None
        else:
            now = current.done = end
            present -= 1
            current = None
    return [job for job in arriving if job.done > 0]


def fcfs_queue(arriving, above=10**9, below=None, swap=0.0):
    """FCFS with a queue threshold, hysteresis and swap times."""
    times = [job.arrival for job in arriving]
    now, seen, long, swaps = 0.0, 0, False, 0
    for i, job in enumerate(arriving):
        start = max(now, job.arrival)
        while seen < len(times) and times[seen] <= start:
            seen += 1
        present = seen - i
        before = long
        long = present >= below if long and below is not None else present > above
        job.reduced = long
        swaps += long != before
        job.done = now = start + swap * (long != before) + (job.long if long else job.short)
    return arriving, swaps / len(arriving)


def responses(served, number=None):
    """Response times of one class, or of all."""
    return np.array([job.done - job.arrival for job in served if number in (None, job.number)])


def reduced(served, number=None):
    """Whether each was served in the long-queue mode."""
    return np.array([float(job.reduced) for job in served if number in (None, job.number)])


@dataclass
class Sized:
    arrival: float
    size: float
    predicted: float
    number: int = 0
    attained: float = 0.0
    done: float = 0.0


def sized_jobs(classes, n, seed):
    """Jobs of classes given as (rate, size law, function(rng, sizes) -> predictions)."""
    rng = np.random.default_rng(seed)
    total = sum(rate for rate, *_ in classes)
    made = []
    for number, (rate, law, predict) in enumerate(classes):
        count = int(n * rate / total)
        times = np.cumsum(rng.exponential(1.0 / rate, count)).tolist()
        sizes = law.sample(rng, count)
        guesses = predict(rng, sizes).tolist()
        made += [Sized(t, s, g, number) for t, s, g in zip(times, sizes.tolist(), guesses, strict=True)]
    return sorted(made, key=lambda job: job.arrival)


def rank_queue(arriving, rank, preemptive, turns=lambda job: ()):
    """Lowest rank(job) first, ties to the earlier arrival; decides at arrivals, completions and ages in `turns`."""
    heap, now, current, i = [], 0.0, None, 0

    def put(job):
        heapq.heappush(heap, (rank(job), job.arrival, id(job), job))

    while i < len(arriving):
        if current is None:
            if not heap:
                now = arriving[i].arrival
                put(arriving[i])
                i += 1
            current = heapq.heappop(heap)[3]
            if i == len(arriving):
                break
        ages = [age for age in turns(current) if current.attained < age < current.size]
        stop = now + (min(ages) if ages else current.size) - current.attained
        if arriving[i].arrival < stop:
            current.attained += arriving[i].arrival - now
            now = arriving[i].arrival
            put(arriving[i])
            i += 1
        else:
            current.attained = min(ages) if ages else current.size
            now = stop
            if not ages:
                current.done = now
                current = None
        if current is not None and preemptive and heap and heap[0][:2] < (rank(current), current.arrival):
            put(current)
            current = None
    return [job for job in arriving if job.done > 0]


def sharing_queue(arriving):
    """Egalitarian processor sharing of `Sized` jobs, by virtual time."""
    heap, virtual, now, i = [], 0.0, 0.0, 0
    while i < len(arriving):
        stop = now + (heap[0][0] - virtual) * len(heap) if heap else math.inf
        if arriving[i].arrival < stop:
            virtual += (arriving[i].arrival - now) / len(heap) if heap else 0.0
            now = arriving[i].arrival
            heapq.heappush(heap, (virtual + arriving[i].size, i, arriving[i]))
            i += 1
        else:
            virtual, _, job = heapq.heappop(heap)
            now = job.done = stop
    return [job for job in arriving if job.done > 0]
