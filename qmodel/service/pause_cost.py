"""What a KV cache costs while its request is away at a tool: memory times seconds that serve nobody."""

from __future__ import annotations

from qmodel.errors import InputError
from qmodel.workload.pause import KeyValueCache


def waste(
    kv: KeyValueCache, *, context: float, pause_s: float, recompute_s: float, others: float, swap_s: float = 0.0
) -> float:  # fmt: skip
    """Token-seconds of KV memory that one pause of a request with `context` tokens wastes.

    keep: pause * context. discard: recompute * (context + others), for those who run meanwhile wait too. swap: 2
    swap * (context + others), out and in. After InferCept (Abhyankar et al., ICML 2024), per token of cache.

    >>> waste("keep", context=1000, pause_s=2.0, recompute_s=0.05, others=9000)
    2000.0
    >>> waste("discard", context=1000, pause_s=2.0, recompute_s=0.05, others=9000)
    500.0
    """
    if min(context, pause_s, recompute_s, others, swap_s) < 0:
        raise InputError("waste of a pause", "takes no negative time or size", "give values >= 0")
    if kv == "keep":
        return pause_s * context
    return (recompute_s if kv == "discard" else 2.0 * swap_s) * (context + others)


def break_even_s(*, context: float, recompute_s: float, others: float) -> float:
    """The pause from which on it is better to discard than to keep: recompute (context + others) / context.

    >>> break_even_s(context=1000, recompute_s=0.05, others=9000)
    0.5
    """
    return waste("discard", context=context, pause_s=0.0, recompute_s=recompute_s, others=others) / context
