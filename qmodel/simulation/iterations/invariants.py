"""What holds in every run of a batching engine, by name. Each function returns what is wrong, if anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.simulation.iterations.pools import rules_of_pool

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qmodel.simulation.iterations.outcome import TokenOutcome
    from qmodel.simulation.iterations.rules import Rules
    from qmodel.simulation.iterations.serving import Totals
    from qmodel.simulation.iterations.token_requests import TokenRequests

ROUNDING = 1e-9


def conservation_of_requests(requests: TokenRequests, outcome: TokenOutcome) -> list[str]:
    """Every request leaves exactly once: served, rejected or abandoned."""
    faults = []
    if not np.array_equal(outcome.request, np.arange(len(requests))):
        faults.append(f"{len(requests)} requests came, {outcome.request.size} records are there")
    if not np.isin(outcome.ended, (0, 1, 2)).all():
        faults.append("a request ended in no known way")
    return faults


def conservation_of_tokens(requests: TokenRequests, outcome: TokenOutcome, totals: Totals) -> list[str]:
    """A served request has emitted all its tokens, nobody else any, and the engine no more and no fewer."""
    wanted = _asked(requests, outcome) + _later(requests, requests.later.output)
    faults = []
    if not np.array_equal(outcome.output[outcome.served], wanted[outcome.served]):
        faults.append("a served request has not the tokens it asked for")
    if outcome.output[~outcome.served].any():
        faults.append("a request that was not served has tokens")
    if (outcome.output > requests.output + _later(requests, requests.later.output)).any():
        faults.append("a request has more tokens than it asked for")
    if totals.tokens != int(outcome.output.sum()):
        faults.append(f"{totals.tokens} tokens came out, requests have {int(outcome.output.sum())}")
    return faults


def conservation_of_work(requests: TokenRequests, outcome: TokenOutcome, totals: Totals) -> list[str]:
    """Tokens computed = each token of prompts and outputs once, but the last and prefixes held, + those lost.

    So preemption, swapping and moving neither lose work nor count it twice.
    """
    needed = requests.prompt + _asked(requests, outcome) - 1 - requests.prefix
    needed = needed + _later(requests, requests.later.prompt + requests.later.output)
    expected = int(needed[outcome.served].sum()) + int(outcome.recomputed.sum())
    return [] if totals.computed == expected else [f"{totals.computed} tokens were computed, {expected} expected"]


def causality(outcome: TokenOutcome) -> list[str]:
    """Nothing before its cause: arrival, admission, first token, last token in this order."""
    served = outcome.of(outcome.served)
    slack = ROUNDING * (1.0 + np.abs(served.done_s))
    faults = []
    for earlier, later in (("arrival_s", "start_s"), ("start_s", "first_s"), ("first_s", "done_s")):
        if (getattr(served, later) < getattr(served, earlier) - slack).any():
            faults.append(f"{later} before {earlier}")
    return faults


def order_of_tokens(outcome: TokenOutcome, token_request: ArrayLike, token_s: ArrayLike) -> list[str]:
    """The tokens of a request come out in order, none before its arrival, as many as it has."""
    owner, times = np.asarray(token_request), np.asarray(token_s)
    by_owner = np.argsort(owner, kind="stable")
    owner, times = owner[by_owner], times[by_owner]
    same = owner[1:] == owner[:-1]
    slack = ROUNDING * (1.0 + np.abs(times))
    faults = []
    if (np.diff(times)[same] < -slack[1:][same]).any():
        faults.append("a token came out before the one before it")
    if (times < outcome.arrival_s[owner] - slack).any():
        faults.append("a token came out before its request arrived")
    if not np.array_equal(np.bincount(owner, minlength=len(outcome)), outcome.output):
        faults.append("a request has more or fewer token times than tokens")
    return faults


def caps(rules: Rules, totals: Totals) -> list[str]:
    """Never more sequences, tokens in an iteration, or KV blocks than allowed; in the end no block is held.

    Of several pools, what the largest bounds allow.
    """
    pools = [rules_of_pool(rules, pool) for pool in rules.engine.pipeline if not pool.encodes_only]
    limits = [
        ("sequences", totals.peak_running, max(each.batch_limit for each in pools)),
        ("tokens", totals.peak_tokens, max(each.engine.max_batched_tokens for each in pools)),
    ]
    memories = [each.kv_capacity_tokens for each in pools]
    if all(memory is not None for memory in memories):
        most = max(memory or 0 for memory in memories)
        limits.append(("KV blocks", totals.peak_blocks, most // rules.engine.kv_block_tokens))
    faults = [f"{found} {what} at once, {most} allowed" for what, found, most in limits if found > most]
    return [*faults, *([f"{totals.used} KV blocks are held after the end"] if totals.used else [])]


def littles_law(outcome: TokenOutcome, present: NDArray[np.float64], each_s: float) -> list[str]:
    """Mean number present = arrivals/s x mean time in the system, present being sampled every `each_s` seconds.

    Served requests without pauses, sampled from 0 to the end: the sum of the samples times their distance is the
    sum of the times in the system, but for one distance a request either way.
    """
    sampled, times = float(present.sum()) * each_s, float((outcome.done_s - outcome.arrival_s).sum())
    slack = each_s * len(outcome)
    return [] if abs(sampled - times) <= slack else [f"{sampled:g} request seconds sampled, {times:g} spent"]


def _asked(requests: TokenRequests, outcome: TokenOutcome) -> NDArray[np.int64]:
    """Output tokens of the first service: fewer for those whose service started while the queue was long."""
    return np.where(outcome.reduced == 1, outcome.output, requests.output)


def _later(requests: TokenRequests, values: NDArray[np.int64]) -> NDArray[np.int64]:
    running = np.concatenate(([0], np.cumsum(values)))
    return running[requests.later.first + requests.later.number] - running[requests.later.first]
