"""A request in a batch: how much of its prompt and output there is, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmodel.live.scheduler import Entry, Key
from qmodel.policy.base import Request


@dataclass(slots=True, eq=False)
class Sequence:
    """A request that shares iterations with others.

    `prompt` and `output` tokens in all, `generated` so far; `computed` tokens are in its KV cache. `output_long`
    replaces `output` should its service start while the queue condition holds. `key` is its place in the queue.
    `prefix` tokens of its prompt are those of others too, and may be found in the engine's cache.
    """

    entry: Entry
    prompt: int
    output: int
    output_long: int | None = None
    generated: int = 0
    computed: int = 0
    farthest: int = 0
    prefix: int = 0
    key: Key = field(default=(0.0, 0.0, 0))

    @property
    def request(self) -> Request:
        """What the policy sees."""
        return self.entry.request

    @property
    def number(self) -> int:
        """Its index in the run."""
        return self.entry.index

    @property
    def reached(self) -> int:
        """Tokens of the prompt that were computed, if only once: `farthest` of them before the cache was lost."""
        return self.prompt if self.generated else max(self.computed, self.farthest)

    @property
    def pending(self) -> int:
        """Tokens still to be computed before the next one is there: the rest of the prompt, or 1 when decoding."""
        return self.prompt + self.generated - self.computed

    @property
    def likely(self) -> int:
        """Tokens to be computed at its admission, if its prefix is found."""
        return self.pending if self.computed else max(self.pending - self.prefix, 1)

    @property
    def decoding(self) -> bool:
        """Whether the next iteration makes a token of one computed token."""
        return self.generated > 0 and self.prompt + self.generated - self.computed == 1

    def advance(self, tokens: int) -> bool:
        """So many tokens were computed; returns whether a new one was made."""
        self.computed += tokens
        if self.pending:
            return False
        self.generated += 1
        return True

    def found(self, tokens: int) -> None:
        """So many tokens are in the cache without having been computed for it."""
        self.computed += tokens

    def evict(self) -> None:
        """Its KV cache is gone: what it held must be computed anew."""
        self.farthest, self.computed = max(self.farthest, self.computed), 0
