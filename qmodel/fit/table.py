"""Measurements from profile CSV files: checked cell by cell, units by column name, factors found or named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from qmodel.errors import InputError, nearest
from qmodel.fit.columns import ABSENT, factor_names, require, response_scale, slug
from qmodel.fit.csv_text import TextTable, read_text
from qmodel.fit.hygiene import profile_findings
from qmodel.service.terms import level_text
from qmodel.service.units import unit_of

NUMERIC_FACTORS = ("batch_size", "steps", "exit_layer", "frames", "threads")
MAX_CATEGORIES = 40
KEPT_COLUMNS = ("target", "device", "phase", "valid", "block", "run_order", "replicate")

Level = float | str


@dataclass(frozen=True)
class Measurements:
    """Rows that were measured, ready to fit.

    `frame` holds the factors (numbers, or text for those in `categorical`), the response, and `block`,
    `run_order`, `replicate` and `device` where the files had them. `fixed` holds factors with a single level.
    """

    frame: pd.DataFrame
    response: str
    factors: tuple[str, ...]
    categorical: tuple[str, ...] = ()
    fixed: Mapping[str, Level] | None = None
    phase: str | None = None
    target: str | None = None
    device: str | None = None
    skipped: Mapping[str, int] | None = None
    out_of_memory: tuple[Mapping[str, Level], ...] = ()
    warnings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def numeric(self) -> tuple[str, ...]:
        """Factors that are numbers."""
        return tuple(name for name in self.factors if name not in self.categorical)

    @property
    def y(self) -> np.ndarray:
        """The response, shape (rows,)."""
        return self.frame[self.response].to_numpy(float)


def read_profile(
    paths: str | Path | TextTable | Sequence[str | Path | TextTable],
    *,
    response: str = "latency_s",
    factors: Sequence[str] | None = None,
    phase: str | None = None,
    unit: str | None = None,
    where: Mapping[str, str] | None = None,
) -> Measurements:
    """Read one or more profile CSV files into one table of measurements.

    `factors` names the factor columns (default: every column that is neither of the run nor a response),
    `where` keeps the rows whose column has that text, `unit` (s, ms, us, ns, j, w, bytes) is that of a response
    whose name has no unit suffix. Raises InputError, naming file, row and column, for anything that is not a
    positive finite response at readable levels.
    """
    tables = [read_text(path) for path in ([paths] if isinstance(paths, str | Path | TextTable) else paths)]
    if not tables:
        raise InputError("profile", "no file is given", "name at least one CSV file")
    scale, canonical = response_scale(tables, response, unit)
    conditions = dict(where or {}) | ({"phase": phase} if phase else {})
    kept = [_filtered(table, conditions) for table in tables]
    names = factor_names(kept, response, factors)
    parts = [_part(table, k, names, response, scale) for k, table in enumerate(kept)]
    return _assembled(kept, parts, names, response, canonical)


# --- one file --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """What one file contributes: rows that are ok, text factors still as text, and what was skipped."""

    frame: pd.DataFrame
    skipped: dict[str, int]
    out_of_memory: pd.DataFrame


def _filtered(table: TextTable, conditions: Mapping[str, str]) -> TextTable:
    frame = table.frame
    for column, wanted in conditions.items():
        require(table, column)
        present = frame[column].unique().tolist()
        if wanted not in present:
            raise InputError(f"{table.path}, column {column}", f"has no row '{wanted}'", nearest(wanted, present))
        frame = frame[frame[column] == wanted]
    return replace(table, frame=frame)


def _part(table: TextTable, index: int, names: Sequence[str], response: str, scale: float) -> _Part:
    for name in names:
        require(table, name)
    status = table.frame["status"].str.lower() if "status" in table.frame else None
    ok = pd.Series(True, index=table.frame.index) if status is None else status == "ok"
    skipped: dict[str, int] = {}
    memory = table.frame.iloc[:0]
    if status is not None:
        _check_status(table, status)
        kinds = status[~ok].str.split(":").str[0]
        skipped = {str(kind): int(count) for kind, count in kinds.value_counts().items()}
        memory = table.frame[status == "out_of_memory"]
    good = replace(table, frame=table.frame[ok])
    if good.frame.empty:
        counts = ", ".join(f"{count} {kind}" for kind, count in skipped.items())
        raise InputError(table.path, f"has no row with status ok ({counts})", "profile smaller cells")
    values = _responses(table, good.frame[response], response) * scale
    if not response.startswith("latency"):
        without = int(values.isna().sum())
        skipped |= {f"without {response}": without} if without else {}
    out = pd.concat([good.frame[list(names)], _run_columns(good, index, names)], axis=1)
    out[response] = values
    return _Part(out[values.notna()], skipped, memory[list(names)])


def _run_columns(table: TextTable, index: int, taken: Sequence[str]) -> pd.DataFrame:
    """Block (told apart by file), run order, replicate and the like, where they are there and no factors."""
    frame = table.frame[[name for name in KEPT_COLUMNS if name in table.frame and name not in taken]].copy()
    if "block" in frame:
        frame["block"] = frame["block"].map(lambda text: f"{index + 1}:{text}")
    for name in {"run_order", "replicate"} & set(frame):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def _check_status(table: TextTable, status: pd.Series) -> None:
    known = status.isin(["ok", "out_of_memory"]) | status.str.startswith("failed")
    if not known.all():
        line = int(status.index[~known][0])
        fault = f"'{status[line]}' is unknown"
        raise InputError(table.place(line, "status"), fault, "known: ok, out_of_memory, failed: WHY")


def _responses(table: TextTable, text: pd.Series, response: str) -> pd.Series:
    """Positive finite numbers; a response other than latency may be absent in some rows."""
    absent = text.str.lower().isin(ABSENT)
    if absent.all():
        raise InputError(f"{table.path}, column {response}", "holds no measurement", "name another with --response")
    if response.startswith("latency") and absent.any():
        line = int(text.index[absent][0])
        fault = f"'{text[line]}' is not a number" if text[line] else "is empty"
        raise InputError(table.place(line, response), fault, "remove that row, or give it a status")
    values = _numbers(table, text[~absent], response)
    if (values <= 0).any():
        line = int(values.index[values <= 0][0])
        kind = "is negative" if values[line] < 0 else "is zero"
        sentinel = "; -1 often stands for out of memory: give such rows a status" if values[line] == -1 else ""
        raise InputError(table.place(line, response), f"{text[line]} {kind}", "remove that row" + sentinel)
    return values.reindex(text.index)


def _numbers(table: TextTable, text: pd.Series, column: str) -> pd.Series:
    values = pd.to_numeric(text, errors="coerce").astype(float)
    bad = ~np.isfinite(values)
    if bad.any():
        line = int(values.index[bad][0])
        raise InputError(
            table.place(line, column), f"'{text[line]}' is not a finite number", "mend or remove that row"
        )
    return values


# --- all files together ----------------------------------------------------------------------------------


def _assembled(
    tables: Sequence[TextTable], parts: Sequence[_Part], names: list[str], response: str, canonical: str
) -> Measurements:
    warnings = [warning for table in tables for warning in table.warnings]
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    levels, categorical = _levels(tables, parts, names)
    for name in names:
        frame[name] = levels[name].to_numpy()
    names = _with_device(frame, names, categorical, warnings)
    renames = {name: slug(name) for name in names} | {response: canonical}
    _check_renames(renames, frame, warnings)
    frame = frame.rename(columns=renames)
    names = [renames[name] for name in names]
    categorical = [renames[name] for name in categorical]
    fixed = _fixed(frame, names, warnings)
    varying = tuple(name for name in names if name not in fixed)
    if not varying:
        raise InputError(tables[0].path, "no factor has more than one level", "measure at least two levels of one")
    skipped: dict[str, int] = {}
    for part in parts:
        skipped = {kind: skipped.get(kind, 0) + part.skipped.get(kind, 0) for kind in {**skipped, **part.skipped}}
    warnings += [f"{count} row(s) skipped: {kind}" for kind, count in skipped.items()]
    warnings += _invalid(frame)
    warnings += _oddities(frame, parts, varying, canonical)
    return Measurements(
        frame=frame,
        response=canonical,
        factors=varying,
        categorical=tuple(name for name in categorical if name in varying),
        fixed=fixed,
        phase=None if "phase" in names else _only(frame, "phase", tables[0].path),
        target=None if "target" in names else _only(frame, "target", tables[0].path),
        device=_devices(frame),
        skipped=skipped,
        out_of_memory=_memory_cells(parts, levels, renames, varying),
        warnings=tuple(dict.fromkeys(warnings)),
        sources=tuple(table.path for table in tables),
        sha256=_digest(tables),
    )


def _levels(
    tables: Sequence[TextTable], parts: Sequence[_Part], names: Sequence[str]
) -> tuple[dict[str, pd.Series], list[str]]:
    """Each factor's levels over all files as numbers, or as text where none is a number."""
    levels, categorical = {}, []
    for name in names:
        texts = [part.frame[name] for part in parts]
        for table, text in zip(tables, texts, strict=True):
            absent = text.str.lower().isin(ABSENT)
            if absent.any():
                place = table.place(int(text.index[absent][0]), name)
                raise InputError(place, "has no level", "fill it in, or leave the column out with --factors")
        everything = pd.concat(texts)
        share = pd.to_numeric(everything, errors="coerce").notna().mean()
        if share > 0.5 or name in NUMERIC_FACTORS or name.endswith("_tokens"):
            levels[name] = pd.concat([_numbers(t, text, name) for t, text in zip(tables, texts, strict=True)])
        else:
            levels[name] = everything.astype(str)
            categorical.append(name)
            if everything.nunique() > MAX_CATEGORIES:
                fault = f"has {everything.nunique()} different texts, too many for a factor"
                raise InputError(f"{tables[0].path}, column {name}", fault, "leave it out with --factors")
    return levels, categorical


def _with_device(frame: pd.DataFrame, names: list[str], categorical: list[str], warnings: list[str]) -> list[str]:
    """Several devices in one table are a factor, said or not."""
    if "device" in frame and frame["device"].nunique() > 1 and "device" not in names:
        warnings.append(f"{frame['device'].nunique()} devices are mixed: device is taken as a factor")
        categorical.append("device")
        return [*names, "device"]
    return names


def _check_renames(renames: Mapping[str, str], frame: pd.DataFrame, warnings: list[str]) -> None:
    changed = {old: new for old, new in renames.items() if old != new}
    for old, new in changed.items():
        if new in frame.columns or list(renames.values()).count(new) > 1:
            raise InputError(f"column {old}", f"would be called {new}, which is taken", "rename one of them")
        warnings.append(f"column '{old}' is called {new} here")


def _fixed(frame: pd.DataFrame, names: Sequence[str], warnings: list[str]) -> dict[str, Level]:
    fixed: dict[str, Level] = {}
    for name in names:
        if frame[name].nunique() == 1:
            level = frame[name].iloc[0]
            fixed[name] = level if isinstance(level, str) else float(level)
            warnings.append(
                f"{name} has a single level, {level_text(level)}: its effect is unknown and it is left out"
            )
    return fixed


def _invalid(frame: pd.DataFrame) -> list[str]:
    flagged = int(frame["valid"].str.lower().isin(["false", "0", "no"]).sum()) if "valid" in frame else 0
    return [f"{flagged} row(s) are flagged as unsteady (valid = false); they are used"] if flagged else []


def _oddities(frame: pd.DataFrame, parts: Sequence[_Part], factors: Sequence[str], response: str) -> list[str]:
    """Findings about the times: copies, cells out of line, mixed groups; rows named by their lines in the file."""
    if unit_of(response).symbol != "s":
        return []
    lines = pd.concat([part.frame.index.to_series() for part in parts], ignore_index=True)
    return [str(one) for one in profile_findings(frame.set_index(lines), factors, response)]


def _only(frame: pd.DataFrame, column: str, place: str) -> str | None:
    if column not in frame:
        return None
    present = sorted(frame[column].unique().tolist())
    if len(present) > 1:
        fault = f"holds {len(present)}: {', '.join(present[:6])}"
        option = f"--phase {present[0]}" if column == "phase" else f"--where {column}={present[0]}"
        raise InputError(f"{place}, column {column}", fault, f"choose one, as with {option}")
    return str(present[0]) or None


def _devices(frame: pd.DataFrame) -> str | None:
    return ", ".join(sorted(frame["device"].unique().tolist())) or None if "device" in frame else None


def _memory_cells(
    parts: Sequence[_Part], levels: Mapping[str, pd.Series], renames: Mapping[str, str], varying: Sequence[str]
) -> tuple[Mapping[str, Level], ...]:
    """Cells that ran out of memory, each once, those that others already imply left out."""
    memory = pd.concat([part.out_of_memory for part in parts]).drop_duplicates()
    cells: list[dict[str, Level]] = []
    for _, row in memory.iterrows():
        cell: dict[str, Level] = {}
        for name, new in renames.items():
            if name in row and new in varying:
                numeric = pd.api.types.is_numeric_dtype(levels[name])
                cell[new] = float(pd.to_numeric(row[name], errors="coerce")) if numeric else str(row[name])
        if cell and not any(isinstance(v, float) and np.isnan(v) for v in cell.values()):
            cells.append(cell)
    return tuple(c for c in cells if not any(o != c and _implies(o, c) for o in cells))


def _implies(smaller: Mapping[str, Level], cell: Mapping[str, Level]) -> bool:
    """Out of memory at `smaller` implies it at `cell`: no factor lower, the same text levels."""
    return all(v == cell[k] if isinstance(v, str) else v <= cell[k] for k, v in smaller.items())  # type: ignore[operator]


def _digest(tables: Sequence[TextTable]) -> str:
    """One file's own hash; of several, the hash of their hashes in order."""
    if len(tables) == 1:
        return tables[0].sha256
    return hashlib.sha256("".join(table.sha256 for table in tables).encode()).hexdigest()
