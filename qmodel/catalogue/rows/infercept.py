"""R4: InferCept: what becomes of a KV cache while its request is away at a tool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import at_most, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.service.pause_cost import break_even_s, waste

KINDS = ("keep", "discard", "swap")
CONTEXT, OTHERS, FORWARD, SWAP = 1000.0, 12_000.0, 0.012 + 4e-5 * 1000, 1000 / 20_000.0
HORIZON = 1_500.0


def all_of(kv: str) -> dict[str, str]:
    """Every pause alike."""
    return {f"class.{name}.pause.kv": kv for name in ("calculator", "person")}


def response(case: Case, changes: dict[str, Any]) -> float:
    """Mean response, pauses left out, from empty (s)."""
    return value(case.simulate(changes, horizon_s=HORIZON, replications=4), "mean_response_s")


def one_tool(pause_s: float, kv: str) -> dict[str, Any]:
    """All requests call a tool that takes so long."""
    return {
        **all_of(kv),
        "class.calculator.pause.duration.mean": pause_s,
        "class.person.pause.duration.mean": pause_s,
    }


HERE = {
    "system.max_batch": 8, "system.kv_capacity_tokens": 1600,
    "class.calculator.arrivals.rate": 2.5, "class.person.arrivals.rate": 1.6,
    "class.person.pause.duration.mean": 2.0,
    **{f"class.{name}.input_tokens.value": 60 for name in ("calculator", "person")},
    **{f"class.{name}.pause.probability": 0.5 for name in ("calculator", "person")},
}  # fmt: skip
"""Live the batch and its memory are small, so are the prompts, and a person answers sooner: the run is to end."""
LIVE_S = 10.0
"""Horizon of a live run, in the row's time."""


def accept(case: Case) -> Iterator[Check]:
    """The break-even pause; on both sides the simulation prefers what the formula does; the mix wins."""
    even = break_even_s(context=CONTEXT, recompute_s=FORWARD, others=OTHERS)
    for pause in (even / 8, 30 * even):
        cost = {
            k: waste(k, context=CONTEXT, pause_s=pause, recompute_s=FORWARD, others=OTHERS)  # type: ignore[arg-type]
            for k in KINDS[:2]
        }
        found = {k: response(case, one_tool(pause, k)) for k in KINDS[:2]}
        says = min(cost, key=cost.__getitem__)
        yield true(
            f"T* = {even:.3g} s; pauses of {pause:.3g} s: formula {says}, simulated keep {found['keep']:.4g} s, "
            f"discard {found['discard']:.4g} s", says == min(found, key=found.__getitem__),
        )  # fmt: skip
    mixed = response(case, {})
    for kv in KINDS:
        yield at_most("least waste", mixed, f"{kv} always", response(case, all_of(kv)), slack=0.01)


ROW = Row(
    number=4,
    name="infercept",
    title="KV caches kept or not during tool calls",
    method="simulation",
    idea="""While a request waits for a tool its KV cache serves nobody. Keep it for a short call, throw it
    away and compute it anew for a long one, or move it out: whatever wastes the least memory x
    time. The choice flips at a break-even pause.""",
    formula="""keep: T_pause C; discard: T_fwd (C + C_other); swap: 2 T_swap (C + C_other); T* = T_fwd (C +
    C_other) / C""",
    reference="Abhyankar, He, Srivatsa, Zhang & Zhang, ICML 2024, arXiv 2402.01869",
    unchecked="""InferCept-like: the choice is made for each tool by its mean pause, not call by call; whole
    caches are swapped between iterations, not within a budget beside them; what is discarded is
    not found again (no prefix caching); the waste formulas are as catalogued""",
    missing="one choice for every call by its own estimate; chunks of recomputation in spare capacity",
    settings=(
        Setting("least waste, by tool", horizon_s=HORIZON, replications=4),
        Setting("keep always", all_of("keep"), horizon_s=HORIZON, replications=4),
        Setting("swap always", all_of("swap"), horizon_s=HORIZON, replications=4),
        Setting("discard always", all_of("discard"), horizon_s=HORIZON, replications=4),
    ),
    shown=("mean_response_s", "calculator:mean_response_s", "person:mean_response_s", "mean_ttft_s"),
    live=(
        Setting("keep short, swap long", {**HERE, "class.person.pause.kv": "swap"}, horizon_s=LIVE_S),
        Setting("keep always", {**HERE, **all_of("keep")}, horizon_s=LIVE_S),
        Setting("discard always", {**HERE, **all_of("discard")}, horizon_s=LIVE_S),
    ),
    accept=accept,
)
