"""Time and error of an analytic answer, beside LINE and most-queue on the same queues, in one run.

    python benchmarks/theory.py [--peer-python PATH]

M/M/1, M/M/5 and M/H2/1 (balanced means, scv 4) at load 0.8; priority has rates 0.3 and 0.5. PATH is a Python that
has the peers (`pip install line-solver most-queue`); `theory_peers.py` runs there, and without one they are
skipped. The exact values come from textbook integrals done here with scipy, not from the package: Schrage and
Miller for SRPT, Harchol-Balter 2013 (ch. 31-33) for the others, partial fractions for FCFS percentiles, and for the
rank of a five-line policy those of the preset it equals. Median CPU time, one thread; the arrival rate
differs by 1e-9 of itself from call to call, so that no result is remembered. At the end the command line, in fresh
processes.
"""

# ruff: noqa: E402 - the threads are counted when numpy is imported

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[threads] = "1"

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

from qmodel.policy import FCFS, LAS, PS, PSJF, SJF, SRPT, NonPreemptivePriority, Policy, PreemptivePriority, Rank
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse
from qmodel.workload import Distribution, Exponential, Hyperexponential, Poisson, RequestClass

LOAD = 0.8
ROUNDS = 15
SCV = 4.0
ROOT = math.sqrt((SCV - 1.0) / (SCV + 1.0))
PHASES = [((1.0 + ROOT) / 2.0, 1.0 + ROOT), ((1.0 - ROOT) / 2.0, 1.0 - ROOT)]
PASS = [sys.executable, "-c", "pass"]
TABLE = (50.0, 90.0, 95.0, 99.0, 99.9)


class Remaining(Rank):
    """SRPT as a user writes it."""

    preemptive = True

    def rank(self, request, attained):
        return request.size - attained


class SlowdownFirst(Rank):
    """Size times remaining size, a rank that no preset has."""

    preemptive = True

    def rank(self, request, attained):
        return request.size * (request.size - attained)


# --- exact values, apart from the package ---------------------------------------------------------


def density(x: float) -> float:
    return sum(p * r * math.exp(-r * x) for p, r in PHASES)


def tail(x: float) -> float:
    return sum(p * math.exp(-r * x) for p, r in PHASES)


def below(k: int, x: float) -> float:
    """E[S^k; S <= x], by the incomplete gamma sums of each phase."""
    total = 0.0
    for p, r in PHASES:
        series = math.fsum((r * x) ** j / math.factorial(j) for j in range(k + 1))
        total += p * math.factorial(k) / r**k * (1.0 - math.exp(-r * x) * series)
    return total


def load_below(x: float) -> float:
    return LOAD * below(1, x)


def over_sizes(response: Callable[[float], float]) -> float:
    edges = [0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0]
    pieces = itertools.pairwise(edges)
    return math.fsum(
        quad(lambda x: response(x) * density(x), low, high, epsabs=1e-13, epsrel=1e-11)[0] for low, high in pieces
    )


def psjf(x: float) -> float:
    free = 1.0 - load_below(x)
    return x / free + LOAD * below(2, x) / (2.0 * free**2)


def srpt(x: float) -> float:
    waiting = LOAD * (below(2, x) + x**2 * tail(x)) / (2.0 * (1.0 - load_below(x)) ** 2)
    return waiting + quad(lambda t: 1.0 / (1.0 - load_below(t)), 0.0, x, epsabs=1e-13, epsrel=1e-11, limit=200)[0]


def las(x: float) -> float:
    free = 1.0 - LOAD * (below(1, x) + x * tail(x))
    return x / free + LOAD * (below(2, x) + x**2 * tail(x)) / (2.0 * free**2)


def sjf(x: float) -> float:
    return x + LOAD * below(2, math.inf if x > 700 else 1e3) / 2.0 / (1.0 - load_below(x)) ** 2


def erlang_c(servers: int, offered: float) -> float:
    parts = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(parts) + last)


def fcfs_percentiles(shares: Sequence[float]) -> list[float]:
    """Of the response of M/H2/1, by the poles of its transform."""
    (p, a), (q, b) = PHASES
    service = np.polyadd(p * a * np.array([1.0, b]), q * b * np.array([1.0, a]))  # over (s + a)(s + b)
    both = np.polymul([1.0, a], [1.0, b])
    under = np.polyadd(np.polymul([1.0, -LOAD], both), LOAD * service)
    under = under[:-1]  # a root at zero cancels
    poles = np.roots(under)
    weights = [
        (1.0 - LOAD) * np.polyval(service, s) / np.polyval(np.polyder(under), s) / -s for s in poles
    ]  # of exp(s t) in P(T > t)

    def late(t: float) -> float:
        return float(sum((w * np.exp(s * t)).real for w, s in zip(weights, poles, strict=True)))

    return [brentq(lambda t, e=e: late(t) - 1.0 + e / 100.0, 0.0, 500.0, xtol=1e-12) for e in shares]


# --- rows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the table: a question, the exact values, and the name the peers have for it."""

    name: str
    make: Callable[[float], Scenario]
    exact: list[float] | None
    percentiles: tuple[float, ...] = ()
    peers: str = ""


def one(policy: Policy, law: Distribution, servers: int = 1) -> Callable[[float], Scenario]:
    return lambda factor: Scenario(
        [RequestClass("a", Poisson(LOAD * servers * factor), law)], policy=policy, system=System(servers=servers)
    )


def two(policy: Policy) -> Callable[[float], Scenario]:
    return lambda factor: Scenario(
        [RequestClass(f"c{k}", Poisson(r * factor), H2, priority=k) for k, r in enumerate((0.3, 0.5))],
        policy=policy,
    )


H2 = Hyperexponential(mean=1.0, scv=SCV)
EXP = Exponential(mean=1.0)
SECOND = 1.0 + SCV
RESIDUAL = LOAD * SECOND / 2.0


def rows() -> list[Row]:
    return [
        Row("M/M/1 FCFS", one(FCFS(), EXP), [5.0], peers="M/M/1"),
        Row("M/G/1 FCFS", one(FCFS(), H2), [1.0 + RESIDUAL / 0.2], peers="fcfs"),
        Row(
            "non-preemptive priority",
            two(NonPreemptivePriority()),
            [1.0 + RESIDUAL / 0.7, 1.0 + RESIDUAL / (0.7 * 0.2)],
            peers="np-priority",
        ),
        Row(
            "preemptive priority",
            two(PreemptivePriority()),
            [1.0 + 0.3 * SECOND / 2.0 / 0.7, 1.0 / 0.7 + RESIDUAL / (0.7 * 0.2)],
            peers="pr-priority",
        ),
        Row("PS", one(PS(), H2), [5.0], peers="ps"),
        Row("SJF", one(SJF(), H2), [over_sizes(sjf)]),
        Row("PSJF", one(PSJF(), H2), [over_sizes(psjf)], peers="psjf"),
        Row("SRPT", one(SRPT(), H2), [over_sizes(srpt)], peers="srpt"),
        Row("LAS", one(LAS(), H2), [over_sizes(las)], peers="las"),
        Row("M/M/5 FCFS", one(FCFS(), EXP, 5), [1.0 + erlang_c(5, 4.0)], peers="M/M/5"),
        Row("SOAP: SRPT as own rank", one(Remaining(), H2), [over_sizes(srpt)]),
        Row("SOAP: size x remaining", one(SlowdownFirst(), H2), None),
        Row("5 percentiles, FCFS", one(FCFS(), H2), fcfs_percentiles(TABLE), TABLE),
        Row("2 percentiles, PS", one(PS(), H2), [5.0, 20.0], (77.976571, 95.18903)),
        Row("5 percentiles, priority", two(PreemptivePriority()), None, TABLE),
        Row("5 percentiles, SRPT", one(SRPT(), H2), None, TABLE),
    ]


def measured(row: Row) -> tuple[float, list[float]]:
    """Median CPU seconds of a call, and its values."""
    values = _values(row, row.make(1.0))
    begin = time.process_time()
    _values(row, row.make(1.0 + 1e-9))
    first = time.process_time() - begin
    calls, rounds = max(1, min(10, int(0.02 / first))), []
    for number in range(ROUNDS if first < 0.1 else 5):
        scenarios = [row.make(1.0 + (number * 100 + k) * 1e-9) for k in range(2, 2 + calls)]
        for scenario in scenarios:
            scenario.served  # noqa: B018 - read once per scenario, as the caller of several questions would
        begin = time.process_time()
        for scenario in scenarios:
            analyse(scenario, percentiles=row.percentiles)
        rounds.append((time.process_time() - begin) / calls)
    return statistics.median(rounds), values


def _values(row: Row, scenario: Scenario) -> list[float]:
    answer = analyse(scenario, percentiles=row.percentiles)
    part = answer.classes[0]
    if row.percentiles:
        return [part.metrics[f"p{p:.10g}_response_s"] for p in row.percentiles]
    return [each.mean_response_s for each in answer.classes[1:]]


def error(values: Sequence[float], exact: Sequence[float] | None) -> float:
    """The largest relative error."""
    if exact is None:
        return math.nan
    return max(abs(v / e - 1.0) for v, e in zip(values, exact, strict=True))


def told(seconds: float, wrong: float) -> str:
    unit, factor = next(
        (u, f) for u, f in (("us", 1e6), ("ms", 1e3), ("s ", 1.0)) if seconds * f < 1000 or f == 1.0
    )
    return f"{seconds * factor:7.1f} {unit} {'     -' if math.isnan(wrong) else f'{wrong:6.0e}'}"


def peer_answers(python: Path | None) -> dict[tuple[str, str], tuple[float, list[float]]]:
    """What `theory_peers.py` measured, by peer and row."""
    if python is None or not python.exists():
        print("peers skipped: no --peer-python with LINE and most-queue")
        return {}
    run = subprocess.run(
        [python, Path(__file__).with_name("theory_peers.py")], capture_output=True, text=True, check=True
    )
    found = [json.loads(each) for each in run.stdout.splitlines()]
    for each in found:
        if "import_s" in each:
            print(f"{each['peer']}: import {each['import_s']:.2f} s")
    return {(each["peer"], each["row"]): (each["seconds"], each["values"]) for each in found if "row" in each}


def shell() -> None:
    """Wall time of fresh processes: the command, and how much of it is start-up."""
    command = [sys.executable, "-m", "qmodel"]
    h2 = ["--arrivals", "poisson:0.8", "--service", "hyperexponential:1,4"]
    for name, words in (
        ("python -c pass", None),
        ("start-up: qmodel --version", ["--version"]),
        ("qmodel predict, fcfs", ["predict", *h2, "--policy", "fcfs"]),
        ("qmodel predict, fcfs,ps,srpt", ["predict", *h2, "--policy", "fcfs,ps,srpt"]),
    ):
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            subprocess.run([*command, *words] if words else PASS, capture_output=True, check=True)
            times.append(time.perf_counter() - begin)
        print(f"{name:30} {statistics.median(times):6.3f} s (median of 7, least {min(times):.3f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", type=Path)
    peers = peer_answers(parser.parse_args().peer_python)
    print(f"{'time, relative error':26}" + "".join(f"{name:>18}" for name in ("qmodel", "LINE", "most-queue")))
    for row in rows():
        seconds, values = measured(row)
        cells = [told(seconds, error(values, row.exact))]
        for peer in ("LINE", "most-queue"):
            theirs = peers.get((peer, row.peers))
            cells.append("-".rjust(10) if theirs is None else told(theirs[0], error(theirs[1], row.exact)))
        print(f"{row.name:26}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    shell()


if __name__ == "__main__":
    main()
