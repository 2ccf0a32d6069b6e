"""Chance inside the loops: numbers that depend on the seed, the request and the token alone.

So a request meets the same luck under every policy and in whatever iteration (common random numbers).
"""

from __future__ import annotations

from qmodel.simulation.iterations.columns import Limits
from qmodel.simulation.iterations.compiling import part

WORD = 0xFFFFFFFF


@part
def mixed(word: int) -> int:
    """32 bits well mixed (the finaliser of MurmurHash3, public domain)."""
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & WORD
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & WORD
    return word ^ (word >> 16)


@part
def uniform(seed: int, request: int, token: int, stream: int) -> float:
    """A number in [0, 1) for this token of this request in this stream."""
    word = mixed((seed + 0x9E3779B9 * (stream + 1)) & WORD)
    word = mixed((word + 0x7FEB352D * (request & WORD)) & WORD)
    word = mixed((word + (request >> 32) + 0x846CA68B * token) & WORD)
    return word / 4294967296.0


@part
def exit_share(limits: Limits, request: int, token: int) -> float:
    """Share of an iteration's work after which this token is out, where tokens exit early."""
    drawn = uniform(limits.seed, request, token, 0)
    chosen = 0
    while chosen < limits.exit_at.size - 1 and limits.exit_until[chosen] <= drawn:
        chosen += 1
    return limits.exit_at[chosen]


@part
def accepted(limits: Limits, request: int, token: int) -> int:
    """How many drafted tokens in a row are accepted after this token."""
    count = 0
    while count < limits.drafts and uniform(limits.seed, request, token + count, 1) < limits.acceptance:
        count += 1
    return count
