"""How long `qmodel plan` takes over 200 candidates, per objective and kind of system, after one plan that compiles.

python benchmarks/plan.py
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from qmodel.planning import Plan, plan
from qmodel.scenario import Scenario
from qmodel.service.iteration_time import IterationTime
from qmodel.service.system import System
from qmodel.service.transform import ModelSwap, QueueCondition
from qmodel.workload import Geometric, Lognormal, Poisson, RequestClass

TIME = IterationTime(base=0.010, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)
TOKENS = {"input_tokens": Lognormal(mean=500.0, scv=1.0), "output_tokens": Geometric(mean=200.0)}
CHAT = RequestClass("chat", Poisson(24.0), factors=TOKENS)
ENGINE = Scenario([CHAT], system=System(batching="continuous", max_batch=64, iteration_time=TIME))
SWAP = ModelSwap(when=QueueCondition(4), service_factor=0.4, quality=0.93)
IMAGE = RequestClass("image", Poisson(1.1), Lognormal(mean=1.0, scv=0.5))
THRESHOLD = Scenario([IMAGE], transforms=[SWAP])
ORDERS = ("fcfs", "np-priority", "sjf", "srpt", "las", "sprpt", "psjf", "mlfq")
BATCHES = (
    4,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    80,
    96,
    112,
    128,
    144,
    160,
    176,
    192,
    208,
    224,
    240,
    256,
    288,
    320,
    384,
    448,
    512,
)

CASES: dict[str, tuple[Scenario, dict[str, Any]]] = {
    "batching engine, largest rate of one": (ENGINE, {
        "slos": ["ttft_p99_s=0.3", "tpot_p95_s=0.03"], "policies": ORDERS, "max_batch": BATCHES, "servers": [1],
    }),
    "batching engines, fewest": (ENGINE, {
        "slos": ["ttft_p99_s=0.3", "tpot_p95_s=0.03"], "policies": ORDERS[:4], "max_batch": (8, 32, 128),
        "servers": range(1, 18),
    }),
    "one at a time, fewest servers": (Scenario([IMAGE]), {
        "slos": ["response_p99_s=6"], "policies": ORDERS, "servers": range(1, 26),
    }),
    "one at a time, largest rate, exit thresholds": (THRESHOLD, {
        "slos": ["response_p95_s=6", "quality=0.95"], "policies": ("fcfs", "np-priority"), "servers": [1],
        "vary": {
            "transform.0.above_queue": [0, 1, 2, 3, 4, 6, 8, 12, 16, 32],
            "transform.0.service_factor": [0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8],
        },
    }),
}  # fmt: skip


def timed(scenario: Scenario, asked: dict[str, Any]) -> tuple[float, float, Plan]:
    """Wall and CPU seconds of a plan."""
    begin, cpu = time.perf_counter(), time.process_time()
    found = plan(scenario, **asked)
    return time.perf_counter() - begin, time.process_time() - cpu, found


def main(cases: Sequence[str]) -> None:
    """Print a row a case."""
    print(f"{'':46}{'candidates':>11}{'answered':>10}{'wall s':>8}{'CPU s':>8}  winner")
    for name in cases:
        scenario, asked = CASES[name]
        few = asked | {key: list(asked[key])[:2] for key in ("max_batch",) if key in asked} | {"vary": {}}
        plan(scenario, **few)
        wall, cpu, found = timed(scenario, asked)
        winner = "none" if found.winner is None else found.winner.judged
        text = winner if isinstance(winner, str) else f"{winner.setting.policy}, {winner.servers} server(s)"
        print(f"{name:46}{found.candidates:>11,}{found.answered:>10,}{wall:>8.1f}{cpu:>8.1f}  {text}", flush=True)


if __name__ == "__main__":
    main(list(CASES))
