"""The plan of a study (study.toml): what is measured, which settings are compared, how long it may take."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from qmodel.engine_process import own_cores
from qmodel.errors import InputError, nearest
from qmodel.scenario import Scenario
from qmodel.scenario_file import make_transform, read_scenario
from qmodel.scenario_schema import TransformTable
from qmodel.study.batching import at_load
from qmodel.validation import Table, read_toml, validated

if TYPE_CHECKING:
    from qmodel.measure import ProfileSpec
    from qmodel.policy import Policy

Positive = Field(gt=0)


class FitTable(Table):
    """[fit]: phases to fit, one model each, and the pacing whose service times the predictions use.

    `iteration_time` fits system.iteration_time: of "iterations" (continuous batching; all phases together, in place
    of a model each) or of "batches" (dynamic batching; beside the models).
    """

    phases: list[str] = Field(min_length=1)
    iteration_time: Literal["iterations", "batches"] | None = None
    reference_pacing: Literal["back-to-back", "idle-gaps"] | None = None


class SettingTable(TransformTable):
    """[[exit]]: a named early-exit setting; without a kind the requests run to their end.

    `own` keeps the transforms of the scenario file as they are. `target` gives options under which the target
    itself lets requests leave (a confidence, a tolerance): what that takes is measured on so many `requests` (200)
    before anything is predicted, and predictions use the law that was found.
    """

    name: str
    own: bool = False
    target: dict[str, Any] | None = None
    requests: int | None = Field(default=None, ge=10)
    kind: Literal["model-swap", "steps", "early-exit", "cache", "clip-output"] | None = None  # type: ignore[assignment]


class RunsTable(Table):
    """[[live.runs]]: one live run for each policy and load under this exit setting."""

    exit: str
    policies: list[str] = Field(min_length=1)
    loads: list[float] = Field(min_length=1)


class OverloadTable(Table):
    """[[live.overload]]: loads from 1 up, from empty, over a finite horizon; a run for each seed, policy and load.

    `exit` is the first setting where none is named. The horizon is `seconds` of arrivals, or as long as about so
    many `requests` take to arrive. Nothing is dropped as warm-up, and every request is served to its end. The mean
    of a run varies widely in overload, hence two seeds at least.
    """

    loads: list[float] = Field(min_length=1)
    policies: list[str] = Field(min_length=1)
    exit: str | None = None
    seconds: float | None = Field(default=None, gt=0)
    requests: int | None = Field(default=None, ge=10)
    seeds: list[int] = Field(default=[1, 2], min_length=2)

    @model_validator(mode="after")
    def _horizon(self) -> OverloadTable:
        if (self.seconds is None) == (self.requests is None):
            raise ValueError("live.overload: give seconds or requests, one of them")
        if any(not 1 <= load < 100 for load in self.loads):
            raise ValueError("live.overload: loads must be 1 or more; those below belong to live.runs")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("live.overload: a seed stands there twice")
        return self


class LiveTable(Table):
    """[live]: seconds of arrivals a run, seeds, share of each run dropped as warm-up.

    With `host_speed`, cells of the profile are timed again around each run, whose rate and prediction go by what
    that finds (`qmodel.study.host`): for hosts that change their speed by more than such a look may be off, some
    per cent. A study without a profile cannot.
    """

    seconds: float = Positive
    seeds: list[int] = Field(default=[1], min_length=1)
    warmup_share: float = Field(default=0.1, ge=0.0, lt=0.9)
    host_speed: bool = False
    runs: list[RunsTable] = Field(min_length=1)
    overload: list[OverloadTable] = Field(default_factory=list)


class QualityTable(Table):
    """[quality]: step counts judged besides those the classes use, and images for each."""

    steps: list[int] = Field(default_factory=list)
    images: int = Field(default=500, ge=10)
    seed: int = 1


class StudyTables(Table):
    """The whole file. `options` holds those of policies by name: `mlfq = { thresholds = [0.01, 0.1] }`."""

    name: str
    title: str
    target: dict[str, Any] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)
    profile: str | None = None
    scenario: str
    policies: list[str] = Field(min_length=1)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    loads: list[float] = Field(min_length=1)
    baseline: str
    percentiles: list[float] = Field(default=[50.0, 95.0, 99.0])
    fit: FitTable | None = None
    exit: list[SettingTable] = Field(min_length=1)
    live: LiveTable | None = None
    quality: QualityTable | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> StudyTables:
        if self.live:
            self._live_names_agree(self.live)
        if (self.profile is None) != (self.fit is None):
            raise ValueError("profile and [fit] belong together; give both or neither")
        if self.profile is None and self.live is not None and not self.target:
            raise ValueError("live runs without a profile need a target; give [target] kind = ...")
        for table in self.exit:
            if table.target is not None and (table.kind is not None or table.own):
                raise ValueError(f"exit '{table.name}': a target's own exits go without kind and own")
            if table.target is None and table.requests is not None:
                raise ValueError(f"exit '{table.name}': requests belong to a target's own exits")
        if self.baseline not in self.policies:
            raise ValueError(f"baseline '{self.baseline}' is not among the policies")
        odd = [name for name in self.options if name not in self.policies]
        if odd:
            raise ValueError(f"options of policy '{odd[0]}', which is not among the policies")
        if any(not 0 < load < 1 for load in self.loads):
            raise ValueError("loads must lie between 0 and 1; more than that goes into [[live.overload]]")
        return self

    def _live_names_agree(self, live: LiveTable) -> None:
        exits = [setting.name for setting in self.exit]
        tables: list[tuple[str, RunsTable | OverloadTable]] = [("runs", table) for table in live.runs]
        for place, table in [*tables, *(("overload", table) for table in live.overload)]:
            if table.exit is not None and table.exit not in exits:
                raise ValueError(f"live.{place}: exit '{table.exit}' is not defined; {nearest(table.exit, exits)}")
            for policy in table.policies:
                if policy not in self.policies:
                    fault = f"policy '{policy}' is not predicted; {nearest(policy, self.policies)}"
                    raise ValueError(f"live.{place}: {fault}")
        for load in (load for runs in live.runs for load in runs.loads):
            if load not in self.loads:
                raise ValueError(f"live.runs: load {load} is not predicted; add it to loads")
        twice = [where for where, n in Counter(self._overloaded(live)).items() if n > 1]
        if twice:
            raise ValueError(f"live.overload: {twice[0]} is asked for twice")

    def _overloaded(self, live: LiveTable) -> list[tuple[str, str, float]]:
        """Policy, exit setting and load of every overload."""
        default = self.exit[0].name
        return [(p, t.exit or default, load) for t in live.overload for p in t.policies for load in t.loads]


@dataclass(frozen=True)
class Setting:
    """What is compared: a policy, an exit setting and a load."""

    policy: str
    exit: str
    load: float

    @property
    def label(self) -> str:
        """File-name friendly.

        >>> Setting("fcfs", "none", 0.85).label
        'fcfs-none-load0.85'
        """
        return f"{self.policy}-{self.exit}-load{self.load:.2f}".replace(":", "_")


@dataclass(frozen=True)
class StudyPlan:
    """A checked plan and the folder it lies in."""

    tables: StudyTables
    folder: Path

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.tables.name

    @property
    def profile_path(self) -> Path | None:
        """The profile spec; None when the scenario brings its model along."""
        return self.folder / self.tables.profile if self.tables.profile else None

    @property
    def phases(self) -> list[str]:
        """Phases that are fitted, one model each."""
        fit = self.tables.fit
        return fit.phases if fit and fit.iteration_time != "iterations" else []

    @cached_property
    def profile_spec(self) -> ProfileSpec | None:
        """What is timed, and how."""
        from qmodel.measure import load_spec

        return load_spec(self.profile_path) if self.profile_path else None

    @property
    def target(self) -> dict[str, Any]:
        """What runs live: its kind and options, those of the profile unless the plan names its own."""
        if self.tables.target or self.profile_spec is None:
            return self.tables.target
        return {"kind": self.profile_spec.target.kind, **self.profile_spec.target.options}

    @property
    def threads(self) -> int:
        """Threads of the engine."""
        return self.profile_spec.measurement.threads if self.profile_spec else self.tables.threads

    @property
    def cores(self) -> frozenset[int]:
        """Cores that the engine keeps to in its runs: its own, where the profile asks for that."""
        bound = self.profile_spec is not None and self.profile_spec.measurement.own_cores
        return own_cores(self.threads) if bound else frozenset()

    @property
    def scenario_path(self) -> Path:
        """The scenario file; its [system] service is replaced by the model fitted in this study."""
        return self.folder / self.tables.scenario

    @property
    def settings(self) -> list[Setting]:
        """Every setting in a steady state; each is predicted."""
        return [
            Setting(policy, exit_setting.name, load)
            for exit_setting in self.tables.exit
            for policy in self.tables.policies
            for load in self.tables.loads
        ]

    @cached_property
    def overloads(self) -> dict[Setting, OverloadTable]:
        """Settings of more than the server can carry, predicted and run live over a finite horizon each."""
        tables, default = self.tables.live.overload if self.tables.live else [], self.tables.exit[0].name
        return {
            Setting(policy, table.exit or default, load): table
            for table in tables
            for policy in table.policies
            for load in table.loads
        }

    def horizon_s(self, setting: Setting, scenario: Scenario) -> float | None:
        """Seconds of arrivals that the setting is about, from empty; None where it is about the steady state."""
        table = self.overloads.get(setting)
        if table is None:
            return None
        return table.seconds if table.seconds is not None else float(table.requests or 0) / scenario.rate

    @property
    def live_runs(self) -> list[tuple[Setting, int]]:
        """Every live run: its setting and seed."""
        seeds = self.tables.live.seeds if self.tables.live else []
        steady = [(setting, seed) for setting in self.live_settings for seed in seeds]
        return steady + [(setting, seed) for setting, table in self.overloads.items() for seed in table.seeds]

    @property
    def watches_host(self) -> bool:
        """Whether the host's speed is looked at around each live run."""
        live = self.tables.live
        return live is not None and live.host_speed and self.tables.fit is not None

    @property
    def live_settings(self) -> list[Setting]:
        """Those in a steady state that are also run live."""
        planned = self.tables.live.runs if self.tables.live else []
        wanted = {(policy, runs.exit, load) for runs in planned for policy in runs.policies for load in runs.loads}
        return [setting for setting in self.settings if (setting.policy, setting.exit, setting.load) in wanted]

    def exit_table(self, name: str) -> SettingTable:
        """The early-exit setting of that name."""
        return next(table for table in self.tables.exit if table.name == name)

    def base_scenario(
        self, models: Mapping[str, Path] | None = None, settings: Mapping[str, str] | None = None
    ) -> Scenario:
        """The scenario of the study, with the fitted models by phase if there are any, and other settings."""
        service = {"system.service": _service(models)} if models else {}
        return read_scenario(self.scenario_path, {**service, **(settings or {})})

    def policy(self, name: str) -> Policy:
        """The policy of that name with its options. Raises InputError."""
        from qmodel.policy import make_policy

        return make_policy(name, self.folder, **self.tables.options.get(name, {}))

    def scenario(self, base: Scenario, setting: Setting) -> Scenario:
        """The question that one setting asks: its load counts the service without early exit.

        Of a target's own exits it is the question as it is run: the law of what they take is measured
        (`qmodel.study.leaving`).
        """
        table = self.exit_table(setting.exit)
        made = at_load(base, setting.load).with_policy(self.policy(setting.policy))
        if table.own:
            return made
        return made.with_transforms(*(() if table.kind is None else (make_transform(table),)))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides what is measured: study, profile spec and scenario."""
        texts: dict[str, Any] = {"study": self.tables.model_dump(mode="json")}
        for name, path in (("profile", self.profile_path), ("scenario", self.scenario_path)):
            texts[name] = read_toml(path) if path else None
        return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _service(models: Mapping[str, Path]) -> str:
    """The TOML value of system.service: one file, or a table of files by phase."""
    files = {phase: json.dumps(str(path.resolve())) for phase, path in models.items()}
    if len(files) == 1:
        return next(iter(files.values()))
    return "{ " + ", ".join(f"{phase} = {file}" for phase, file in files.items()) + " }"


def load_plan(path: Path) -> StudyPlan:
    """Read and check a study file with all the files it names. Raises InputError."""
    plan = StudyPlan(validated(StudyTables, read_toml(path), str(path)), path.parent)
    for named in (plan.profile_path, plan.scenario_path):
        if named is not None and not named.is_file():
            raise InputError(f"{path}", f"names {named}, which is not there", "correct the path")
    for name in plan.tables.policies:
        try:
            plan.policy(name)
        except InputError as error:
            raise InputError(f"{path}, {error.place}", error.fault, error.remedy) from error
    return plan
