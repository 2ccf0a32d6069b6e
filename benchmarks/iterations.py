"""The batching engine beside a bare hand-written loop, per CPU second on one core, in one run.

    python benchmarks/iterations.py [REQUESTS]

First iterations a second with 64 sequences running, then a replay of many requests of 200 output tokens each.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from numba import njit

from qmodel.policy import FCFS
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.simulation.iterations.replaying import ANYBODY
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.serving import Totals, serve
from qmodel.simulation.iterations.token_requests import TokenRequests, given

TIME = IterationTime(base=0.010, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)
RUNNING, LONG, ROUNDS, CHUNK = 64, 200, 3, 100_000


@njit
def bare(iterations: int, running: int, output: int) -> float:
    """Iterations with so many sequences of `output` tokens: each is counted down, those that end start anew."""
    left = np.empty(running, dtype=np.int64)
    for place in range(running):
        left[place] = 1 + place * output // running
    context, now = 600 * running, 0.0
    for _ in range(iterations):
        now += 0.010 + 0.0002 * running + 2e-7 * context
        context += running
        for place in range(running):
            left[place] -= 1
            if left[place] == 0:
                left[place] = output
                context -= output
    return now


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least CPU time of several rounds, after one that compiles."""
    work()
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def replayed(requests: TokenRequests | Iterator[TokenRequests], jumps: bool = True) -> Totals:
    return serve(requests, FCFS(), Rules(TIME, Engine(), max_batch=RUNNING), lambda _: None, jumps=jumps)


def full_batch(rounds: int) -> TokenRequests:
    """Requests that all wait at once and end one after the other, as in the bare loop."""
    n = RUNNING * rounds
    output = np.full(n, LONG)
    output[:RUNNING] = 1 + np.arange(RUNNING) * LONG // RUNNING
    return given([ANYBODY], np.zeros(n), np.full(n, 500), output)


def stream(count: int) -> Iterator[TokenRequests]:
    """Poisson arrivals at four fifths of the capacity, drawn as they are needed."""
    rng, last = np.random.default_rng(1), 0.0
    for first in range(0, count, CHUNK):
        n = min(CHUNK, count - first)
        arrival = last + np.cumsum(rng.exponential(1 / 7.4, n))
        last = float(arrival[-1])
        yield given([ANYBODY], arrival, rng.geometric(1 / 500, n), np.full(n, LONG), first=first)


def main(count: int) -> None:
    iterations = 1_000_000
    seconds = cpu_seconds(lambda: bare(iterations, RUNNING, LONG))
    print(f"{RUNNING} sequences of {LONG} tokens, M iterations per CPU second, best of {ROUNDS}")
    print(f"  bare loop, no arrivals, no statistics   {iterations / seconds / 1e6:8.2f}")
    batch = full_batch(500)
    for name, jumps in (("engine, strides", True), ("engine, one by one", False)):
        done = replayed(batch, jumps).iterations
        seconds = cpu_seconds(lambda jumps=jumps: replayed(batch, jumps))
        print(f"  {name:38}  {done / seconds / 1e6:8.2f}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    totals = replayed(stream(count))
    spent = time.process_time() - begin
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{count:,} requests of {LONG} output tokens, drawn and replayed: {spent:.2f} CPU s, {totals.iterations:,}"
    )
    print(f"  iterations, {count / spent:,.0f} requests/s, {more:.0f} MB more memory")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
