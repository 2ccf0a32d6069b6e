"""Plain simulations of single queues out of the ordinary, FCFS, written apart from the package."""

import heapq
from collections import deque

import numpy as np


def stream(processes, laws, n, seed):
    """Arrival times, services and class numbers of about n requests, merged."""
    rng = np.random.default_rng(seed)
    horizon = n / sum(process.rate for process in processes)
    times = [process.times(rng, horizon) for process in processes]
    sizes = [law.sample(rng, len(part)) for law, part in zip(laws, times, strict=True)]
    numbers = np.repeat(np.arange(len(times)), [len(part) for part in times])
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(times)[order], np.concatenate(sizes)[order], numbers[order]


def waits(times, sizes):
    """Lindley's recursion: waits of a queue that starts empty."""
    steps = np.cumsum(np.append(0.0, sizes[:-1] - np.diff(times)))
    return steps - np.minimum.accumulate(np.minimum(steps, 0.0))


def in_environment(times, sizes, speeds, generator, seed):
    """Responses when the speed follows a Markov chain: time is told by the capacity since the start."""
    rng = np.random.default_rng(seed)
    q = np.array(generator)
    upto = (np.cumsum(np.maximum(q, 0.0), axis=1) / -np.diag(q)[:, None]).tolist()
    leave = (-np.diag(q)).tolist()
    state, clock, capacity = 0, [0.0], [0.0]
    while clock[-1] < 1.2 * times[-1]:
        for unit, lot in zip(rng.standard_exponential(4096).tolist(), rng.random(4096).tolist(), strict=True):
            stay = unit / leave[state]
            clock.append(clock[-1] + stay)
            capacity.append(capacity[-1] + speeds[state] * stay + 1e-12)
            state = next(i for i, odds in enumerate(upto[state]) if lot < odds or odds > 1 - 1e-12)
    offered = np.interp(times, clock, capacity)
    ended = waits(offered, sizes) + offered + sizes
    return np.interp(ended, capacity, clock) - times


def away(times, sizes, rest, setup):
    """Waits when the server takes times drawn by `rest()`: a setup at the next arrival, or vacations at once."""
    out, free = np.empty(len(times)), 0.0
    for i, (t, size) in enumerate(zip(times.tolist(), sizes.tolist(), strict=True)):
        start = free
        if t > free:
            start = t + rest() if setup else free + rest()
            while start < t:
                start += rest()
        out[i] = start - t
        free = start + size
    return out


def impatient(times, sizes, patience, servers):
    """Waits of the served; NaN for those who leave."""
    free, out = [0.0] * servers, np.full(len(times), np.nan)
    for i, (t, size, limit) in enumerate(zip(times.tolist(), sizes.tolist(), patience.tolist(), strict=True)):
        wait = max(0.0, free[0] - t)
        if wait < limit:
            out[i] = wait
            heapq.heapreplace(free, t + wait + size)
    return out


def bounded(times, sizes, servers, buffer):
    """Waits of the accepted; NaN for the rejected."""
    free, present, out = [0.0] * servers, [], np.full(len(times), np.nan)
    for i, (t, size) in enumerate(zip(times.tolist(), sizes.tolist(), strict=True)):
        while present and present[0] <= t:
            heapq.heappop(present)
        if len(present) < buffer:
            start = max(t, free[0])
            out[i] = start - t
            heapq.heapreplace(free, start + size)
            heapq.heappush(present, start + size)
    return out


def vacations_by_priority(times, sizes, numbers, rest, setup):
    """Waits of two classes, 0 first, never interrupted."""
    out, queues, now, i, n = np.zeros(len(times)), (deque(), deque()), 0.0, 0, len(times)

    def admit(until, i):
        while i < n and times[i] <= until:
            queues[numbers[i]].append(i)
            i += 1
        return i

    while True:
        i = admit(now, i)
        if not any(queues):
            if i == n:
                return out
            now = times[i] + rest() if setup else now + rest()
            continue
        job = (queues[0] or queues[1]).popleft()
        out[job] = now - times[job]
        now += sizes[job]
