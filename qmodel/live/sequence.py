"""A request in a batch: how much of its prompt and output there is, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence as Series
from dataclasses import dataclass, field

from qmodel.live.pausing import NONE, LaterService, Pauses
from qmodel.live.scheduler import Entry, Key
from qmodel.policy.base import Request
from qmodel.service.iteration_time import IterationTime, query_keys


@dataclass(slots=True, eq=False)
class Sequence:
    """A request that shares iterations with others.

    `prompt` and `output` tokens in all, `generated` so far; `computed` tokens are in its KV cache. `output_long`
    replaces `output` should its service start while the queue condition holds. `key` is its place in the queue.
    `prefix` tokens of its prompt are those of others too, and may be found in the engine's cache. With `pauses`,
    `prompt` and `output` are those of the services that have begun, `visits` of which have ended; `swapped`: its KV
    cache is on the host.
    """

    entry: Entry
    prompt: int
    output: int
    output_long: int | None = None
    generated: int = 0
    computed: int = 0
    farthest: int = 0
    prefix: int = 0
    pauses: Pauses = NONE
    visits: int = 0
    swapped: bool = False
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

    def evict(self, kept: int = 0) -> None:
        """Its KV cache is gone but for `kept` tokens: what it held must be computed anew."""
        self.farthest, self.computed = max(self.farthest, self.computed), kept

    @property
    def comes_back(self) -> LaterService | None:
        """What follows the service that it is in, or away from: a pause and another, or nothing."""
        services = self.pauses.services
        return services[self.visits] if self.visits < len(services) else None

    @property
    def most_output(self) -> int:
        """Tokens that it makes in all its services."""
        return self.output + sum(each.output_tokens for each in self.pauses.services[self.visits :])

    def come_back(self) -> None:
        """The pause is over: its context grows by the new input, and there is more to make."""
        service = self.comes_back
        assert service is not None
        self.prompt += service.input_tokens
        self.output += service.output_tokens
        self.visits += 1


@dataclass(frozen=True)
class Computed:
    """What an iteration computes: decoding sequences with their context tokens, and prompts with their tokens.

    `cached_tokens`: of these prompts, computed before.
    """

    decoding: int
    context_tokens: int
    prefills: int
    prefill_tokens: int
    cached_tokens: int

    @classmethod
    def of(cls, computed: Series[tuple[Sequence, int]]) -> Computed:
        """Of the sequences with the tokens that each computes, before they are told of it."""
        contexts = [each.prompt + each.generated for each, _ in computed if each.decoding]
        prompts = [(each.computed, tokens) for each, tokens in computed if not each.decoding]
        tokens, cached = sum(tokens for _, tokens in prompts), sum(before for before, _ in prompts)
        return cls(len(contexts), sum(contexts), len(prompts), tokens, cached)

    @property
    def query_keys(self) -> int:
        """Queries times keys."""
        return int(query_keys(self.decoding, self.context_tokens, self.prefill_tokens, self.cached_tokens))

    def seconds(self, taken: IterationTime) -> float:
        """Time of the iteration."""
        return taken.seconds(
            self.decoding + self.prefills, self.context_tokens, self.prefill_tokens,
            prefills=self.prefills, cached_tokens=self.cached_tokens,
        )  # fmt: skip
