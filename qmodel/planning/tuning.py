"""Knobs tuned on one trace and judged on another, beside the untuned default and the best static setting."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import qmodel
from qmodel.errors import InputError, nearest
from qmodel.planning.controllers import Controller, Static, learn_bandit, learn_threshold, run
from qmodel.planning.knobs import Knob, Values
from qmodel.planning.recorded import Recorded
from qmodel.planning.tuners import tuned
from qmodel.planning.windows import Plant, Seen, mean_loss, windows_of
from qmodel.scenario import Scenario

METHODS = ("threshold", "annealing", "bayesian", "bandit")
TRAINED_ON = 30
"""Windows of the training trace at most, evenly chosen: they are served again and again."""
SCHEMA = "qmodel.tuning/1"
LEARNERS: dict[str, Callable[[Plant, Sequence[Recorded], int, int], Controller]] = {
    "threshold": learn_threshold,
    "bandit": learn_bandit,
}


@dataclass(frozen=True)
class Record:
    """How one controller did on a trace.

    Mean loss, shares of windows, and of requests in windows, that met all bounds, mean quality, joules a request,
    how often it moved, and the values that it used most.
    """

    name: str
    loss: float
    windows_met: float
    requests_met: float
    quality: float
    energy_j: float | None
    moves: int
    usual: Values

    @classmethod
    def of(cls, name: str, seen: Sequence[Seen]) -> Record:
        """From the windows it went through."""
        weights = np.array([each.requests for each in seen], dtype=float)
        met = np.array([each.met for each in seen], dtype=float)
        energies = [each.energy_j for each in seen]
        known = [energy for energy in energies if energy is not None]
        moves = sum(a.values != b.values for a, b in itertools.pairwise(seen))
        chosen = [each.values for each in seen]
        return cls(
            name=name,
            loss=mean_loss(seen),
            windows_met=float(met.mean()),
            requests_met=float(np.average(met, weights=weights)),
            quality=float(np.average([each.quality for each in seen], weights=weights)),
            energy_j=float(np.average(known, weights=weights)) if len(known) == len(seen) else None,
            moves=moves,
            usual=max(dict.fromkeys(chosen), key=chosen.count),
        )


@dataclass(frozen=True)
class Tuning:
    """What was tuned, on how many windows, and the records on the judging trace: tuned, best static, default."""

    method: str
    knobs: tuple[Knob, ...]
    trained_on: int
    judged_on: int
    served: int
    records: tuple[Record, ...]

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON."""
        return {
            "schema": SCHEMA,
            "qmodel": qmodel.__version__,
            "method": self.method,
            "knobs": [{"path": knob.path, "low": knob.low, "high": knob.high} for knob in self.knobs],
            "training_windows": self.trained_on,
            "judging_windows": self.judged_on,
            "windows_served": self.served,
            "controllers": [
                vars(each) | {"usual": dict(zip([k.path for k in self.knobs], each.usual, strict=True))}
                for each in self.records
            ],
        }


def tune(
    question: Scenario | str | Path,
    method: str,
    knobs: Sequence[Knob],
    train: Recorded,
    judge: Recorded,
    *,
    slos: Sequence[str] = (),
    window_s: float = 60.0,
    budget: int = 40,
    seed: int = 1,
    settings: dict[str, str] | None = None,
) -> Tuning:
    """Tune the knobs on the windows of `train`, then go through those of `judge`, which it has not seen.

    `budget`: settings that a tuner may try (each on every training window), or passes of a learner over them. The
    best static setting is that of a grid of as many. Raises InputError for an unknown method or field.
    """
    if method not in METHODS:
        raise InputError("--tune", f"'{method}' is unknown", nearest(method, list(METHODS)))
    if budget < 1:
        raise InputError("--budget", f"{budget} is below 1", "give 1 or more")
    source = question if isinstance(question, Scenario) else Path(question)
    plant = Plant(source, tuple(knobs), tuple(slos), dict(settings or {}), seed)
    training, judging = windows_of(train, window_s, TRAINED_ON), windows_of(judge, window_s)
    default = plant.default
    controllers: dict[str, Controller] = {
        method: _trained(method, plant, training, budget, seed),
        "best static": _static("grid", plant, training, budget, seed),
        "default": Static(default),
    }
    records = [Record.of(name, run(plant, each, judging)) for name, each in controllers.items()]
    return Tuning(method, tuple(knobs), len(training), len(judging), plant.served, tuple(records))


def _trained(method: str, plant: Plant, windows: Sequence[Recorded], budget: int, seed: int) -> Controller:
    if method in LEARNERS:
        return LEARNERS[method](plant, windows, budget, seed)
    return _static(method, plant, windows, budget, seed)


def _static(method: str, plant: Plant, windows: Sequence[Recorded], budget: int, seed: int) -> Static:
    start = plant.places(plant.default)
    found = tuned(method, lambda values: plant.loss(values, windows), plant.knobs, start, budget, seed)
    return Static(found.best)
