"""Stages on servers of their own (disaggregation): one pool of engines feeds the next.

A request passes the pools in the order of their stages: encode, prefill, decode. It joins a pool's queue when what
the pool before made of it has moved there, and the queue's policy sees that moment as its arrival. One without an
encoding to do goes straight to the prompts; one of a single output token leaves with it. Its first token comes out
where its prompt is computed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.policy.routing import Routing
from qmodel.service.composed import ComposedTime, Curve
from qmodel.simulation.iterations.columns import REJECTED
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.routed import routed
from qmodel.simulation.iterations.serving import Totals, serve

STRETCHES = 100
"""A run's gaps between tokens are noted so many times, for their intervals."""
NO_TIME = ComposedTime(dense=Curve(np.array([0.0, 2.0]), np.zeros(2)))
"""Iterations of an encoder take what the encoding takes, and nothing else."""

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy import Policy
    from qmodel.service.pool import Pool
    from qmodel.simulation.iterations.columns import Records
    from qmodel.simulation.iterations.rules import Rules
    from qmodel.simulation.iterations.token_requests import TokenRequests

    Integers = NDArray[np.int64]


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
    separate = len(rules.engine.pipeline) > 1
    if sample_s and (separate or rules.servers > 1):
        raise InputError("sample_s", "is not simulated with several engines", "leave it out")
    if separate:
        return _Passage(requests, policy, rules).through(seed, jumps)
    if rules.engine.pools:
        rules = rules_of_pool(rules, rules.engine.pools[0])
    return _engines(requests, policy, rules, seed, jumps, sample_s)


def _engines(
    requests: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool, sample_s: float = 0.0
) -> tuple[TokenOutcome, Totals]:
    """On one engine, or on several with a router before them."""
    if rules.servers > 1:
        return routed(requests, policy, rules, _on_one_engine, seed, jumps)
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


def rules_of_pool(rules: Rules, pool: Pool) -> Rules:
    """The rules of each engine of a pool: the system's, but for the bounds that the pool has of its own."""
    engine = rules.engine.alone
    more: dict[str, Any] = {}
    if pool.max_batched_tokens is not None:
        engine = replace(engine, max_batched_tokens=pool.max_batched_tokens)
    if pool.encodes_only:
        engine = replace(engine, speculative_tokens=0, lookahead="none")
        more = {"time": NO_TIME, "max_batch": 1, "kv_capacity_tokens": None, "early_exit": None, "resume_s": 0.0}
    elif "decode" not in pool.stages:
        engine = replace(engine, prefill="mixed", speculative_tokens=0, lookahead="none")
    for name in ("max_batch", "kv_capacity_tokens"):
        if getattr(pool, name) is not None:
            more[name] = getattr(pool, name)
    return replace(rules, engine=engine, servers=pool.servers, routing=Routing.parse(pool.routing), **more)


class _Passage:
    """The way of all requests through the pools."""

    def __init__(self, requests: TokenRequests, policy: Policy, rules: Rules) -> None:
        if requests.later.number.any():
            raise InputError("class, pause", "is not simulated with separate pools", "take prefill = 'mixed'")
        self.requests, self.policy, self.rules = requests, policy, rules
        self.pools, self.totals = rules.engine.pipeline, Totals()
        n = len(requests)
        self.ready_s = requests.arrival_s.copy()
        self.under_way, self.begun = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
        none, never = np.zeros(n, dtype=np.int64), np.full(n, np.nan)
        self.fates = TokenOutcome(
            np.arange(n), requests.class_index, none.copy(), requests.first_arrival_s, never.copy(), never.copy(),
            never.copy(), np.zeros(n), requests.prompt, none.copy(), none.copy(), none.copy(), never.copy(),
            none.copy(),
        )  # fmt: skip

    def through(self, seed: int, jumps: bool) -> tuple[TokenOutcome, Totals]:
        """From the first pool to the last."""
        self._reject()
        for pool in self.pools:
            chosen = np.flatnonzero(self.under_way & self._calls_at(pool))
            if chosen.size:
                chosen = chosen[np.argsort(self.ready_s[chosen], kind="stable")]
                rules = rules_of_pool(self.rules, pool)
                done, spent = _engines(self._as_seen_by(pool, chosen), self.policy, rules, seed, jumps)
                self._note(pool, chosen, done)
                self.totals.add(replace(spent, tokens=0, computed=0) if pool.encodes_only else spent)
        self.totals.left = len(self.requests)
        return self.fates, self.totals

    def _reject(self) -> None:
        """Turn away on arrival what does not fit in the memory of a pool that it would come to."""
        for pool in self.pools:
            rules = rules_of_pool(self.rules, pool)
            if rules.kv_capacity_tokens is not None:
                block = rules.engine.kv_block_tokens
                most = self.requests.prompt + rules.engine.speculative_tokens
                if "decode" in pool.stages:
                    most = most + self.requests.output - 1
                self.under_way &= (-(-most // block) <= rules.kv_capacity_tokens // block) | ~self._calls_at(pool)
        refused = ~self.under_way
        self.fates.ended[refused], self.fates.done_s[refused] = REJECTED, self.fates.arrival_s[refused]

    def _calls_at(self, pool: Pool) -> NDArray[np.bool_]:
        """Which requests have anything to do there."""
        if pool.encodes_only:
            encode_s = self.requests.encode_s
            return np.zeros(len(self.requests), dtype=bool) if encode_s is None else encode_s > 0
        return self.requests.output > (1 if pool.stages == ("decode",) else 0)

    def _as_seen_by(self, pool: Pool, chosen: Integers) -> TokenRequests:
        """These requests with what the pool has to do for them, and from when."""
        part, one = self.requests.of(chosen), np.ones(chosen.size, dtype=np.int64)
        seen: dict[str, Any] = {"arrival_s": self.ready_s[chosen], "born_s": part.first_arrival_s}
        seen["patience_s"] = np.where(self.begun[chosen], np.inf, part.patience_s)
        encodes = next((each for each in self.pools if "encode" in each.stages), self.pools[0])
        if pool is not encodes:
            seen["encode_s"] = None
        if pool.encodes_only:
            seen |= {"prompt": one, "prefix": 0 * one}
        if "decode" not in pool.stages:
            seen["output"] = one
        if "prefill" not in pool.stages and not pool.encodes_only:
            seen |= {"generated": one, "spoke_s": self.fates.first_s[chosen]}
        return replace(part, **seen)

    def _note(self, pool: Pool, chosen: Integers, done: TokenOutcome) -> None:
        """What became of these requests in the pool, and when they are at the next."""
        fates, first = self.fates, ~self.begun[chosen]
        fates.start_s[chosen[first]] = done.start_s[first]
        names = ["ended", "done_s"] if pool.encodes_only else ["ended", "done_s", "output", "qoe"]
        for name in [*names, "first_s"] if "prefill" in pool.stages else names:
            getattr(fates, name)[chosen] = getattr(done, name)
        fates.preemptions[chosen] += done.preemptions
        fates.recomputed[chosen] += done.recomputed
        self.begun[chosen] = True
        self.under_way[chosen] = done.served
        self.ready_s[chosen] = done.done_s + pool.moving_s(self.requests.prompt[chosen])
