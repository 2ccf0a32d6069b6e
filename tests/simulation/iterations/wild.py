"""Random scenarios of a batching engine at the edges: hardly any memory, caps of one or of thousands, any order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from qmodel.policy import PRESETS, Policy, RoundRobin, make_policy
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.pool import Pool
from qmodel.service.transform import EarlyExit
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.token_requests import TokenRequests
from qmodel.workload import RequestClass
from tests.simulation.iterations.cases import EXITS, classes, requests

PRESETS_IN_ORDER = [name for name in PRESETS if name not in ("ps", "dps", "accumulating")]
TIMES = (
    IterationTime(0.01, 0.0002, 2e-7, 2e-5), IterationTime(1.0), IterationTime(1e-6, per_context_token=1e-3),
    IterationTime(0.0, per_sequence=0.01),
)  # fmt: skip


class AnyRank(Policy):
    """A rank of random weights, which may go up and down with age."""

    name = "any"

    def __init__(self, weights: list[float], preemptive: bool) -> None:
        self.size, self.age, self.wave, self.lot = weights
        self.preemptive = preemptive

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        wave = self.wave * math.sin(3.0 * attained)
        return self.size * request.size + self.age * attained + wave + self.lot * request.lottery


def policy(rng: np.random.Generator, made: list[RequestClass]) -> Policy:
    """Any preset that says who is admitted first, or a rank of one's own."""
    if rng.integers(4) == 0:
        return AnyRank(rng.choice([-1.0, 0.0, 1.0], 4).tolist(), bool(rng.integers(2)))
    name = str(rng.choice(PRESETS_IN_ORDER))
    found = RoundRobin(quantum=0.2) if name == "round-robin" else make_policy(name)
    return Scenario(made, found).policy


def pools(rng: np.random.Generator, budget: int, most: int) -> tuple[Pool, ...]:
    """Encode, prefill and decode apart or together, with bounds at most the system's."""
    cuts = [
        (("encode",), ("prefill",), ("decode",)),
        (("encode", "prefill"), ("decode",)),
        (("encode",), ("prefill", "decode")),
    ]
    chosen = [*cuts, (("prefill",), ("decode",)), (("encode", "prefill", "decode"),)][int(rng.integers(5))]
    made = [
        Pool(
            stages,  # type: ignore[arg-type]
            servers=int(rng.integers(1, 4)),
            routing=str(rng.choice(["round-robin", "random", "jsq", "jsq:2"])),
            max_batch=None if stages == ("encode",) or rng.integers(2) else int(rng.integers(1, min(3, most) + 1)),
            max_batched_tokens=None if rng.integers(2) else budget,
            transfer_s=float(rng.choice([0.0, 0.05])),
            transfer_tokens_per_s=None if rng.integers(2) else 1e4,
        )
        for stages in chosen
    ]
    return (*made[:-1], replace(made[-1], transfer_s=0.0, transfer_tokens_per_s=None))


def engine(rng: np.random.Generator) -> Engine:
    drafts, budget = int(rng.choice([0, 0, 1, 5])), int(rng.choice([8, 64, 100_000]))
    eviction, apart = str(rng.choice(["recompute", "recompute", "swap"])), rng.integers(3) == 0
    return Engine(
        max_batched_tokens=budget,
        prefill=str(rng.choice(["mixed", "first"])),  # type: ignore[arg-type]
        kv_block_tokens=int(rng.choice([1, 3, 16, 64])),
        whole_prompt=bool(rng.integers(2)),
        eviction=eviction,  # type: ignore[arg-type]
        swap_tokens_per_s=float(rng.choice([1e3, 1e6])) if eviction == "swap" else None,
        prefix_caching=bool(rng.integers(3)),
        lookahead=str(rng.choice(["none", "none", "reserve", "future"])),  # type: ignore[arg-type]
        speculative_tokens=drafts,
        acceptance=float(rng.choice([0.0, 0.6, 1.0])) if drafts else 0.0,
        pools=pools(rng, budget, budget // (1 + drafts)) if apart else (),
    )


def wild(seed: int, most: int = 60) -> tuple[TokenRequests, Policy, Rules]:
    """Requests, an order and rules; memory is what the longest request needs, or little more, or no bound."""
    rng = np.random.default_rng([seed, 11])
    chosen, pause = engine(rng), bool(rng.integers(3) == 0)
    separate = len(chosen.pipeline) > 1
    made = classes(pause and not separate, str(rng.choice(["keep", "discard", "swap"])))
    found = requests(rng, made, most)
    found = replace(found, encode_s=rng.exponential(0.1, len(found)) * rng.integers(0, 2, len(found)))
    drafts, most_running = chosen.speculative_tokens, chosen.max_batched_tokens // (1 + chosen.speculative_tokens)
    later = found.later
    running = np.concatenate(([0], np.cumsum(later.prompt + later.output)))
    longest = found.prompt + found.output - 1 + running[later.first + later.number] - running[later.first] + drafts
    block = chosen.kv_block_tokens
    least = block * -(-int(longest.max()) // block)
    servers = 1 if separate or chosen.pools or rng.integers(4) else int(rng.integers(2, 4))
    routings = ["random", "round-robin", "jsq", "jsq:2"]
    routings += [] if np.isfinite(found.patience_s).any() else ["least-work"]
    leaving = EXITS[rng.integers(len(EXITS))]
    bound = servers == 1 and not chosen.pools and rng.integers(4) == 0
    rules = Rules(
        TIMES[rng.integers(len(TIMES))],
        chosen,
        max_batch=int(rng.choice([1, 2, min(most_running, 500)])) if most_running > 1 else 1,
        kv_capacity_tokens=[None, least, least, least + 5 * block, max(block, least // 2)][int(rng.integers(5))],
        buffer=5 if bound else None,
        resume_s=float(rng.choice([0.0, 0.01])),
        early_exit=None if leaving is None else EarlyExit(None, (0.3, 1.0), (0.5, 0.5), leaving),
        servers=servers,
        routing=Routing.parse(str(rng.choice(routings))) if servers > 1 else Routing(),
    )
    return found, policy(rng, made), rules
