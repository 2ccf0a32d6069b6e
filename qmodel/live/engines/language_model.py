"""A language model, one request at a time: the first step reads the prompt, and every step makes a token.

The target's weights are random and it has no end-of-sequence token: every request makes as many tokens as it asks
for, and latency does not depend on what they say.
"""

from __future__ import annotations

from typing import Any

from qmodel.errors import InputError
from qmodel.live.engine import Work
from qmodel.measure.targets.language_model import POSITIONS, LanguageModel


class GeneratingJob:
    """Generates `output_tokens` after a prompt of `input_tokens`, with a key-value cache of its own.

    The cache has room for all of them from the start, as serving engines allocate it: one that grows would be
    copied at each step. It is given back with the last token.
    """

    __slots__ = ("_cache", "_exit_layer", "_model", "_next", "_room", "remaining", "tokens")

    def __init__(self, model: LanguageModel, input_tokens: int, output_tokens: int, exit_layer: int) -> None:
        self.remaining, self.tokens = output_tokens, 0
        self._model, self._exit_layer = model, exit_layer
        self._room = input_tokens + output_tokens
        self._next = model.random_tokens(1, input_tokens)
        self._cache: Any = None

    def step(self) -> None:
        """Prefill, or one more token; returns when it is there."""
        engine = self._model.engine
        with engine.guarded():
            if self._cache is None:
                self._cache = self._new_cache()
            logits = self._model.logits(self._next, self._cache, self._exit_layer)
            self._next = logits.argmax(dim=-1, keepdim=True)
            engine.synchronise()
        self.tokens += 1
        self.remaining -= 1
        if not self.remaining:
            self._cache = None

    def _new_cache(self) -> Any:
        from transformers import StaticCache

        return StaticCache(config=self._model.model.config, max_cache_len=self._room)


class LanguageModelEngine:
    """The target "language-model"; levels `input_tokens`, `output_tokens`, and `exit_layer` (all of its layers).

    Raises MissingExtra without torch and transformers.
    """

    emulated = False
    factors = ("input_tokens", "output_tokens", "exit_layer")

    def __init__(self, kind: str, threads: int = 1, **options: Any) -> None:
        self.name = kind
        self._model = LanguageModel(threads=threads, **options)
        self.device = self._model.device

    def start(self, work: Work) -> GeneratingJob:
        """Draw the prompt. Raises InputError for lengths or layers that the model does not have."""
        levels, layers = work.levels, self._model.layers
        lengths = levels.get("input_tokens", 128), levels.get("output_tokens", 1)
        if sum(lengths) > POSITIONS:
            raise InputError("input_tokens", f"{sum(lengths)} tokens in all", f"the model holds {POSITIONS}")
        exit_layer = levels.get("exit_layer", layers)
        if not 1 <= exit_layer <= layers:
            raise InputError("exit_layer", f"{exit_layer} is out of range", f"use 1 to {layers}")
        return GeneratingJob(self._model, *lengths, exit_layer)

    def versions(self) -> dict[str, str]:
        """Those of the target."""
        return self._model.versions()

    def close(self) -> None:
        """Release the model."""
        self._model.close()
