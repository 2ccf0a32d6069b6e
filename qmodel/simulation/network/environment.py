"""The path of a random environment: when the speed changes, and to what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.simulation import streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.service.environment import Environment

    Floats = NDArray[np.float64]


def path_of(environment: Environment | None, seed: np.random.SeedSequence, changes: int) -> tuple[Floats, Floats]:
    """Times of so many changes, and the speed at first and after each; none at speed 1 without an environment.

    The chain starts in its stationary law.
    """
    if environment is None or len(environment.speeds) == 1:
        return np.empty(0), np.array([1.0 if environment is None else environment.speeds[0]])
    rng = np.random.default_rng(streams.system_stream(seed, "environment"))
    rates = np.array(environment.generator)
    jumps = np.where(np.eye(len(rates), dtype=bool), 0.0, rates)
    ahead = np.cumsum(jumps / jumps.sum(axis=1, keepdims=True), axis=1)
    ahead[:, -1] = 1.0
    uniform, exponential = rng.random(changes + 1), rng.standard_exponential(changes)
    state = int(np.searchsorted(np.cumsum(environment.stationary), uniform[0] * (1.0 - 1e-15)))
    states = [min(state, len(rates) - 1)]
    for ticket in uniform[1:].tolist():
        states.append(int(np.searchsorted(ahead[states[-1]], ticket, side="right")))
    stays = exponential / -np.diag(rates)[states[:-1]]
    return np.cumsum(stays), np.array(environment.speeds)[states]
