"""Exact means and percentiles, out to the 99.9th, held against 100 million simulated customers a case.

    python benchmarks/agreement_long.py [CUSTOMERS] [RUNS] [POLICY,...]

Nine policies, services that vary more and less than exponential ones (hyperexponential with scv 4, Erlang of four
phases), loads 0.7 and 0.8. The customers are shared among independent runs, 20 of 5 million each, so that less than
2 GB of memory is needed; the 95 % interval is Student's over the runs. With two classes, the numbers of all and of
each class are held against the theory. The end says how many lie outside, and how many chance explains
were they independent (numbers of one case are of the same runs).
"""

from __future__ import annotations

import math
import resource
import sys
import time
import zlib
from collections.abc import Iterator

import numpy as np
from scipy import stats

from qmodel.answer import PolicyAnswer
from qmodel.policy import make_policy
from qmodel.scenario import Scenario
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.workload import Distribution, Erlang, Hyperexponential, Poisson, RequestClass

POLICIES = ("fcfs", "lcfs", "lcfs-pr", "np-priority", "pr-priority", "ps", "srpt", "sjf", "las")
LAWS: dict[str, Distribution] = {"H2": Hyperexponential(mean=1.0, scv=4.0), "Erlang": Erlang(k=4, mean=1.0)}
LOADS = (0.7, 0.8)
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
METRICS = ("mean_response_s", "p50_response_s", "p90_response_s", "p99_response_s", "p99.9_response_s")


def scenario(policy: str, law: Distribution, load: float) -> Scenario:
    """One class; for priorities two, the first with three requests in eight."""
    if policy.endswith("priority"):
        classes = (
            RequestClass("first", Poisson(0.375 * load), law, priority=0),
            RequestClass("second", Poisson(0.625 * load), law, priority=1),
        )
        return Scenario(classes, policy=make_policy(policy))
    return Scenario((RequestClass("a", Poisson(load), law),), policy=make_policy(policy))


def simulated(question: Scenario, name: str, customers: int, runs: int) -> list[PolicyAnswer]:
    """Independent runs, from seeds of the case's own."""
    first = zlib.crc32(name.encode())
    each = customers // runs
    seeds = range(first, first + runs)
    return [simulate(question, requests=each, seed=seed, percentiles=PERCENTILES, tell=None) for seed in seeds]


def compared(theory: PolicyAnswer, found: list[PolicyAnswer]) -> Iterator[tuple[str, float, float, float]]:
    """What is compared, the exact number, and middle and half width of the interval."""
    for answer in theory.classes[:1] if len(theory.classes) == 2 else theory.classes:
        for metric in METRICS:
            exact = answer.metrics.get(metric)
            if exact is None or theory.method_of(answer.name, metric) != "exact":
                continue
            values = np.array([run[answer.name].metrics[metric] for run in found], dtype=float)
            half = float(stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1)) / math.sqrt(values.size)
            yield f"{metric.removesuffix('_response_s')} of {answer.name}", exact, float(values.mean()), half


def main(customers: int, runs: int, policies: tuple[str, ...]) -> None:
    print(f"{customers:,} customers a case, in {runs} runs; 95 % intervals")
    print(f"{'policy':13}{'law':8}{'load':>5} {'number':16}{'exact':>11}{'simulated':>12}{'+-':>9}{'off by':>9}")
    outside = whole = 0
    for policy in policies:
        for law, load in ((law, load) for law in LAWS for load in LOADS):
            name, begin = f"{policy} {law} {load}", time.process_time()
            question = scenario(policy, LAWS[law], load)
            theory = analyse(question, percentiles=PERCENTILES)
            found = simulated(question, name, customers, runs)
            for number, exact, value, half in compared(theory, found):
                inside = abs(value - exact) <= half
                whole += 1
                outside += not inside
                line = f"{policy:13}{law:8}{load:5.1f} {number:16}{exact:11.5f}{value:12.5f}{half / exact:9.3%}"
                print(f"{line}{value / exact - 1:+9.3%}" + ("" if inside else "  outside"), flush=True)
            print(f"{'':13}{time.process_time() - begin:.0f} CPU seconds", file=sys.stderr, flush=True)
    low, high = stats.binom.ppf([0.025, 0.975], whole, 0.05)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{outside} of {whole} outside; chance alone: {0.05 * whole:.1f}, {low:.0f} to {high:.0f} in 95 of 100")
    print(f"most memory {memory:.2f} GB")


if __name__ == "__main__":
    main(
        int(float(sys.argv[1])) if len(sys.argv) > 1 else 100_000_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 20,
        tuple(sys.argv[3].split(",")) if len(sys.argv) > 3 else POLICIES,
    )
