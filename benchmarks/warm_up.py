"""Bias of simulated means under three rules of what is left out as the warm-up, at high load.

    python benchmarks/warm_up.py [SEEDS] [REQUESTS]

M/M/1 at load 0.95, from empty; its mean response is 20 s. All rules see the same runs. A bias is significant where
it is more than two of its standard errors from 0.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from qmodel.policy import make_policy
from qmodel.scenario import Scenario
from qmodel.simulation.running import run_once
from qmodel.statistics.intervals import batch_means
from qmodel.statistics.warm_up import mser5, warm_up
from qmodel.workload import Exponential, Poisson, RequestClass

LOAD = 0.95
EXACT = 1.0 / (1.0 - LOAD)
POLICIES = ("fcfs", "lcfs", "ps")
RULES = {"nothing": lambda run: 0, "first twentieth": lambda run: warm_up(run.size), "MSER-5": mser5}


def main(seeds: int, requests: int) -> None:
    print(f"{seeds} runs of {requests:,} requests; 95 % intervals")
    print(f"{'policy':8}{'left out':18}{'bias':>9}{'+-':>8}{'errors':>8}{'covers':>9}")
    for policy in POLICIES:
        request = RequestClass("a", Poisson(LOAD), Exponential(mean=1.0))
        scenario = Scenario(classes=(request,), policy=make_policy(policy))
        found: dict[str, list[tuple[float, bool]]] = {name: [] for name in RULES}
        for seed in range(1, seeds + 1):
            run = run_once(scenario, requests, np.random.SeedSequence(seed))
            assert run is not None
            for name, rule in RULES.items():
                interval = batch_means(run.series.response_s[rule(run.series.response_s) :])
                found[name].append((interval.value, EXACT in interval))
        for name, each in found.items():
            values, covered = np.array(each).T
            error, bias = values.std(ddof=1) / math.sqrt(seeds), values.mean() - EXACT
            line = f"{policy:8}{name:18}{bias / EXACT:+9.2%}{error / EXACT:8.2%}{bias / error:+8.1f}"
            print(line + f"{covered.mean():9.1%}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000, int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
