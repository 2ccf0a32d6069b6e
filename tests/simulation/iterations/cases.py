"""Random requests, policies and rules that between them use everything a batching engine can do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qmodel.policy import Policy, RoundRobin, make_policy
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import EarlyExit
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.token_requests import Later, TokenRequests, given
from qmodel.workload import Exponential, Pause, Poisson, RequestClass

TIME = IterationTime(base=0.01, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)
POLICIES = (
    "fcfs", "lcfs", "lcfs-pr", "random", "round-robin", "np-priority", "pr-priority", "sjf", "psjf", "srpt", "las",
    "mlfq", "spjf", "pspjf", "sprpt", "trail", "edf",
)  # fmt: skip
EXITS = (None, None, "stop", "release")
SLO = {"ttft_s": 0.3, "tpot_s": 0.02, "response_s": 5.0}


def policy(rng: np.random.Generator) -> Policy:
    name = str(rng.choice(POLICIES))
    return RoundRobin(quantum=0.2) if name == "round-robin" else make_policy(name)


def engine(rng: np.random.Generator) -> Engine:
    prefill, eviction = (
        str(rng.choice(["mixed", "mixed", "first", "separate"])),
        str(rng.choice(["recompute", "swap"])),
    )
    separate, drafts = prefill == "separate", int(rng.choice([0, 0, 0, 2]))
    return Engine(
        max_batched_tokens=int(rng.choice([64, 256, 2048])),
        prefill=prefill,  # type: ignore[arg-type]
        kv_block_tokens=int(rng.choice([1, 4, 16])),
        whole_prompt=bool(rng.integers(2)),
        eviction=eviction,  # type: ignore[arg-type]
        swap_tokens_per_s=1e5 if eviction == "swap" else None,
        prefix_caching=bool(rng.integers(3)),
        lookahead=str(rng.choice(["none", "none", "reserve", "future"])),  # type: ignore[arg-type]
        speculative_tokens=drafts,
        acceptance=0.6 if drafts else 0.0,
        transfer_tokens_per_s=1e5 if separate else None,
        prefill_servers=int(rng.integers(1, 3)) if separate else 1,
    )


def classes(pauses: bool, cache: str) -> list[RequestClass]:
    pause = Pause(0.4, Exponential(0.5), cache) if pauses else None  # type: ignore[arg-type]
    made = [RequestClass(name, Poisson(1.0), Exponential(1.0), pause=pause, slo=SLO) for name in ("a", "b")]
    return [replace(each, priority=at) for at, each in enumerate(made)]


def requests(rng: np.random.Generator, made: list[RequestClass], most: int = 100) -> TokenRequests:
    n = int(rng.integers(5, most))
    arrival = np.cumsum(rng.exponential(rng.choice([0.001, 0.02, 0.3]), n))
    prompt, output = rng.geometric(1 / rng.choice([20, 300]), n), rng.geometric(1 / rng.choice([3, 60]), n)
    prefix = np.minimum((prompt * rng.choice([0, 0.5])).astype(int), prompt - 1)
    found = given(
        made, arrival, prompt, output, class_index=rng.integers(0, 2, n), prefix_tokens=prefix,
        per_token_s=(1e-4, 0.01),
    )  # fmt: skip
    found = replace(found, lottery=rng.random(n), predicted_s=found.size_s * rng.exponential(size=n))
    if made[0].pause is not None:
        number = rng.geometric(0.6, n) - 1
        total, first = int(number.sum()), np.concatenate(([0], np.cumsum(number)[:-1]))
        lengths = (rng.geometric(0.05, total), rng.geometric(0.1, total))
        found = replace(found, later=Later(first, number, rng.exponential(0.5, total), *lengths))
    return replace(found, patience_s=rng.exponential(0.5, n)) if rng.integers(4) == 0 else found


def rules(rng: np.random.Generator, found: TokenRequests) -> Rules:
    made = engine(rng)
    most = made.max_batched_tokens // (1 + made.speculative_tokens)
    longest = (found.prompt + found.output).max()
    if found.later.number.any():
        longest = (found.prompt + found.output).sum() // 3
    memory = int(max(made.kv_block_tokens, longest + rng.integers(-5, 900)))
    exits = EXITS[rng.integers(len(EXITS))]
    return Rules(
        TIME,
        made,
        max_batch=int(rng.integers(1, min(most, 40))),
        kv_capacity_tokens=None if rng.integers(3) == 0 else memory,
        buffer=30 if rng.integers(4) == 0 and made.prefill != "separate" else None,
        resume_s=float(rng.choice([0.0, 0.01])),
        early_exit=None if exits is None else EarlyExit(None, (0.3, 1.0), (0.5, 0.5), exits),
    )


def case(seed: int, most: int = 100) -> tuple[TokenRequests, Policy, Rules]:
    """Everything at random."""
    rng = np.random.default_rng(seed)
    made = classes(bool(rng.integers(3) == 0), str(rng.choice(["keep", "discard", "swap"])))
    found = requests(rng, made, most)
    chosen = rules(rng, found)
    if chosen.engine.prefill == "separate" and found.later.number.any():
        made = [replace(each, pause=None) for each in made]
        found = replace(found, classes=tuple(made), later=Later.none(len(found)))
    return found, policy(rng), chosen
