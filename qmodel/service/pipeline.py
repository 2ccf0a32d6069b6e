"""A model cut into stages on several devices: how long a batch takes, and the best cut and precisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qmodel.errors import InputError


def makespan(stage_s: Sequence[float], micro_batches: int) -> float:
    """Seconds that a batch of so many micro-batches takes: sum of the stages + (m - 1) times the slowest.

    >>> makespan([1.0, 3.0], 4)
    13.0
    """
    return math.fsum(stage_s) + (micro_batches - 1) * max(stage_s)


@dataclass(frozen=True)
class Precision:
    """One way to hold a layer: seconds on each device (relative to the layer), memory, and loss of quality."""

    seconds: tuple[float, ...]
    memory: float
    loss: float


@dataclass(frozen=True)
class Plan:
    """How many layers each device holds, the precision of each layer by number, and what it comes to."""

    layers: tuple[int, ...]
    precision: tuple[int, ...]
    makespan_s: float


def best_plan(
    layers: Sequence[float], ways: Sequence[Precision], memory: Sequence[float], *, most_loss: float,
    micro_batches: int,
) -> Plan:  # fmt: skip
    """The cut and the precisions of least makespan within the memories and the loss; two devices.

    `layers` are relative sizes: layer i takes layers[i] times a way's seconds and memory, and loses its loss.
    Partial plans that another beats in both times, both memories and loss are dropped as they grow, layer by layer,
    which keeps the best. Raises InputError where nothing fits.

    >>> half = Precision((1.0, 1.0), 1.0, 0.0)
    >>> best_plan([1.0] * 4, [half], [3.0, 3.0], most_loss=0.0, micro_batches=1).layers
    (1, 3)
    """
    if len(memory) != 2 or any(len(way.seconds) != 2 for way in ways):
        raise InputError("pipeline", "has other than two devices", "give two")
    best: Plan | None = None
    for cut in range(len(layers) + 1):
        for times, chosen in _grown(layers, ways, memory, most_loss, cut):
            taken = makespan(times, micro_batches)
            if best is None or taken < best.makespan_s - 1e-15:
                best = Plan((cut, len(layers) - cut), chosen, taken)
    if best is None:
        raise InputError("pipeline", "no plan fits memory and loss", "allow more of either")
    return best


State = tuple[float, float, float, float, float]
"""Seconds and memory on each device, and loss."""


def _grown(
    layers: Sequence[float], ways: Sequence[Precision], memory: Sequence[float], most_loss: float, cut: int
) -> list[tuple[tuple[float, float], tuple[int, ...]]]:
    """Times of the plans with this cut that no other beats, and their precisions."""
    states: dict[State, tuple[int, ...]] = {(0.0, 0.0, 0.0, 0.0, 0.0): ()}
    for number, layer in enumerate(layers):
        on = 0 if number < cut else 1
        grown: dict[State, tuple[int, ...]] = {}
        for state, chosen in states.items():
            for way, each in enumerate(ways):
                new = list(state)
                new[on] += layer * each.seconds[on]
                new[2 + on] += layer * each.memory
                new[4] += each.loss
                if new[2 + on] <= memory[on] and new[4] <= most_loss + 1e-12:
                    grown[(new[0], new[1], new[2], new[3], new[4])] = (*chosen, way)
        states = {state: grown[state] for state in _unbeaten(list(grown))}
    return [((state[0], state[1]), chosen) for state, chosen in states.items()]


def _unbeaten(states: list[State]) -> list[State]:
    kept: list[State] = []
    for state in sorted(states):
        if not any(all(a <= b for a, b in zip(other, state, strict=True)) for other in kept):
            kept.append(state)
    return kept
