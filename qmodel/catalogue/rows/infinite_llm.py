"""R33: Infinite-LLM: the KV caches of several instances as one pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import near, rising, true
from qmodel.catalogue.row import Check, Row, Setting

POOLED: dict[str, Any] = {
    "system.max_batch": 512,
    "system.kv_capacity_tokens": 25600,
    "system.engine.max_batched_tokens": 4096,
    "system.iteration_time": {
        "base": 0.012, "per_sequence": 1e-4, "per_context_token": 1e-7, "per_prefill_token": 1e-5,
    },
    "class.short.arrivals.rate": 2.4,
    "class.long.arrivals.rate": 0.6,
}  # fmt: skip
"""Two instances in step: twice the memory and the speed."""
SPREADS = (0, 600, 1200)


def spread(tokens: int) -> dict[str, Any]:
    """Four of five contexts shorter than 2000 by so many tokens, the fifth longer by four times as many."""
    return {"class.short.input_tokens.value": 2000 - tokens, "class.long.input_tokens.value": 2000 + 4 * tokens}


def capacity(case: Case, changes: dict[str, Any]) -> float:
    """Requests a second with a queue that never empties."""
    from qmodel.simulation.iterations.answering import capacity as measured
    from qmodel.simulation.iterations.scenario_rules import rules_of

    scenario = case.scenario(changes)
    return measured(scenario, rules_of(scenario), requests=10_000)


def accept(case: Case) -> Iterator[Check]:
    """Pooled capacity over twice the split one: none lost without spread, more gained the more contexts vary."""
    gains = [capacity(case, {**spread(s), **POOLED}) / (2 * capacity(case, spread(s))) for s in SPREADS]
    yield near("gain with contexts all alike", gains[0], 1.0, within=0.05)
    yield rising(f"gain over spreads of {SPREADS} tokens", gains)
    yield true(f"contexts that vary gain {100 * (gains[-1] - 1):.1f} %", gains[-1] > 1.02)


ROW = Row(
    number=33,
    name="infinite-llm",
    title="KV caches of several instances as one pool",
    method="simulation",
    idea="""Blocks of KV cache are lent between instances: a long context that fits nowhere alone fits into
    the pool, and what one instance leaves empty another can fill. With contexts all alike pooling
    gains nothing; the more they vary the more it gains. Talk between instances makes every
    iteration longer.""",
    formula="capacity = M / (b E[token-slots]) with M = sum of M_i, against the sum of the separate ones",
    reference="Lin et al. 2024, arXiv 2401.02669",
    unchecked="""Infinite-LLM-like: two instances in step stand for the pool, at half the time per request and
    token; what the instances say to each other takes no time (add it to the base)""",
    missing="greedy placement of borrowed blocks (debtors and creditors)",
    settings=(
        Setting("pooled, twice the traffic", POOLED, requests=10_000),
        Setting("one of two, on its own", requests=10_000),
    ),
    shown=("mean_ttft_s", "p99_ttft_s", "mean_tpot_s", "mean_response_s", "throughput_tokens_per_s"),
    no_live="its pool is two instances in step, and there is one engine here",
    accept=accept,
)
