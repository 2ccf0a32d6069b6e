"""A trained decoder, one request at a time, leaving each token at the first layer that is sure of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmodel.live.engine import Work
from qmodel.measure.targets.base import make_target
from qmodel.measure.targets.generation import Generation


class ExitingJob:
    """Two steps a token: until it is known, and what is left to compute before the next.

    `released` tells the loop that the result is out with the last token, not with the last step.
    """

    __slots__ = ("_engine", "_finishes", "generation", "remaining", "tokens")
    released = True

    def __init__(self, engine: ExitingEngine, generation: Generation, output_tokens: int) -> None:
        self.remaining, self.tokens = 2 * output_tokens, 0
        self.generation, self._engine, self._finishes = generation, engine, False

    def step(self) -> None:
        """A token, or the rest of the computation of the one before."""
        if self._finishes:
            self.generation.finish()
        else:
            self._engine.count(self.generation.next_token().layer)
            self.tokens += 1
        self._finishes = not self._finishes
        self.remaining -= 1


class ExitingEngine:
    """The targets "byte-model" and "smollm2" behind a live loop; levels `input_tokens` and `output_tokens`.

    Options are those of the target (confidence, delivery, exits). `totals` counts tokens and the layers they left
    at. Raises MissingExtra without the target's libraries.
    """

    emulated = False
    leaves_early = True
    factors = ("input_tokens", "output_tokens")

    def __init__(self, kind: str, threads: int = 1, **options: Any) -> None:
        self.name = kind
        self._target: Any = make_target(kind, threads=threads, **options)
        self.device: str = self._target.device
        self.totals = {"tokens": 0, "layers": 0}

    def start(self, work: Work) -> ExitingJob:
        """Cut the prompt from the text. Raises InputError for lengths that the model does not hold."""
        lengths = work.levels.get("input_tokens", 16), work.levels.get("output_tokens", 1)
        return ExitingJob(self, self._target.generation(*lengths, seed=work.seed), lengths[1])

    def count(self, layer: int) -> None:
        """A token has left at this layer."""
        self.totals["tokens"] += 1
        self.totals["layers"] += layer

    def quality(self, jobs: Sequence[ExitingJob]) -> dict[str, float]:
        """What these jobs said, judged by the target."""
        found: dict[str, float] = self._target.quality([job.generation for job in jobs])
        return found

    def versions(self) -> dict[str, str]:
        """Libraries and weights."""
        found: dict[str, str] = self._target.versions()
        return found

    def close(self) -> None:
        """Release the target."""
        self._target.close()
