"""R28: vLLM: continuous batching, paged memory, prompts first or mixed."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.theory.state.state_dependent import StateDependentQueue, engine_rates

FIRST = {"system.engine": {"prefill": "first"}}
HEAVY = {
    "class.requests.input_tokens.value": 1500,
    "class.requests.output_tokens.value": 60,
    "system.max_batch": 16,
}
SHARED = {"class.requests.input_tokens.value": 2560, "class.requests.arrivals.rate": 0.75}
"""A system prompt that makes most of each prompt."""
LIGHTER = {"class.requests.arrivals.rate": 2.0}
PUBLISHED = {"response": 10568.66, "wait": 28.283, "served": 31.6211}
"""Of llm-inferno/queue-analysis, in ms, with an iteration counted as (1 + m)(alpha + (B + 1) delta)."""


def capacity(case: Case, changes: dict) -> float:
    """Requests a second with a queue that never empties."""
    from qmodel.simulation.iterations.answering import capacity as measured
    from qmodel.simulation.iterations.scenario_rules import rules_of

    scenario = case.scenario(changes)
    return measured(scenario, rules_of(scenario), requests=4_000)


def accept(case: Case) -> Iterator[Check]:
    """The public worked example to 1e-4; theory against the iterations simulated; prompts first against mixed."""
    prompt, answer, iterations = 128, 512, 513
    each = (5e-5 * (prompt + answer) / iterations) + 5e-7 * (prompt + answer / 2)
    queue = StateDependentQueue(3.0, engine_rates(0.012, each, iterations, 48, 48 + 128), places=48)
    yield near("response, ms", 1e3 * queue.response, PUBLISHED["response"], within=1e-4)
    yield near("wait, ms", 1e3 * queue.wait, PUBLISHED["wait"], within=1e-4)
    yield near("number served", queue.served, PUBLISHED["served"], within=1e-4)
    simulated, theory = case.simulate(LIGHTER, requests=20_000), case.theory(LIGHTER)
    for metric in ("mean_tpot_s", "mean_response_s"):
        yield near(f"{metric} simulated", value(simulated, metric), value(theory, metric), within=0.03)
    first, mixed = capacity(case, {**HEAVY, **FIRST}), capacity(case, HEAVY)
    yield true(f"long prompts: capacity {first:.4g}/s with prompts first < {mixed:.4g}/s mixed", first < mixed)


ROW = Row(
    number=28,
    name="vllm",
    title="continuous batching with a paged KV cache",
    method="approximation",
    idea="""Requests join and leave the batch between iterations; the KV cache is paged, so nearly all
    memory is usable; if it runs short the last to arrive is preempted. Every iteration gets longer
    with each request in it: latency is a queue whose service rate depends on how many are there.
    Putting prompts in iterations of their own, as vLLM V0 did, stalls those that decode and loses
    capacity.""",
    formula="""pi(n) = pi(0) prod lambda / mu(j), mu(n) = min(n, B) / (iterations x tau(min(n, B))); with
    memory M the capacity is at most M / (b E[token-slots])""",
    reference="Kwon et al., SOSP 2023, arXiv 2309.06180; Li, Dai & Peng 2025, arXiv 2504.07347; llm-inferno",
    settings=(
        Setting("vLLM V1, chunked prompts", requests=20_000),
        Setting("memory of 14,000 tokens", {"system.kv_capacity_tokens": 14_000}, requests=20_000),
        Setting("prompts first, as V0", FIRST, requests=20_000),
    ),
    live=(
        Setting("shared prompt found", {**SHARED, "class.requests.prefix_hit": 0.8}),
        Setting("computed anew", SHARED),
    ),
    shown=("mean_ttft_s", "mean_tpot_s", "mean_response_s", "p99_response_s", "attainment"),
    accept=accept,
)
