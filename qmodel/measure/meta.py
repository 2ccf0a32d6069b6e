"""`<name>.meta.toml`: what stands beside a profile CSV so that its numbers can be read, and resumed, later."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.measure import machine
from qmodel.measure.design import Cell, FactorLevels, describe_confounding
from qmodel.measure.rows import timestamp
from qmodel.toml_text import to_toml

if TYPE_CHECKING:
    from qmodel.measure.spec import ProfileSpec

SCHEMA = "qmodel.profile_meta/1"


def meta_path(csv_path: Path) -> Path:
    """Where the metadata of a CSV stand.

    >>> meta_path(Path("runs/digits.csv")).name
    'digits.meta.toml'
    """
    return csv_path.with_name(csv_path.stem + ".meta.toml")


class Meta:
    """The metadata of one CSV, over all the sessions in which it was measured."""

    def __init__(self, csv_path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = meta_path(csv_path), content

    @classmethod
    def begin(
        cls,
        csv_path: Path,
        spec: ProfileSpec,
        target: Mapping[str, Any],
        phases: Mapping[str, FactorLevels],
        cells: Sequence[Cell],
    ) -> Meta:
        """Metadata of a new CSV."""
        now = time.time()
        stamp = timestamp(now)[:19].replace("-", "").replace(":", "")
        content = {
            "schema": SCHEMA,
            "run_id": f"{spec.name}-{stamp}-{spec.fingerprint()[:8]}",
            "csv": csv_path.name,
            "complete": False,
            "begun_at": timestamp(now),
            "fingerprint": spec.fingerprint(),
            "threads": spec.measurement.threads,
            "warm_up": _warm_up_rule(spec),
            "stopping": _stopping_rule(spec),
            "timing": "perf_counter_ns around each repetition, or the target's own; garbage collector off",
            "prefix_cache": target["prefix_cache"],
            "kv_capacity_tokens": target["kv_capacity_tokens"] or "not applicable",
            "target": {key: target[key] for key in ("name", "device", "versions")},
            "plan": _plan(spec, phases, cells),
            "machine": machine.describe_machine(spec.measurement.threads),
            "spec": spec.content(),
            "session": [],
        }
        return cls(csv_path, content)

    @classmethod
    def read(cls, csv_path: Path) -> Meta:
        """Metadata written earlier; raises InputError when they cannot be read."""
        path = meta_path(csv_path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            if content.get("schema") != SCHEMA:
                raise ValueError("another schema")
        except FileNotFoundError as error:
            fault = f"stands there without its {path.name}, so it cannot be resumed"
            raise InputError(str(csv_path), fault, "remove it, or name another with -o") from error
        except (OSError, ValueError) as error:
            raise InputError(str(path), "is not the metadata of a profile", "remove it and its CSV") from error
        return cls(csv_path, content)

    @property
    def run_id(self) -> str:
        """Identity of the measurement, the same in all its sessions."""
        return str(self.content["run_id"])

    def check(self, spec: ProfileSpec, target: Mapping[str, Any] | None = None) -> None:
        """Refuse to go on with another spec, target or device than the CSV was begun with."""
        changed = first_difference(self.content["spec"], spec.content())
        if self.content["fingerprint"] != spec.fingerprint():
            self._refuse(spec.place, changed or "its defaults")
        for key in ("name", "device"):
            was = self.content["target"][key]
            if target and was != target[key]:
                self._refuse(spec.place, f"target {key}: {was} -> {target[key]}")

    def _refuse(self, place: str, changed: str) -> None:
        csv_path = self.path.with_name(self.content["csv"])
        fault = f"has changed since {csv_path} was begun ({changed})"
        raise InputError(place, fault, "change it back, name another CSV with -o, or remove that one")

    def open_session(self, rows: int) -> None:
        """Note the state of the machine before a session, and write."""
        session = {"begun_at": timestamp(time.time()), "rows_before": rows, **_state("before")}
        self.content["session"].append(session)
        self.write()

    def close_session(self, *, complete: bool, gpu_watch: dict[str, int] | None) -> None:
        """Note the state of the machine after a session, and write."""
        after = {"ended_at": timestamp(time.time()), **_state("after"), "gpu_watch": gpu_watch}
        self.content["session"][-1].update({key: value for key, value in after.items() if value is not None})
        self.content["complete"] = complete
        self.write()

    def write(self) -> None:
        """Write the file in one step."""
        partial = self.path.with_name(self.path.name + ".part")
        partial.write_text(to_toml(self.content), encoding="utf-8")
        partial.replace(self.path)


def _state(when: str) -> dict[str, Any]:
    state = {"load": machine.load_average(), "clock_mhz": machine.clock_mhz(), "gpus": machine.gpus() or None}
    return {f"{name}_{when}": value for name, value in state.items() if value is not None}


def _warm_up_rule(spec: ProfileSpec) -> str:
    return f"each cell in each block: at least one call and {spec.measurement.warmup_s:g} s"


def _stopping_rule(spec: ProfileSpec) -> str:
    if spec.design.replicates:
        return f"exactly {spec.design.replicates} repetitions a cell"
    m = spec.measurement
    return (
        f"95 % interval of the median within {100 * m.relative_precision:g} %, or {m.cell_budget_s:g} s, "
        f"or {m.max_replicates} repetitions a cell; at least {m.min_replicates}"
    )


def _plan(spec: ProfileSpec, phases: Mapping[str, FactorLevels], cells: Sequence[Cell]) -> dict[str, Any]:
    confounding = {phase: describe_confounding(spec, factors) for phase, factors in phases.items()}
    return {
        "kind": spec.design.kind,
        "cells": len(cells),
        "blocks": spec.design.blocks,
        "seed": spec.design.seed,
        "order": "randomised within each block",
        "confounding": {phase: found for phase, found in confounding.items() if found} or None,
    }


def first_difference(before: Any, after: Any, path: str = "") -> str | None:
    """The first place where two nested values differ, with both.

    >>> first_difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'a.b: 1 -> 2'
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            inner = f"{path}.{key}" if path else str(key)
            found = first_difference(before.get(key), after.get(key), inner)
            if found:
                return found
        return None
    return None if before == after else f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
