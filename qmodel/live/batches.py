"""How a live engine is to form batches: what a run's order says of them, and what is refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.live.pausing import Pauses, check_pauses, pauses_of
from qmodel.live.waiting_line import check_policy
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.token_worth import TokenWorth, token_worth
from qmodel.service.transform import ClipOutput

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

LENGTHS = ("input_tokens", "output_tokens")


@dataclass(frozen=True)
class Batches:
    """What an engine that batches must know of the system.

    `continuous`: requests join and leave between iterations; otherwise a batch is served as one. `max_batch`: most
    requests at once (None: all that wait), `min_batch`: a batch starts no smaller. Of continuous batching also
    the token budget of an iteration, the KV cache (None: ample), what tokens are worth to the policy, the most
    tokens that a request keeps in its cache, and the iteration time, for an engine that only passes time.

    `drops`: who is displaced gives its KV cache up. `shares`: what one request left in the cache another may find.
    `prefixes`: tokens of each prompt that all prompts begin with. `all_tokens`: those of all requests, in whole
    blocks: what the cache holds if nobody ever gives any up. `pauses`: of each request, where some pause.
    """

    continuous: bool
    max_batch: int | None = None
    min_batch: int = 1
    max_batched_tokens: int = 2048
    kv_capacity_tokens: int | None = None
    kv_block_tokens: int = 16
    worth: TokenWorth | None = None
    longest: int = 0
    drops: bool = False
    shares: bool = False
    prefixes: tuple[int, ...] = ()
    all_tokens: int = 0
    pauses: tuple[Pauses, ...] = ()
    time: IterationTime | None = None


def make_batches(scenario: Scenario, rows: Mapping[str, list[Any]]) -> Batches | None:
    """What the scenario asks of an engine that batches; None where requests are served one at a time."""
    system = scenario.system
    if system.batching == "dynamic":
        return Batches(False, system.max_batch, system.min_batch or 1, time=system.iteration_time)
    if system.batching != "continuous":
        return None
    engine = system.engine or Engine()
    lengths = [int(sum(each)) for each in zip(*(rows[name] for name in LENGTHS), strict=True)]
    pauses = pauses_of(scenario, rows)
    if pauses:
        lengths = [n + more.input_tokens + more.output_tokens for n, more in zip(lengths, pauses, strict=True)]
    most, block = (
        min(system.max_batch or engine.max_batched_tokens, engine.max_batched_tokens),
        engine.kv_block_tokens,
    )
    if pauses and system.kv_capacity_tokens is not None and system.kv_capacity_tokens < max(lengths):
        fault = f"{system.kv_capacity_tokens} tokens do not hold the longest request: {max(lengths)} in all"
        raise InputError("system.kv_capacity_tokens", fault, "give more, or leave it out")
    drops = scenario.policy.preemptive and system.kv_capacity_tokens is not None
    prefixes = _prefixes(scenario, rows)
    if drops:
        _check_room(system.kv_capacity_tokens or 0, most * _in_blocks(max(lengths), block))
    return Batches(
        True,
        most,
        max_batched_tokens=engine.max_batched_tokens,
        kv_capacity_tokens=system.kv_capacity_tokens,
        kv_block_tokens=engine.kv_block_tokens,
        worth=token_worth(scenario),
        longest=max(lengths),
        drops=drops,
        shares=engine.prefix_caching and (drops or any(prefixes) or any(each.kv == "discard" for each in pauses)),
        prefixes=prefixes,
        all_tokens=sum(_in_blocks(each, block) for each in lengths),
        pauses=pauses,
        time=system.iteration_time,
    )


def _prefixes(scenario: Scenario, rows: Mapping[str, list[Any]]) -> tuple[int, ...]:
    """Tokens of each prompt that a cache holds already; at least one is left to compute."""
    shares = {each.name: each.prefix_hit for each in scenario.classes}
    prompts = zip(rows["class"], rows["input_tokens"], strict=True)
    return tuple(min(int(shares[name] * tokens), int(tokens) - 1) for name, tokens in prompts)


def _in_blocks(tokens: int, block: int) -> int:
    return -(-tokens // block) * block


def _check_room(capacity: int, needed: int) -> None:
    """Raise InputError unless everyone in the largest batch fits: places are taken from others, memory is not."""
    if capacity < needed:
        fault = f"{capacity} tokens do not hold a whole batch of the longest requests, {needed}"
        raise InputError("system.kv_capacity_tokens", fault, "leave it out, give more, or do not preempt")


def check_dynamic(scenario: Scenario, emulated: bool) -> None:
    """Raise InputError for what a server does not do that serves a batch as one."""
    system = scenario.system
    if scenario.policy.sharing is not None or scenario.policy.timed:
        raise InputError(f"policy '{scenario.policy.name}'", "does not say who joins a batch", "use fcfs")
    if system.bins not in (None, 1):
        fault = "a batch's time goes by its number of requests, so bins of sizes gain nothing on this engine"
        raise InputError("system.bins", fault, "leave it out")
    if scenario.transforms:
        raise InputError("transform", "is not run on batches that are served as one", "leave it out")
    if emulated:
        if system.iteration_time is None:
            raise InputError("system.iteration_time", "is missing", "an emulated batch takes base + per_sequence n")
        return
    steps = {c.factors["steps"].atoms()[0][0] for c in scenario.classes if _fixed(c.factors.get("steps"))}
    if len(steps) != 1 or any(not _fixed(c.factors.get("steps")) for c in scenario.classes):
        raise InputError("factors.steps", "differ in a batch that is served as one", "give all the same number")
    if any(not _fixed(law) or law.mean != 1 for c in scenario.classes if (law := c.factors.get("batch_size"))):
        raise InputError("factors.batch_size", "a request is one image of the batch", "set it to 1")


def _fixed(law: Any) -> bool:
    return law is not None and law.scv == 0


def check_continuous(scenario: Scenario, engine: Mapping[str, Any]) -> None:
    """Raise InputError for what a continuous-batching engine cannot do, with the reason."""
    check_policy(scenario.policy)
    check_pauses(scenario)
    system, name = scenario.system, f"engine '{engine['name']}'"
    if system.iteration_time is None:
        raise InputError("system.iteration_time", "is missing", "sizes are measured by it; see experiments")
    asked, plain = system.engine or Engine(), Engine()
    reasons = {
        "prefill": "computes prompts beside decoding requests, as 'mixed'",
        "lookahead": "admits by free blocks only, as 'none'",
        "speculative_tokens": "drafts nothing, as 0",
        "eviction": "computes evicted requests anew, as 'recompute'",
    }
    for field, why in reasons.items():
        if getattr(asked, field) != getattr(plain, field):
            raise InputError(f"system.engine, {field}", f"{name} {why}", "leave it out")
    if system.kv_capacity_tokens is not None and not engine["emulated"] and asked.whole_prompt:
        fault = f"{name} takes KV blocks chunk by chunk"
        raise InputError("system.engine, whole_prompt", fault, "set whole_prompt = false")
    if system.kv_capacity_tokens is not None and engine["emulated"]:
        raise InputError("system.kv_capacity_tokens", f"{name} has no memory that could run out", "leave it out")
    for transform in scenario.transforms:
        if not isinstance(transform, ClipOutput):
            fault = f"{type(transform).__name__} is not run by {name}: one forward pass serves the whole batch"
            raise InputError("transform", fault, "clip-output gives fewer tokens, also by above_queue")
    for request_class in scenario.classes:
        for length in LENGTHS:
            if length not in request_class.factors:
                raise InputError(f"class '{request_class.name}', {length}", "is missing", "give its law")
