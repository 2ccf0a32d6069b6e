"""From what came back to `measurements/<device>/`: the CSV files, their metadata, fitted models and a README.

This part runs where qmodel is installed: it fits, so it needs pandas, scipy and statsmodels.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.facts import StageFile
from campaign.livereport import live_section
from campaign.readme import readme
from campaign.records import meta_path
from qmodel.errors import InputError
from qmodel.files import write_atomically


@dataclass(frozen=True)
class Fit:
    """A service-time function: of what, in words, its errors, and the model file; or why there is none."""

    stage: str
    phase: str
    formula: str = ""
    median_error: float | None = None
    p95_error: float | None = None
    model: str = ""
    refused: str = ""


def summarise(source: Path, root: Path) -> str:
    """Write a folder for each device whose rows lie in `source`; returns what was written, line by line."""
    files = stage_files(source)
    if not files:
        raise InputError(str(source), "holds no STAGE.csv with its .meta.toml", "name the folder that came back")
    written = []
    for device in sorted({file.device for file in files}):
        mine = [file for file in files if file.device == device]
        folder = root / (slug(device) + ("-smoke-test" if any(file.tried for file in mine) else ""))
        written += _device_folder(mine, source, folder)
    return "\n".join(written)


def stage_files(source: Path) -> list[StageFile]:
    """The stages in a folder, live runs included, in the order of their names."""
    paths = [path for path in sorted(source.glob("*.csv")) if meta_path(path).exists()]
    return [StageFile.read(path) for path in paths]


def slug(device: str) -> str:
    """A folder's name.

    >>> slug("NVIDIA H200")
    'nvidia-h200'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def _device_folder(files: Sequence[StageFile], source: Path, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        for path in (file.path, meta_path(file.path)):
            _copy(path, folder)
    for path in source.glob("live-profile.csv"):
        _copy(path, folder)
    grids = [file for file in files if file.name != "live"]
    fits = [fit for file in grids for fit in fit_stage(file, folder)]
    live = [live_section(file) for file in files if file.name == "live"]
    write_atomically(folder / "README.md", readme(grids, fits, live, files))
    lines = [f"{folder}: {len(files)} stages, {sum(bool(fit.model) for fit in fits)} models, README.md"]
    return lines + [f"  no fit of {fit.stage} {fit.phase}: {fit.refused}" for fit in fits if fit.refused]


def _copy(path: Path, folder: Path) -> None:
    if path.resolve().parent != folder.resolve():
        shutil.copyfile(path, folder / path.name)


def fit_stage(file: StageFile, folder: Path) -> list[Fit]:
    """Fit each phase of a stage; decode steps in the way that most cells were run."""
    phases = list(dict.fromkeys(row["phase"] for row in file.rows))
    return [_fit(file, phase, folder) for phase in phases]


def _fit(file: StageFile, phase: str, folder: Path) -> Fit:
    from qmodel.fit import fit_measurements, read_profile

    executions = [row["execution"] for row in file.rows if row["phase"] == phase and row.get("execution")]
    where = {"execution": max(set(executions), key=executions.count)} if executions else {}
    try:
        measurements = read_profile(file.path, phase=phase, where=where)
        result: Any = fit_measurements(measurements, analysis=True)
    except InputError as error:
        return Fit(file.name, phase, refused=str(error))
    name = f"{file.name}-{phase}" if phase not in file.name else file.name
    result.model.save(folder / "models" / f"{name}.json")
    write_atomically(folder / "fits" / f"{name}.md", result.to_markdown())
    print(f"fitted {name}", file=sys.stderr, flush=True)
    errors = result.model.statistics["cross_validated"]
    if errors.get("median") is None:
        errors = result.model.statistics["in_sample"]
    return Fit(
        file.name, phase, "; ".join(result.formula()), errors.get("median"), errors.get("p95"), f"{name}.json"
    )
