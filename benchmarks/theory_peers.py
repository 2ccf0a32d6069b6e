"""LINE and most-queue on the queues of `theory.py`: JSON lines of CPU seconds a call and the means they give.

Runs in a Python that has them; nothing of qmodel is imported. Median over rounds, after one call that warms up.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROUNDS = 9
MEAN, SCV = 1.0, 4.0
ROOT = ((SCV - 1.0) / (SCV + 1.0)) ** 0.5
SHARE = (1.0 + ROOT) / 2.0
RATES = (2.0 * SHARE / MEAN, 2.0 * (1.0 - SHARE) / MEAN)
MOMENTS = [
    sum(p * factor / rate**k for p, rate in zip((SHARE, 1.0 - SHARE), RATES, strict=True))
    for k, factor in ((1, 1.0), (2, 2.0), (3, 6.0), (4, 24.0))
]


def line() -> dict[str, Callable[[], list[float]]]:
    """LINE's direct formulas; its mean-value solver where it has none."""
    import line_solver
    import numpy as np

    direct = line_solver.qsys
    one = (np.array([0.8]), np.array([1.0 / MEAN]), np.array([SCV**0.5]))
    two = (np.array([0.3, 0.5]), np.full(2, 1.0 / MEAN), np.full(2, SCV**0.5))

    def solved(discipline: str) -> list[float]:
        model = line_solver.Network("m")
        source, sink = line_solver.Source(model, "source"), line_solver.Sink(model, "sink")
        queue = line_solver.Queue(model, "queue", getattr(line_solver.SchedStrategy, discipline))
        for number, rate in enumerate([0.8] if discipline == "PS" else [0.3, 0.5]):
            each = line_solver.OpenClass(model, f"c{number}", number)
            source.setArrival(each, line_solver.Exp(rate))
            queue.setService(each, line_solver.HyperExp.fitMeanAndSCV(MEAN, SCV))
        model.link(line_solver.Network.serialRouting(source, queue, sink))
        table = line_solver.MVA(model, verbose=False).avg_table()
        return [float(r) for r, at in zip(table["RespT"], table["Station"], strict=True) if str(at) == "queue"]

    return {
        "M/M/1": lambda: [direct.qsys_mm1(0.8, 1.0)["W"]],
        "fcfs": lambda: [direct.qsys_mg1(0.8, 1.0, SCV**0.5)["W"]],
        "np-priority": lambda: [float(w) for w in direct.qsys_mg1_prio(*two)[0]],
        "pr-priority": lambda: solved("FCFSPRPRIO"),
        "ps": lambda: solved("PS"),
        "srpt": lambda: [float(direct.qsys_mg1_srpt(*one)[0][0])],
        "psjf": lambda: [float(direct.qsys_mg1_psjf(*one)[0][0])],
        "las": lambda: [float(direct.qsys_mg1_fb(*one)[0][0])],
        "M/M/5": lambda: [direct.qsys_mmk(4.0, 1.0, 5)["W"]],
    }


def most_queue() -> dict[str, Callable[[], list[float]]]:
    """most-queue's calculators."""
    from most_queue.random.utils.params import H2Params
    from most_queue.theory.fifo.mg1 import MG1Calc
    from most_queue.theory.fifo.mg1_ps import MG1PSCalc
    from most_queue.theory.fifo.mmnr import MMnrCalc
    from most_queue.theory.priority.non_preemptive.mg1 import MG1NonPreemptiveCalc
    from most_queue.theory.priority.preemptive.mg1 import MG1PreemptiveCalc
    from most_queue.theory.srpt.mg1_fb import MG1FbCalc
    from most_queue.theory.srpt.mg1_psjf import MG1PsjfCalc
    from most_queue.theory.srpt.mg1_srpt import MG1SrptCalc

    def first(calculator: object, source: object, *server: object) -> list[float]:
        calculator.set_sources(source)  # type: ignore[attr-defined]
        calculator.set_servers(*server)  # type: ignore[attr-defined]
        found = calculator.run().v  # type: ignore[attr-defined]
        return [
            float(v[0] if hasattr(v, "__len__") else v) for v in (found if isinstance(source, list) else found[:1])
        ]

    law = H2Params(mu1=RATES[0], mu2=RATES[1], p1=SHARE)
    return {
        "M/M/1": lambda: first(MG1Calc(), 0.8, [1.0, 2.0, 6.0, 24.0, 120.0]),
        "fcfs": lambda: first(MG1Calc(), 0.8, [*MOMENTS, 120.0 * sum(p / r**5 for p, r in _phases())]),
        "np-priority": lambda: first(MG1NonPreemptiveCalc(), [0.3, 0.5], [MOMENTS, MOMENTS]),
        "pr-priority": lambda: first(MG1PreemptiveCalc(), [0.3, 0.5], [MOMENTS, MOMENTS]),
        "ps": lambda: first(MG1PSCalc(), 0.8, MOMENTS),
        "srpt": lambda: first(MG1SrptCalc(), 0.8, law, "H"),
        "psjf": lambda: first(MG1PsjfCalc(), 0.8, law, "H"),
        "las": lambda: first(MG1FbCalc(), 0.8, law, "H"),
        "M/M/5": lambda: first(MMnrCalc(5, 200), 4.0, 1.0),
    }


def _phases() -> list[tuple[float, float]]:
    return [(SHARE, RATES[0]), (1.0 - SHARE, RATES[1])]


def measured(call: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Median CPU seconds of a call, and what it gives."""
    values = call()
    begin = time.process_time()
    call()
    inner = max(1, min(2000, int(0.02 / (time.process_time() - begin + 1e-9))))
    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(inner):
            call()
        rounds.append((time.process_time() - begin) / inner)
    return statistics.median(rounds), values


def main() -> None:
    for peer, module, calls in (("LINE", "line_solver", line), ("most-queue", "most_queue", most_queue)):
        if importlib.util.find_spec(module) is None:
            continue
        with Path(os.devnull).open("w") as nowhere:
            begin = time.perf_counter()
            with redirect_stdout(nowhere), redirect_stderr(nowhere):
                rows = calls()
            print(json.dumps({"peer": peer, "import_s": time.perf_counter() - begin}), flush=True)
            for row, call in rows.items():
                with redirect_stdout(nowhere), redirect_stderr(nowhere):
                    seconds, values = measured(call)
                print(json.dumps({"peer": peer, "row": row, "seconds": seconds, "values": values}), flush=True)


if __name__ == "__main__":
    main()
