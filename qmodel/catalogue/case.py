"""A row put on a system, its own or the user's, and the ways to ask it."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from qmodel.answer import NotAnalysable, PolicyAnswer
from qmodel.catalogue.own_system import on_model, on_trace
from qmodel.catalogue.row import FOLDER, Row, Setting
from qmodel.catalogue.time_scale import in_time
from qmodel.catalogue.tuned import resolved
from qmodel.errors import InputError
from qmodel.predict import Asking, answer_one
from qmodel.scenario import Scenario
from qmodel.scenario_file import from_tables
from qmodel.validation import parse_value, set_field

NO_CHANGES: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Case:
    """A row with the user's own settings, fitted model and trace put on it.

    `settings` are `--set` texts. `model` replaces the row's services at the row's load, and its other times follow;
    `trace` replaces its arrivals and, where the row counts tokens, its lengths.
    """

    row: Row
    settings: Mapping[str, str] = field(default_factory=dict)
    model: Path | None = None
    trace: Path | None = None
    seed: int = 1
    requests: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether it still is the row's own scenario, of which its acceptance speaks."""
        return not self.settings and self.model is None and self.trace is None

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The row's tables with the user's settings."""
        tables = tomllib.loads(self.row.text)
        for path, text in self.settings.items():
            set_field(tables, path, parse_value(text))
        return tables

    def scenario(self, changes: Mapping[str, Any] = NO_CHANGES, half: int = 1) -> Scenario:
        """The scenario with these fields changed; where the row tunes, with half of a trace. Raises InputError."""
        own = self.changed(changes)
        return self.with_trace(self.made(own if self.model is None else self._on_model(own, changes)), half)

    @cached_property
    def time_factor(self) -> float:
        """Seconds for one of the row on the user's model: mean service by the model, over the row's own."""
        if self.model is None:
            return 1.0
        own = self.changed({"transform": []})
        moved = copy.deepcopy(own)
        on_model(moved, self.model)
        return self.made(moved).size.mean / self.made(own).size.mean

    def _on_model(self, own: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """The user's model in the row's time; what the user set is in seconds already."""
        assert self.model is not None
        made = in_time(own, self.time_factor)
        for path, text in self.settings.items():
            if not any(path.startswith(changed) for changed in changes):
                set_field(made, path, parse_value(text))
        on_model(made, self.model)
        return made

    def with_trace(self, made: Scenario, half: int = 1) -> Scenario:
        """The scenario under the user's trace, if there is one. Raises InputError."""
        return made if self.trace is None else on_trace(made, self.trace, half if self.row.learns else None)

    def changed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The row's tables with these fields changed. Raises InputError."""
        tables = copy.deepcopy(self.tables)
        for path, value in changes.items():
            set_field(tables, path, copy.deepcopy(value))
        return tables

    def made(self, tables: Mapping[str, Any]) -> Scenario:
        """The scenario that tables spell, its files beside those of the rows. Raises InputError."""
        return from_tables(tables, f"catalogue {self.row.name}", FOLDER, self.row.name)

    def ask(self, setting: Setting) -> PolicyAnswer:
        """The answer to one setting: theory where there is a result, simulation elsewhere, each so labelled.

        What is to be tuned is tuned first.
        """
        setting = resolved(self, setting)
        scenario = self.scenario(setting.changes)
        requests = self.requests or setting.requests
        if setting.horizon_s is None:
            return answer_one(scenario, Asking(setting.method, requests=requests, seed=self.seed))
        return self._horizon(scenario, setting)

    def theory(self, changes: Mapping[str, Any] = NO_CHANGES) -> PolicyAnswer:
        """Theory's answer with these fields changed. Raises InputError where there is none."""
        from qmodel.theory import analyse

        found = analyse(self.scenario(changes))
        if isinstance(found, NotAnalysable):
            raise InputError(f"catalogue {self.row.name}", str(found), "ask a simulation")
        return found

    def simulate(
        self, changes: Mapping[str, Any] = NO_CHANGES, requests: int = 100_000, horizon_s: float | None = None,
        replications: int = 10,
    ) -> PolicyAnswer:  # fmt: skip
        """The simulator's answer with these fields changed."""
        setting = Setting("", changes, "simulation", requests, horizon_s, replications)
        return self.ask(setting)

    def mean(self, changes: Mapping[str, Any] = NO_CHANGES, name: str = "all", metric: str = "response") -> float:
        """Theory's mean of one quantity (s). Raises InputError where theory has none."""
        return value(self.theory(changes), f"{name}:mean_{metric}_s")

    def _horizon(self, scenario: Scenario, setting: Setting) -> PolicyAnswer:
        from qmodel.simulation import simulate

        horizon_s = (setting.horizon_s or 0.0) * self.time_factor
        return simulate(
            scenario, seed=self.seed, horizon_s=horizon_s, replications=setting.replications
        )  # fmt: skip


def value(answer: PolicyAnswer, metric: str) -> float:
    """A metric, `name` of all requests or `class:name`. Raises InputError where the answer has none."""
    class_name, _, name = metric.rpartition(":")
    found = answer[class_name or "all"].metrics.get(name)
    if found is None:
        raise InputError(f"catalogue, {metric}", f"is not known under {answer.policy}", "ask another metric")
    return float(found)
