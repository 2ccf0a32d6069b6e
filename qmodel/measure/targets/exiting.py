"""A trained decoder that continues text, one request at a time, each token leaving at the first layer sure of it.

Early exit in both its meanings: `delivery = "release"` gives the token out early and computes the other layers all
the same, so that only delivery shrinks; `delivery = "stop"` skips them, so that occupancy shrinks too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from statistics import fmean
from typing import Any

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.measure.targets.base import Levels, Trial
from qmodel.measure.targets.device import cpu_name
from qmodel.measure.targets.generation import Generation
from qmodel.measure.targets.levels import check_factors, whole

DELIVERIES = ["release", "stop"]
NEVER = 2.0
"""A confidence that no layer reaches: every token leaves at the last."""


class ExitingModel:
    """Base of the targets "byte-model" and "smollm2": a trial continues a piece of text by `output_tokens`.

    `confidence` (0 to 1, or above 1 for none) and `delivery` say how tokens leave early, `exits` at which layers
    that is judged (from 1; None: those of the model's default). Prompts are pieces of Python's documentation. A
    subclass gives `name`, `positions`, `judged`, and loads model and text. Raises InputError for what makes no
    sense.
    """

    name = ""
    positions = 0
    judged: tuple[int, ...] | None = None
    phases = ("generate",)
    factors: Mapping[str, tuple[str, ...]] = {"generate": ("input_tokens", "output_tokens")}

    def __init__(
        self,
        threads: int = 1,
        confidence: float = NEVER,
        delivery: str = "stop",
        exits: Sequence[int] | None = None,
    ) -> None:
        place = f"target '{self.name}'"
        if delivery not in DELIVERIES:
            raise InputError(f"{place}, delivery", f"'{delivery}' is unknown", nearest(delivery, DELIVERIES))
        if not confidence > 0:
            raise InputError(f"{place}, confidence", f"{confidence} is no probability", "e.g. 0.8")
        self.device = cpu_name()
        self.confidence, self.keeps = confidence, delivery == "release"
        self.model = self.load(threads)
        self.exits = self._checked(exits if exits is not None else self.judged, place)

    def load(self, threads: int) -> Any:
        """The model on the CPU."""
        raise NotImplementedError

    def text(self) -> list[int]:
        """Tokens of the text that prompts are cut from."""
        raise NotImplementedError

    def _checked(self, exits: Sequence[int] | None, place: str) -> tuple[int, ...]:
        layers = len(self.model.model.layers)
        found = tuple(range(1, layers + 1) if exits is None else exits)
        if any(not (isinstance(layer, int) and 1 <= layer <= layers) for layer in found):
            raise InputError(f"{place}, exits", f"{list(found)} are not all layers", f"use 1 to {layers}")
        return found

    @cached_property
    def _text(self) -> list[int]:
        return self.text()

    def prompt(self, tokens: int, seed: int) -> list[int]:
        """So many tokens of the text, from a place that the seed gives."""
        text = self._text
        start = int(np.random.default_rng(seed).integers(max(1, len(text) - tokens)))
        piece = text[start : start + tokens]
        return piece if len(piece) == tokens else (text * (tokens // len(text) + 2))[start : start + tokens]

    def generation(self, input_tokens: int, output_tokens: int, seed: int) -> Generation:
        """A continuation about to begin. Raises InputError for lengths that the model does not hold."""
        if input_tokens + output_tokens > self.positions:
            fault = f"{input_tokens + output_tokens} tokens in all"
            raise InputError("input_tokens", fault, f"the model holds {self.positions}")
        return Generation(self.model, self.prompt(input_tokens, seed), self.confidence, self.keeps, self.exits)

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """The call that continues one prompt; every trial has its own seed (0, 1, 2, ...)."""
        check_factors(phase, levels, self.factors)
        lengths = whole(levels, "input_tokens", 32), whole(levels, "output_tokens", 8)
        self.generation(*lengths, seed=0)
        seeds = itertools.count()

        def trial() -> None:
            generation = self.generation(*lengths, seed=next(seeds))
            for _ in range(lengths[1]):
                generation.next_token()
                generation.finish()

        return trial

    def quality(self, said: Sequence[Generation]) -> dict[str, float]:
        """Share of tokens that the full model would have said after the same text, and the mean layer of exits.

        The first token of each is left out: a prompt is read by all layers.
        """
        kept = [each for each in said if len(each.exits) > 1]
        if not kept:
            return {}
        agreed = fmean(agreement(self.model, each) for each in kept)
        return {"agreement": agreed, "mean_layer": fmean(e.layer for each in kept for e in each.exits[1:])}

    def peak_memory_bytes(self) -> int | None:
        """None: not told on the CPU."""
        return None

    def versions(self) -> dict[str, str]:
        """Libraries that compute."""
        import torch
        import transformers

        return {"torch": torch.__version__, "transformers": transformers.__version__}

    def close(self) -> None:
        """Nothing to release."""


def agreement(model: Any, said: Generation) -> float:
    """Share of what was said, but for the first token, that the full model says after the same text."""
    import torch

    tokens = [each.token for each in said.exits]
    with torch.inference_mode():
        logits = model(torch.tensor([said.prompt + tokens[:-1]])).logits[0, len(said.prompt) :]
    return float((logits.argmax(dim=-1) == torch.tensor(tokens[1:])).float().mean())


@lru_cache(maxsize=1)
def documentation() -> str:
    """The last tenth of the topics that Python's own documentation has, whichever Python this is."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))
    return text[int(len(text) * 0.9) :]
