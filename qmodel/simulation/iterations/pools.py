"""Prefill and decode on servers of their own (disaggregation): one engine feeds the other.

A prompt is computed on one of the prefill servers, dealt out in turn, and its first token comes out there. Then its
KV cache moves, and the request joins the decode engine's queue, ordered by that moment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.routed import routed
from qmodel.simulation.iterations.serving import Totals, serve

STRETCHES = 100
"""A run's gaps between tokens are noted so many times, for their intervals."""

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy import Policy
    from qmodel.service.engine import Engine
    from qmodel.simulation.iterations.columns import Records
    from qmodel.simulation.iterations.rules import Rules
    from qmodel.simulation.iterations.token_requests import TokenRequests


def collected(
    requests: TokenRequests,
    policy: Policy,
    rules: Rules,
    *,
    seed: int = 0,
    jumps: bool = True,
    sample_s: float = 0.0,
) -> tuple[TokenOutcome, Totals]:
    """Serve all requests, on one engine or on separate pools; what became of each, and the totals."""
    if rules.servers > 1:
        return routed(requests, policy, rules, _on_one_engine, seed, jumps)
    if rules.engine.prefill == "separate":
        return _pooled(requests, policy, rules, seed, jumps)
    return _on_one_engine(requests, policy, rules, seed, jumps, sample_s)


def _on_one_engine(
    requests: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool, sample_s: float = 0.0
) -> tuple[TokenOutcome, Totals]:
    parts: list[Records] = []

    def keep(records: Records) -> None:
        columns: list[Any] = [column.copy() for column in records]
        parts.append(type(records)(*columns))

    totals = serve(requests, policy, rules, keep, seed=seed, jumps=jumps, sample_s=sample_s, stretches=STRETCHES)
    return TokenOutcome.joined(parts), totals


def _pooled(
    requests: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool
) -> tuple[TokenOutcome, Totals]:
    if requests.later.number.any():
        raise InputError("class, pause", "is not simulated with prefill = 'separate'", "take prefill = 'mixed'")
    prefilled, totals = _prefilled(requests, policy, rules, seed, jumps)
    onward = np.flatnonzero(prefilled.served & (requests.output > 1))
    if not onward.size:
        return prefilled, totals
    engine = rules.engine
    moving = engine.transfer_s + requests.prompt / (engine.transfer_tokens_per_s or np.inf)
    ready = prefilled.first_s + moving
    onward = onward[np.argsort(ready[onward], kind="stable")]
    joined = replace(
        requests.of(onward),
        arrival_s=ready[onward],
        generated=np.ones(onward.size, dtype=np.int64),
        spoke_s=prefilled.first_s[onward],
        born_s=requests.arrival_s[onward],
        patience_s=np.full(onward.size, np.inf),
    )
    decoding = replace(rules, engine=_one_pool(engine), buffer=None)
    decoded, spent = _on_one_engine(joined, policy, decoding, seed, jumps)
    totals.add(spent)
    return _both(prefilled, decoded, onward), totals


def _one_pool(engine: Engine) -> Engine:
    return replace(engine, prefill="mixed", prefill_servers=1, transfer_s=0.0, transfer_tokens_per_s=None)


def _prefilled(
    requests: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool
) -> tuple[TokenOutcome, Totals]:
    """The prompts alone, on the prefill servers; each emits one token."""
    engine = replace(_one_pool(rules.engine), speculative_tokens=0, lookahead="none")
    alone, totals, parts = replace(rules, engine=engine), Totals(), []
    for server in range(rules.engine.prefill_servers):
        chosen = np.arange(server, len(requests), rules.engine.prefill_servers)
        if chosen.size:
            prompts = replace(requests.of(chosen), output=np.ones(chosen.size, dtype=np.int64))
            done, spent = _on_one_engine(prompts, policy, alone, seed, jumps)
            totals.add(spent)
            parts.append(replace(done, request=chosen))
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])]
    order = np.argsort(columns[0])
    return TokenOutcome(*(column[order] for column in columns)), totals


def _both(prefilled: TokenOutcome, decoded: TokenOutcome, onward: NDArray[np.int64]) -> TokenOutcome:
    """What became of each request on both pools."""
    columns = {name: column.copy() for name, column in vars(prefilled).items()}
    for name in ("ended", "done_s", "output", "qoe"):
        columns[name][onward] = getattr(decoded, name)
    for name in ("preemptions", "recomputed"):
        columns[name][onward] += getattr(decoded, name)
    return TokenOutcome(**columns)
