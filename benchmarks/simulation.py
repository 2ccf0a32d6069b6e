"""Customers per CPU second of the simulator beside a bare hand-written loop on the same queue, in one run.

    python benchmarks/simulation.py [CUSTOMERS]

M/M/1 at load 0.8 (two classes for priority). `simulate` draws the requests, serves them and reports every metric
with its interval: means, three percentiles, slowdown; the bare loop keeps one mean.
"""

from __future__ import annotations

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


def main(count: int) -> None:
    rows: list[tuple[str, Policy, Callable[..., float] | None]] = [
        ("FCFS", FCFS(), bare_loops.fcfs),
        ("PS", PS(), bare_loops.ps),
        ("preemptive priority", PreemptivePriority(), bare_loops.preemptive_priority),
        ("SRPT", SRPT(), bare_loops.srpt),
        ("LAS", LAS(), None),
        ("SRPT, user's rank", Remaining(), bare_loops.srpt),
    ]
    print(f"{count:,} customers, M customers per CPU second, best of {ROUNDS}")
    print(f"{'':22}{'simulate':>10}{'bare loop':>11}{'ratio':>8}")
    for name, policy, loop in rows:
        question = scenario(policy)
        ours = count / cpu_seconds(lambda question=question: simulate(question, requests=count)) / 1e6
        if loop is None:
            print(f"{name:22}{ours:10.2f}")
            continue
        rng = np.random.default_rng(1)
        bare = count / cpu_seconds(lambda rng=rng, loop=loop: loop(rng, RATE, count)) / 1e6
        print(f"{name:22}{ours:10.2f}{bare:11.2f}{ours / bare:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
