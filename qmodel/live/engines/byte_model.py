"""The trained byte-level model, one request at a time, leaving each byte at the first layer that is sure of it.

Early exit in both its meanings: `delivery = "release"` gives the byte out early and computes the other layers all
the same, so that only delivery shrinks; `delivery = "stop"` skips them, so that occupancy shrinks too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.live.engine import Work
from qmodel.measure.targets.byte_model import CONFIG, Generation, description, load
from qmodel.measure.targets.device import cpu_name

DELIVERIES = ["release", "stop"]
NEVER = 2.0
"""A confidence that no layer reaches: every byte leaves at the last."""


class ByteJob:
    """Two steps a byte: until it is known, and what is left to compute before the next.

    `released` tells the loop that the result is out with the last byte, not with the last step.
    """

    __slots__ = ("_engine", "_finishes", "_generation", "remaining", "tokens")
    released = True

    def __init__(self, engine: ByteEngine, generation: Generation, output_tokens: int) -> None:
        self.remaining, self.tokens = 2 * output_tokens, 0
        self._engine, self._generation, self._finishes = engine, generation, False

    def step(self) -> None:
        """A byte, or the rest of the computation of the one before."""
        if self._finishes:
            self._generation.finish()
        else:
            found = self._generation.next_byte()
            self.tokens += 1
            self._engine.count(found.layer)
        self._finishes = not self._finishes
        self.remaining -= 1


class ByteEngine:
    """The trained byte model; levels `input_tokens` and `output_tokens`. Prompts are pieces of noise.

    `confidence` (0 to 1, or above 1 for none) and `delivery` say how bytes leave early. `totals` counts bytes and
    the layers they left at. Raises MissingExtra without torch and transformers.
    """

    emulated = False
    factors = ("input_tokens", "output_tokens")

    def __init__(self, kind: str, threads: int = 1, confidence: float = NEVER, delivery: str = "stop") -> None:
        if delivery not in DELIVERIES:
            raise InputError(
                f"engine '{kind}', delivery", f"'{delivery}' is unknown", nearest(delivery, DELIVERIES)
            )
        if not confidence > 0:
            raise InputError(f"engine '{kind}', confidence", f"{confidence} is no probability", "e.g. 0.8")
        self.name, self.device = kind, cpu_name()
        self._model, self._confidence, self._keeps = load(threads), confidence, delivery == "release"
        self.totals = {"tokens": 0, "layers": 0}

    def start(self, work: Work) -> ByteJob:
        """Draw the prompt. Raises InputError for lengths that the model does not hold."""
        prompt, output = work.levels.get("input_tokens", 16), work.levels.get("output_tokens", 1)
        if prompt + output > CONFIG["positions"]:
            fault, remedy = f"{prompt + output} tokens in all", f"the model holds {CONFIG['positions']}"
            raise InputError("input_tokens", fault, remedy)
        drawn = np.random.default_rng(work.seed).integers(97, 123, size=prompt).tolist()
        return ByteJob(self, Generation(self._model, drawn, self._confidence, self._keeps), output)

    def count(self, layer: int) -> None:
        """A byte has left at this layer."""
        self.totals["tokens"] += 1
        self.totals["layers"] += layer

    def versions(self) -> dict[str, Any]:
        """Libraries and weights."""
        import torch
        import transformers

        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "byte_model_sha256": description()["weights_sha256"],
        }

    def close(self) -> None:
        """Nothing to release."""
