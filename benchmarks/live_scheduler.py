"""What a decision of the live batch scheduler costs, with many running and many more waiting.

    python benchmarks/live_scheduler.py [RUNNING] [WAITING]

Every running request decodes; every eighth iteration one has finished and another has arrived, in the others the
batch is full, so that a preemptive policy ranks all that run. Microseconds of CPU an iteration of `choose` and
`took`, the policy's own ranks included: the mean of the best round, for there is other work on the machine.
"""

from __future__ import annotations

import sys
import time

from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.scheduler import Entry
from qmodel.live.sequence import Sequence
from qmodel.policy import Request, make_policy
from qmodel.service.token_worth import TokenWorth

LIMIT_US = 50.0
ROUNDS, ITERATIONS = 7, 300
POLICIES = ("fcfs", "np-priority", "pr-priority", "sjf", "srpt", "spjf", "sprpt", "las", "mlfq", "edf")


def sequence(index: int) -> Sequence:
    output = 40 + index * 37 % 400
    size = 0.01 * output
    request = Request(0.001 * index, size, 1.1 * size, index % 3, 1.0, 5.0 + index % 7, 0.5)
    return Sequence(Entry(index, request), 100, output)


def filled(policy: str, running: int, waiting: int) -> BatchScheduler:
    """A scheduler whose running requests all decode, each further than the one before."""
    scheduler = BatchScheduler(make_policy(policy), running, TokenWorth(1e-4, 0.01))
    for index in range(running + waiting):
        scheduler.add(sequence(index))
    for each in scheduler.took(scheduler.choose(1 << 30)):
        each.advance(100)
    for place, each in enumerate(scheduler.running):
        for _ in range(place % 30):
            each.advance(1)
    return scheduler


def microseconds(policy: str, running: int, waiting: int) -> float:
    """Of the best round, an iteration."""
    scheduler, best, coming = filled(policy, running, waiting), float("inf"), running + waiting
    clock = time.thread_time
    for _ in range(ROUNDS):
        spent = 0.0
        for number in range(ITERATIONS):
            begin = clock()
            chosen = scheduler.choose(2048)
            scheduler.took(chosen)
            spent += clock() - begin
            for each in chosen:
                each.advance(each.pending)
            if number % 8 == 0:
                scheduler.finish(chosen[0])
                scheduler.add(sequence(coming))
                coming += 1
        best = min(best, spent / ITERATIONS * 1e6)
    return best


def main(running: int = 64, waiting: int = 1000) -> int:
    print(f"{running} running, {waiting} waiting; limit {LIMIT_US:g} us an iteration")
    worst = 0.0
    for policy in POLICIES:
        found = microseconds(policy, running, waiting)
        worst = max(worst, found)
        print(f"{policy:12} {found:7.1f} us")
    return 0 if worst < LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
