"""Customers per CPU second of the simulator beside a bare hand-written loop on the same queue, in one run.

    python benchmarks/simulation.py [CUSTOMERS] [PYTHON]

PYTHON is one that has peers installed (SimPy, Ciw, most-queue, LINE): they are timed beside it, by `peers.py`.
M/M/1 at load 0.8 (two classes for priority). `simulate` draws the requests, serves them and reports every metric
with its interval: means, three percentiles, slowdown; the bare loop keeps one mean.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import bare_loops

from qmodel.policy import FCFS, LAS, PS, SRPT, Policy, PreemptivePriority, Rank
from qmodel.scenario import Scenario
from qmodel.simulation import simulate
from qmodel.workload import Exponential, Poisson, RequestClass

RATE = 0.8
ROUNDS = 5


class Remaining(Rank):
    """SRPT as a user writes it."""

    preemptive = True

    def rank(self, request, attained):
        return request.size - attained


def scenario(policy: Policy) -> Scenario:
    law = Exponential(mean=1.0)
    if isinstance(policy, PreemptivePriority):
        classes = (
            RequestClass("a", Poisson(0.3), law, priority=0),
            RequestClass("b", Poisson(0.5), law, priority=1),
        )
        return Scenario(classes=classes, policy=policy)
    return Scenario(classes=(RequestClass("a", Poisson(RATE), law),), policy=policy)


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least CPU time of several rounds, after one that compiles."""
    work()
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def speed(count: int, work: Callable[[], object]) -> float:
    """M customers per CPU second."""
    return count / cpu_seconds(work) / 1e6


def main(count: int) -> None:
    rows: list[tuple[str, Policy, str]] = [
        ("FCFS", FCFS(), "FCFS"),
        ("PS", PS(), "PS"),
        ("preemptive priority", PreemptivePriority(), "preemptive priority"),
        ("SRPT", SRPT(), "SRPT"),
        ("SRPT, user's rank", Remaining(), "SRPT"),
        ("LAS", LAS(), ""),
    ]
    rng = np.random.default_rng(1)
    print(f"{count:,} customers, M customers per CPU second, best of {ROUNDS}; in brackets simulate / bare loop")
    print(f"{'':22}{'simulate':>10}{'bare, np.random':>20}{'bare, Generator':>20}")
    for name, policy, loop in rows:
        question = scenario(policy)
        ours = speed(count, lambda question=question: simulate(question, requests=count))
        line = f"{name:22}{ours:10.2f}"
        for loops in (bare_loops.numba_loops, bare_loops.generator_loops) if loop else ():
            bare = speed(count, lambda loops=loops, loop=loop: loops[loop](rng, RATE, count))
            line += f"{bare:13.2f} ({ours / bare:4.2f})"
        print(line, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
    peers = sys.argv[2] if len(sys.argv) > 2 else sys.executable
    subprocess.run([peers, str(Path(__file__).with_name("peers.py"))], check=True)
