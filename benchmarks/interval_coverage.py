"""How often the simulator's 95 % interval covers an exact mean, and how often it says that the run is too short.

    python benchmarks/interval_coverage.py [SEEDS] [LONGEST]

M/M/1 and M/H2/1 (squared coefficient of variation 4) at loads 0.5 and 0.8, in runs of several lengths. The exact
mean is Pollaczek and Khinchine's. A length is right when the interval covers between 93 % and 97 % of the time, or
when the answers say that the run is too short.
"""

from __future__ import annotations

import math
import sys

from qmodel.scenario import Scenario
from qmodel.simulation import simulate
from qmodel.statistics.intervals import wilson
from qmodel.workload import Distribution, Exponential, Hyperexponential, Poisson, RequestClass

LAWS: dict[str, Distribution] = {"M/M/1": Exponential(mean=1.0), "M/H2/1": Hyperexponential(mean=1.0, scv=4.0)}
LOADS = (0.5, 0.8)
LENGTHS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 400_000)
LOW, HIGH = 0.93, 0.97


def mean_response(law: Distribution, load: float) -> float:
    """Of M/G/1 with services of mean 1 (s), first come first served."""
    return 1.0 + load * law.moment(2) / (2.0 * (1.0 - load))


def runs(law: Distribution, load: float, requests: int, seeds: range) -> tuple[int, int, float]:
    """In how many runs the interval covers the mean, how many say they are too short, and the mean half width."""
    scenario = Scenario(classes=(RequestClass("a", Poisson(load), law),))
    exact = mean_response(law, load)
    covered = warned = 0
    half = 0.0
    for seed in seeds:
        answer = simulate(scenario, requests=requests, seed=seed, percentiles=(), tell=None)
        low, high = answer["all"].ci95["mean_response_s"]
        covered += low <= exact <= high
        warned += any("too short" in note and "mean_response_s" in note for note in answer.notes)
        half += (high - low) / 2 / len(seeds)
    return covered, warned, half / exact


def main(seeds: int, longest: int) -> None:
    print(f"{seeds} seeds; 95 % intervals; 'covers' with its own 95 % interval")
    print(f"{'':8}{'load':>5}{'requests':>10}{'covers':>9}{'':17}{'too short':>10}{'half width':>12}")
    wrong = 0
    for name, law in LAWS.items():
        for load in LOADS:
            for requests in (n for n in LENGTHS if n <= longest):
                covered, warned, half = runs(law, load, requests, range(1, seeds + 1))
                found = wilson(covered, seeds)
                right = LOW <= found.value <= HIGH or warned > seeds / 2
                wrong += not right
                line = f"{name:8}{load:5.1f}{requests:10,}{found.value:9.1%}  ({found.low:.1%} to {found.high:.1%})"
                print(line + f"{warned / seeds:10.1%}{half:12.2%}" + ("" if right else "  <--"), flush=True)
    print(
        "every length covers or says that it is too short"
        if not wrong
        else f"{wrong} lengths neither cover nor say so"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000, int(sys.argv[2]) if len(sys.argv) > 2 else math.inf)
