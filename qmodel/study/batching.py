"""What a study of a batching system needs beside: its iteration time from the profile, and its capacity."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.service.iteration_time import PAIRS

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from qmodel.scenario import Scenario

CAPACITY_SEED = 1


def at_load(scenario: Scenario, load: float) -> Scenario:
    """The scenario at a share of its capacity.

    Where requests are served one at a time, capacity is one over the mean service time. A dynamic batching server
    is at capacity with full batches back to back; an engine of continuous batching with a queue that never empties,
    which is simulated (always with the same seed).
    """
    if not scenario.system.batches:
        return scenario.at_load(load)
    return scenario.at_rate(load * capacity(scenario))


def capacity(scenario: Scenario) -> float:
    """Largest rate (requests/s) that a batching system serves. Raises InputError for batches without a limit."""
    system = scenario.system
    if system.batching == "continuous":
        from qmodel.policy import FCFS

        plain = scenario.with_transforms().with_policy(FCFS()).at_rate(1.0)
        return _engine_capacity(Hashed(plain))
    from qmodel.service.batch_time import batch_time

    taken = batch_time(scenario)
    if system.max_batch is None:
        given, brings = system.iteration_time, "output_tokens" in scenario.classes[0].factors
        each = taken.mean(2) - taken.mean(1) if brings else given.per_sequence if given else 0.0
        if not (taken.is_fixed and each > 0) or (given is not None and given.per_query_key > 0):
            raise InputError("system.max_batch", "is missing: capacity has no limit", "set it")
        return system.servers / each
    return system.servers * system.max_batch / taken.mean(system.max_batch)


class Hashed:
    """A scenario that is equal to another one that asks the same."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def __hash__(self) -> int:
        return hash(self.scenario.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and other.scenario.fingerprint == self.scenario.fingerprint


@lru_cache(maxsize=64)
def _engine_capacity(asked: Hashed) -> float:
    from qmodel.simulation.iterations.answering import capacity as simulated
    from qmodel.simulation.iterations.scenario_rules import rules_of

    return simulated(asked.scenario, rules_of(asked.scenario), seed=CAPACITY_SEED)


def settings_of(path: Path) -> dict[str, str]:
    """The scenario settings that a saved iteration time stands for."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    fitted = {PAIRS: 0.0} | found["coefficients"]
    return {f"system.iteration_time.{name}": repr(float(value)) for name, value in fitted.items()}


def alike(rows: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    """Rows at the levels that all classes share, where the profile varies more than batch size and tokens."""
    for name in scenario.classes[0].factors:
        law = scenario.classes[0].factors[name]
        if name in rows and name not in ("batch_size", "input_tokens", "output_tokens") and law.scv == 0:
            rows = rows[rows[name] == law.mean]
    return rows
