"""Target "transformers": whole iterations of transformers' continuous batching, overheads and all.

What a live run on that engine waits for is the whole iteration: choosing, tensors, the forward pass, the tokens on
the host, the bookkeeping. So that is timed, on the engine itself, and not the forward pass alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.measure.targets.base import Levels, OutOfMemory, Trial
from qmodel.measure.targets.language_model import check_shape, random_llama
from qmodel.measure.targets.levels import check_factors, whole
from qmodel.measure.targets.paged_batching import Chooser, PagedBatching
from qmodel.measure.targets.torch_engine import TorchEngine

BLOCK_TOKENS = 16
GROWTH = 16
"""Decode trials between fresh starts: contexts grow by a token in each and are centred on the level."""
FOREVER = 1 << 20
WARM_OUTPUT = 4
"""Tokens that a warming request makes."""
SHARED = 1 << 40
"""Seed of the prefix that prompts share, where they share one: no request has it."""


class AllOfThem:
    """A chooser without a policy: whoever is there, in the order of coming."""

    def __init__(self) -> None:
        self.present: list[str] = []

    def choose(self, budget: int) -> list[str]:
        return list(self.present)

    def took(self, computed: Sequence[str]) -> dict[str, int]:
        return {}

    def found(self, request_id: str, tokens: int) -> None:
        pass

    def displaced(self) -> list[str]:
        return []

    def spare(self) -> str | None:
        return None

    def evicted(self, request_id: str) -> None:
        raise OutOfMemory("the KV cache is too small for the cell")


class TransformersBatching:
    """Target "transformers": one iteration of the engine, timed by its clock on the host.

    Phase "decode": `batch_size` requests decode, each with `context_tokens` in its KV cache. Phase "mixed": beside
    `batch_size` such requests, one prompt of `prefill_tokens` is read whole.

    A random-weight Llama built from configuration (seeded). Options: the model's shape, `device`, `precision`, and
    `max_batch` and `max_batched_tokens` of the engine. Raises MissingExtra without torch and transformers.
    """

    name = "transformers"
    phases = ("decode", "mixed")
    factors: Mapping[str, tuple[str, ...]] = {
        "decode": ("batch_size", "context_tokens"),
        "mixed": ("batch_size", "context_tokens", "prefill_tokens"),
    }

    def __init__(
        self,
        threads: int = 1,
        device: str = "auto",
        precision: str = "float32",
        *,
        hidden_size: int = 256,
        layers: int = 4,
        heads: int = 8,
        kv_heads: int = 4,
        intermediate_size: int = 704,
        vocab_size: int = 2048,
        max_batch: int = 256,
        max_batched_tokens: int = 2048,
        seed: int = 0,
    ) -> None:
        shape = {"hidden_size": hidden_size, "layers": layers, "heads": heads, "kv_heads": kv_heads,
                 "vocab_size": vocab_size, "intermediate_size": intermediate_size}  # fmt: skip
        check_shape(shape)
        self.vocab_size, self.seed = vocab_size, seed
        self._max_batch, self._max_batched_tokens = max_batch, max_batched_tokens
        self.engine = TorchEngine(device, precision, threads)
        self.device = self.engine.name
        try:
            self.model = random_llama(self.engine, shape, seed)
        except OutOfMemory as error:
            raise InputError("transformers", "its weights do not fit in memory", "make it smaller") from error
        self._paged: PagedBatching | None = None

    def batching(
        self, chooser: Chooser, max_batch: int, tokens: int, blocks: int, block_tokens: int, shares: bool = False
    ) -> PagedBatching:
        """The library's manager around the model."""
        with self.engine.guarded():
            return PagedBatching(self.model, chooser, max_batch=max_batch, max_batched_tokens=tokens,
                                 blocks=blocks, block_tokens=block_tokens, shares=shares)  # fmt: skip

    def prompt(self, tokens: int, seed: int, prefix: int = 0) -> list[int]:
        """Token ids drawn from the seed, after so many of the one prefix that is shared."""
        return self._drawn(prefix, SHARED) + self._drawn(tokens - prefix, seed)

    def _drawn(self, tokens: int, seed: int) -> list[int]:
        drawn: list[int] = np.random.default_rng([self.seed, seed]).integers(self.vocab_size, size=tokens).tolist()
        return drawn

    @property
    def kv_bytes_per_token(self) -> int:
        """Memory that a token takes in the KV cache."""
        config = self.model.config
        head = config.hidden_size // config.num_attention_heads
        size: int = 2 * config.num_hidden_layers * config.num_key_value_heads * head * self.engine.dtype.itemsize
        return size

    def warm_up(self, paged: PagedBatching, requests: int, tokens: int) -> None:
        """A few requests, that leave nothing behind. The chooser must be `AllOfThem`."""
        chooser = paged.chooser
        assert isinstance(chooser, AllOfThem)
        chooser.present = [f"warm {i}" for i in range(requests)]
        for i, name in enumerate(chooser.present):
            paged.add(name, self.prompt(tokens, SHARED + 1 + i), WARM_OUTPUT)
        for _ in range(WARM_OUTPUT):
            paged.iterate()
        for name in chooser.present:  # where prompts took several iterations, some are not done
            paged.cancel(name)
        chooser.present = []
        paged.iterate()

    def fill(self, paged: PagedBatching, prefix: int) -> None:
        """Have the shared prefix in the cache: a request that begins with it, to its end.

        It makes two tokens: the library keeps nothing of what the last iteration of a request computes.
        """
        chooser = paged.chooser
        assert isinstance(chooser, AllOfThem)
        chooser.present = ["prefix"]
        paged.add("prefix", self.prompt(prefix + 1, SHARED, prefix), 2)
        while paged.iterate() and not paged.left("prefix"):
            pass
        chooser.present = []

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """The call that runs one iteration of this cell, and returns its seconds."""
        check_factors(phase, levels, self.factors)
        batch_size = whole(levels, "batch_size", 1, 1, self._max_batch - 1)
        context = whole(levels, "context_tokens", 64, GROWTH)
        prefill = whole(levels, "prefill_tokens", 16, 1, self._max_batched_tokens - batch_size)
        self.engine.set_threads()
        self._release()
        blocks = (batch_size + 1) * (-(-(context + GROWTH) // BLOCK_TOKENS) + 1) + -(-prefill // BLOCK_TOKENS) + 8
        self._paged = self.batching(AllOfThem(), self._max_batch, self._max_batched_tokens, blocks, BLOCK_TOKENS)
        cell = Cell(self, self._paged, batch_size, context, prefill if phase == "mixed" else 0)
        with self.engine.guarded():
            cell.fill()
        return cell.trial

    def peak_memory_bytes(self) -> int | None:
        """Peak device memory; None on a CPU."""
        return self.engine.peak_memory_bytes()

    def versions(self) -> dict[str, str]:
        """torch and transformers."""
        import transformers

        return self.engine.versions() | {"transformers": transformers.__version__}

    def close(self) -> None:
        """Give the model's memory back."""
        self._release()
        del self.model
        self.engine.release()

    def _release(self) -> None:
        paged, self._paged = self._paged, None
        if paged is not None:
            paged.close()


class Cell:
    """One cell of the design: so many requests decoding at about this context, and perhaps a prompt beside them."""

    def __init__(
        self, target: TransformersBatching, paged: PagedBatching, batch_size: int, context: int, prefill: int
    ) -> None:
        self._target, self._paged = target, paged
        self._batch_size, self._context, self._prefill = batch_size, context, prefill
        chooser = paged.chooser
        assert isinstance(chooser, AllOfThem)
        self._chooser, self._names, self._grown = chooser, itertools.count(), 0

    def fill(self) -> None:
        """Requests with half of `GROWTH` tokens less than the context, all of them decoding."""
        for name in self._chooser.present:
            self._paged.cancel(name)
        self._chooser.present = [self._add(self._context - GROWTH // 2, FOREVER) for _ in range(self._batch_size)]
        waiting = set(self._chooser.present)
        while waiting:
            waiting -= {name for name, tokens in self._paged.iterate() if self._paged.tokens(name)}
        self._grown = 0

    def trial(self) -> float:
        """One iteration, timed."""
        if self._grown >= GROWTH:
            self.fill()
        self._grown += 1
        with self._target.engine.guarded():
            return self._mixed() if self._prefill else _timed(self._paged.iterate)

    def _mixed(self) -> float:
        """The prompt asks for one token: it is gone when the iteration ends."""
        name = self._add(self._prefill, 1)
        self._chooser.present.append(name)
        try:
            return _timed(self._paged.iterate)
        finally:
            self._chooser.present.remove(name)

    def _add(self, tokens: int, output: int) -> str:
        number = next(self._names)
        self._paged.add(str(number), self._target.prompt(tokens, number), output)
        return str(number)


def _timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begin) * 1e-9
