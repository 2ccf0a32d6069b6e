"""What a profile's spec says to the worker: its process, the CSV it fills, and each visit it is to make."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.engine_process import own_cores
from qmodel.measure import rows
from qmodel.measure.supervisor import Worker
from qmodel.measure.visit import VisitOrder

if TYPE_CHECKING:
    from qmodel.measure.design import Cell
    from qmodel.measure.spec import ProfileSpec


def row_file(spec: ProfileSpec, path: Path) -> rows.RowFile:
    """The CSV of rows with the factors of the spec."""
    names = dict.fromkeys(name for factors in spec.factor_tables() for name in factors)
    return rows.RowFile(path, rows.columns(names))


def shared_fields(cell: Cell, block: int, run_id: str, target: Mapping[str, Any]) -> dict[str, Any]:
    """What all rows of a visit have in common; `target` is its introduction of itself."""
    who = {"run_id": run_id, "target": target["name"], "device": target["device"]}
    return {**who, "phase": cell.phase, **cell.levels, "pacing": cell.pacing, "block": block}


def visit_order(spec: ProfileSpec, cell: Cell, fields: Mapping[str, Any], **stay: Any) -> VisitOrder:
    """What the worker is told of one visit to a cell: `stay` says how long, and which rows are there."""
    idle_gap_s = spec.design.idle_gap_s if cell.pacing == "idle-gaps" else 0.0
    return VisitOrder(phase=cell.phase, levels=cell.levels, row=fields, idle_gap_s=idle_gap_s, **stay)


def worker_of(spec: ProfileSpec, file: rows.RowFile) -> Worker:
    """The process in which the spec's target is timed, not yet started; rows go into the file."""
    setup = {
        "kind": spec.target.kind,
        "threads": spec.measurement.threads,
        "options": spec.target.options,
        "csv": os.path.abspath(file.path),  # noqa: PTH100 - the file may not be there yet
        "header": file.header,
    }
    measurement = spec.measurement
    return Worker(
        setup,
        trial_timeout_s=measurement.trial_timeout_s,
        setup_timeout_s=measurement.setup_timeout_s,
        search=spec.folder,
        cores=own_cores(measurement.threads) if measurement.own_cores else (),
    )
