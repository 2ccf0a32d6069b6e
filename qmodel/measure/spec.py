"""The profile spec: what is timed, over which design, and how carefully."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from qmodel.errors import InputError
from qmodel.measure.design import combinations_of
from qmodel.measure.levels import check_factor
from qmodel.measure.readable import readable
from qmodel.measure.targets.base import Level

Pacing = Literal["back-to-back", "idle-gaps"]
Factors = dict[str, list[Level]]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TargetSpec(BaseModel):
    """What is timed: a registered kind and its own options."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Options handed to the target."""
        return dict(self.model_extra or {})


class DesignSpec(_Table):
    """Which cells are visited, and in which order.

    `kind`: `full`; `fractional`, two-level with `generators` or a stated `fraction` of the full grid; `2kr`,
    two levels a factor with exactly `replicates` repetitions a cell. `idle_gap_s` is the mean of the
    exponential pauses taken before each repetition under the pacing `idle-gaps`.
    """

    kind: Literal["full", "fractional", "2kr"] = "full"
    generators: list[str] = []
    fraction: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    replicates: Count | None = None
    blocks: Count = 3
    seed: Annotated[int, Field(ge=0)] = 1
    pacing: Annotated[list[Pacing], Field(min_length=1)] = ["back-to-back"]
    idle_gap_s: Seconds = 0.005

    @model_validator(mode="after")
    def _consistent(self) -> DesignSpec:
        if len(set(self.pacing)) < len(self.pacing):
            raise ValueError("pacing: names a pacing twice; name each once")
        if self.kind == "fractional" and bool(self.generators) == (self.fraction is not None):
            raise ValueError('fractional: needs either generators or a fraction; write generators = ["D=ABC"]')
        if self.kind != "fractional" and (self.generators or self.fraction is not None):
            raise ValueError(f'{self.kind}: takes neither generators nor fraction; write kind = "fractional"')
        if self.kind == "2kr" and self.replicates is None:
            raise ValueError("2kr: needs replicates, the r of 2^k r; write replicates = 5")
        if self.replicates is not None and self.replicates < self.blocks:
            raise ValueError(f"replicates: fewer than the {self.blocks} blocks; each block takes at least one")
        return self


class PhaseSpec(_Table):
    """A part of the work that is timed apart, with its own factors."""

    name: str
    factors: Factors


class MeasurementSpec(_Table):
    """How carefully each cell is timed.

    A cell is repeated until the half-width of the 95 % confidence interval of its median is within
    `relative_precision` of the median, or `cell_budget_s` (all blocks, warm-up apart) or `max_replicates` is
    spent; never fewer than `min_replicates`, unless the total `budget_s` is over. `setup_timeout_s` bounds
    building the target and preparing a cell, `trial_timeout_s` each repetition. With `own_cores` the target is
    bound to the last cores of the machine, one for each thread, here and in the live runs of a study, and keeps
    them awake while it waits.
    """

    threads: Count = 1
    own_cores: bool | None = None
    warmup_s: Duration = 0.2
    min_replicates: Count = 5
    max_replicates: Count = 200
    relative_precision: Annotated[float, Field(gt=0, lt=1)] = 0.02
    cell_budget_s: Seconds = 3.0
    trial_timeout_s: Seconds = 60.0
    setup_timeout_s: Seconds = 300.0
    budget_s: Seconds | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MeasurementSpec:
        if self.max_replicates < self.min_replicates:
            raise ValueError(f"max_replicates: is below min_replicates; write at least {self.min_replicates}")
        return self


class ProfileSpec(_Table):
    """A whole profile; `ProfileSpec.of(mapping)` and `load_spec(path)` refuse bad input with one line.

    `factors` is for targets with one phase, `phase` names the phases.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    target: TargetSpec
    design: DesignSpec = DesignSpec()
    factors: Factors = {}
    phase: list[PhaseSpec] = []
    measurement: MeasurementSpec = MeasurementSpec()
    _place: str = PrivateAttr(default="profile spec")
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def place(self) -> str:
        """Where the spec came from, for messages: its file name."""
        return self._place

    @property
    def folder(self) -> Path | None:
        """Folder of the spec's file, where the user's modules are looked for; None if built in Python."""
        return self._folder

    @classmethod
    def of(
        cls, content: Mapping[str, Any], *, place: str = "profile spec", folder: Path | None = None
    ) -> ProfileSpec:
        """Build from plain mappings, as TOML gives them; raises InputError naming `place`."""
        _check_levels(content, place)
        try:
            spec = cls.model_validate(dict(content))
        except ValidationError as error:
            raise readable(error, cls, place, content) from error
        spec._place, spec._folder = place, folder
        spec._check_design()
        return spec

    def _check_design(self) -> None:
        if bool(self.factors) == bool(self.phase):
            fault = "has both [factors] and [[phase]]" if self.phase else "names no factors"
            raise InputError(self.place, fault, "write [factors], or [[phase]] with [phase.factors] for each phase")
        names = [phase.name for phase in self.phase]
        if len(set(names)) < len(names):
            raise InputError(self.place, "names a phase twice", "give each phase one [[phase]]")
        for factors in self.factor_tables():
            self._check_combinations(factors)

    def _check_combinations(self, factors: Factors) -> None:
        """The design must suit the factors: two levels for some, generators that name them, enough cells."""
        try:
            combinations_of(self, factors)
        except InputError as error:
            raise InputError(f"{self.place}, {error.place}", error.fault, error.remedy) from error

    def factor_tables(self) -> list[Factors]:
        """Factors of each phase, in the order of the spec."""
        return [phase.factors for phase in self.phase] or [self.factors]

    def phases(self, offered: tuple[str, ...]) -> dict[str, Factors]:
        """Factors of each phase, among those that the target offers; `[factors]` stands for its only phase."""
        if self.phase:
            return {phase.name: phase.factors for phase in self.phase}
        if len(offered) > 1:
            remedy = "write [[phase]] with a name and [phase.factors] for each you want"
            raise InputError(self.place, f"the target has the phases {', '.join(offered)}", remedy)
        return {offered[0]: self.factors}

    def warnings(self) -> list[str]:
        """What is allowed but will disappoint."""
        return [
            f"{self.place}: factor {name} has a single level; a fit cannot use it"
            for factors in self.factor_tables()
            for name, levels in factors.items()
            if len(levels) == 1
        ]

    def content(self) -> dict[str, Any]:
        """The spec as plain values, without what is not set; its metadata and its fingerprint."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=False)

    def fingerprint(self) -> str:
        """SHA-256 of the content: two specs with the same one ask for the same measurement."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()


def _check_levels(content: Mapping[str, Any], place: str) -> None:
    """Factor levels are checked by hand first: pydantic's words for a wrong level are many and long."""
    _check_factors(content.get("factors", {}), place)
    phases = content.get("phase", [])
    for phase in phases if isinstance(phases, list) else []:
        if isinstance(phase, Mapping):
            _check_factors(phase.get("factors", {}), f"{place}, phase {phase.get('name', '')}".rstrip())


def _check_factors(factors: Any, place: str) -> None:
    if isinstance(factors, Mapping):
        for name, levels in factors.items():
            check_factor(place, str(name), levels)
