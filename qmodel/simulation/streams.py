"""Random streams: one for each thing drawn, for each class, so that a change of one leaves the others alone."""

from __future__ import annotations

import numpy as np

STREAMS = (
    "arrivals", "sizes", "predictions", "lotteries", "deliveries", "tokens", "patience", "routes", "pauses",
    "visits", "visit predictions", "visit lotteries", "visit routes", "thinking", "items", "encodings",
)  # fmt: skip
SYSTEM = ("spells", "environment", "cache")
FIRST_OF_SYSTEM = 1_000_000
"""Streams of the system are numbered from here, far from any class."""


def stream(seed: np.random.SeedSequence, class_index: int, name: str) -> np.random.SeedSequence:
    """The stream of a class: the same as spawning a child a class, and from it one a name."""
    return _child(seed, class_index, STREAMS.index(name))


def system_stream(seed: np.random.SeedSequence, name: str) -> np.random.SeedSequence:
    """A stream that belongs to no class."""
    return _child(seed, FIRST_OF_SYSTEM, SYSTEM.index(name))


def generator(seed: np.random.SeedSequence, class_index: int, name: str) -> np.random.Generator:
    """A generator of `stream`."""
    return np.random.default_rng(stream(seed, class_index, name))


def _child(seed: np.random.SeedSequence, *numbers: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *numbers), pool_size=seed.pool_size)
