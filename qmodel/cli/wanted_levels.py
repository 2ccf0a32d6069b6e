"""Which levels a scenario asks of a fitted model: drawn from its classes' lengths and its batch range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from qmodel.fit import FitResult
    from qmodel.scenario import Scenario
    from qmodel.workload import Distribution, RequestClass

DRAWS = 400
"""Predictions that stand for a scenario."""

PROMPT = ("tokens", "prefill_tokens", "chunk", "prefill_chunk", "chunk_tokens")
HISTORY = ("history", "history_tokens", "kv_prefill")
CONTEXT = ("context_tokens", "kv_tokens", "kv_decode", "kv_cache_size")
BATCH = ("batch_size", "batch", "n_decode", "sequences", "n_samples")


def wanted_levels(scenario: Scenario, result: FitResult) -> dict[str, np.ndarray]:
    """Levels of each factor of the model, one entry a prediction, in proportion to the classes' arrival rates.

    A class's own factors follow their laws; context is the input and a uniform part of the output; the batch is
    1, 2, 4, ... up to `max_batch`, equally often. Anything else is taken as it was measured.
    """
    rates = np.array([c.arrivals.rate for c in scenario.classes], float)
    counts = np.maximum(1, np.round(DRAWS * rates / rates.sum())).astype(int)
    rng = np.random.default_rng(0)
    parts = [
        {name: _levels(name, c, scenario, result, int(n), rng) for name in result.model.factors}
        for c, n in zip(scenario.classes, counts, strict=True)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in result.model.factors}


def _levels(
    name: str, c: RequestClass, scenario: Scenario, result: FitResult, count: int, rng: np.random.Generator
) -> np.ndarray:
    if name in c.factors:
        return _drawn(c.factors[name], count, rng)
    if name in BATCH:
        most = scenario.system.max_batch or (1 if scenario.system.batching == "none" else None)
        if most is None:
            raise InputError("--design", "the scenario sets no max_batch", "give system.max_batch")
        return rng.choice(_doubling(most), count)
    prompts = c.factors.get("input_tokens")
    if prompts is not None and name in (*PROMPT, *HISTORY, *CONTEXT):
        levels = _drawn(prompts, count, rng)
        if name in CONTEXT and "output_tokens" in c.factors:
            levels = levels + np.floor(_drawn(c.factors["output_tokens"], count, rng) * rng.random(count))
        return levels
    return rng.choice(np.asarray(result.cells.levels[name]), count)


def _drawn(law: Distribution, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.maximum(np.round(np.asarray(law.sample(rng, count), float)), 1.0)


def _doubling(most: int) -> Sequence[float]:
    """1, 2, 4 ... and the largest itself.

    >>> _doubling(6)
    [1.0, 2.0, 4.0, 6.0]
    """
    return sorted({*(2.0**k for k in range(most.bit_length()) if 2**k <= most), float(most)})
