"""`qmodel fit`: ANOVA and the service-time function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from qmodel.fit import FitResult
    from qmodel.fit.csv_text import TextTable

LOSSES = {"relative": "relative", "huber": "huber", "ols": "absolute"}


def command(
    csv: list[Path] = typer.Argument(help="Measurements (tidy CSV), or one TOML that composes fitted parts."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the model file (JSON)."),
    response: str = typer.Option("latency_s", help="Column explained: latency_s, energy_j, power_w, exit ..."),
    factors: str | None = typer.Option(None, help="Factor columns, F[,F...] (default: all that vary)."),
    phase: str | None = typer.Option(None, help="Phase to fit (default: each of several, a model a phase)."),
    where: list[str] = typer.Option([], help="COLUMN=VALUE keeps only those rows; repeatable."),
    unit: str | None = typer.Option(None, help="Unit of the response where its name has none: s, ms, us, ns."),
    reference: list[str] = typer.Option([], help="FACTOR=LEVEL predictions stand at, e.g. pacing=idle-gaps."),
    categorical: str | None = typer.Option(None, help="Numeric factors that are names, F[,F...], e.g. bits."),
    forms: str | None = typer.Option(
        None, help="Families tried: affine,piecewise,max-affine,power-law; table on request."
    ),
    terms: str | None = typer.Option(None, help="Fix the function: T[,T...], e.g. 1,steps,batch_size:steps."),
    loss: str = typer.Option("relative", help="relative, huber, or ols (absolute errors)."),
    signed: bool = typer.Option(False, "--signed", help="Let coefficients be negative."),
    anova_type: int = typer.Option(2, "--anova-type", help="Sums of squares: 1, 2 or 3."),
    transform: str = typer.Option("log", help="ANOVA of the log response, or of the response itself: log, none."),
    design: bool = typer.Option(False, "--design", help="Plan the next measurements [SCENARIO.toml: for it]."),
    cells: int = typer.Option(5, help="How many cells --design proposes."),
    precision: float = typer.Option(0.02, help="Wanted precision of a cell's mean, for --design (relative)."),
    device: str | None = typer.Option(None, help="Read the times against its data sheet: h200, a100, rtx4090 ..."),
    moved: list[str] = typer.Option([], "--bytes", help="TERM=BYTES moved a unit, e.g. 1=16G; repeatable."),
    done: list[str] = typer.Option([], "--flops", help="TERM=FLOP done a unit; repeatable."),
    markdown: Path | None = typer.Option(None, "--markdown", help="Write the summary as Markdown (- prints it)."),
    latex: Path | None = typer.Option(None, "--latex", help="Write the summary as LaTeX (- prints it)."),
    figures: Path | None = typer.Option(None, help="Folder for the figures of the fit."),
) -> int:
    """Fit a service-time function to measurements, with the evidence for it."""
    from qmodel.cli.ask import settings
    from qmodel.cli.foreign import readable
    from qmodel.errors import InputError, nearest

    if loss not in LOSSES:
        raise InputError("--loss", f"'{loss}' is unknown", nearest(loss, list(LOSSES)))
    if transform not in ("log", "none"):
        raise InputError("--transform", f"'{transform}' is unknown", "known: log, none")
    csv, scenario = _parted(csv, design)
    if scenario is not None and not design:
        return _compose(scenario, output)
    tables: Sequence[Path | TextTable] = readable(csv, response)
    options: dict[str, Any] = {
        "terms": _names(terms),
        "categorical": _names(categorical) or (),
        "reference": settings(reference) or None,
        "loss": LOSSES[loss],
        "nonnegative": not signed,
        "anova_type": anova_type,
        "transform": transform,
    }
    if forms is not None:
        options["forms"] = _names(forms)
    if response in ("exit", "exit_layer"):
        return _exits(csv, response, output)
    if response == "power_w":
        tables = [_with_power(table) for table in tables]
    reading = {"response": response, "factors": _names(factors), "unit": unit, "where": settings(where)}
    phases = [phase] if phase else _phases(tables, reading)
    for one in phases:
        found = _fitted(tables, reading | {"phase": one}, options, device, moved, done)
        tag = f".{one}" if len(phases) > 1 else ""
        _tell(found, markdown, latex, tag)
        if output is not None:
            _write_model(found, _tagged(output, tag))
        if figures is not None:
            save_fit_figures(found, figures / one if tag and one else figures)
        if design:
            _plan(found, scenario, cells, precision)
    return 0


def _parted(files: list[Path], design: bool) -> tuple[list[Path], Path | None]:
    """Measurements, and the one TOML file: the scenario of --design, or a composition. Raises InputError."""
    from qmodel.errors import InputError

    tables = [path for path in files if path.suffix == ".toml"]
    csv = [path for path in files if path.suffix != ".toml"]
    if len(tables) > 1 or (tables and not design and csv) or (tables and design and not csv):
        remedy = "give CSV files, with --design one scenario, or one composition alone"
        raise InputError("qmodel fit", "does not know what to do with these files", remedy)
    return csv, tables[0] if tables else None


def _fitted(
    csv: Sequence[Path | TextTable],
    reading: dict[str, Any],
    options: dict[str, Any],
    device: str | None,
    moved: Any,
    done: Any,
) -> FitResult:
    """One fit, read against the data sheet where a device is named; its warnings go to stderr."""
    from qmodel.cli.progress import note
    from qmodel.errors import InputError
    from qmodel.fit import fit_measurements, read_profile

    found = fit_measurements(read_profile(csv, **reading), **options)
    if device is not None:
        from qmodel.fit.datasheets import device_named
        from qmodel.fit.hardware import Work, parse_work, read_hardware

        work = Work(parse_work(moved, "--bytes"), parse_work(done, "--flops"))
        found = read_hardware(found, device_named(device), work)
    elif moved or done:
        raise InputError("--device", "is missing", "name the device whose data sheet --bytes and --flops go with")
    for warning in found.warnings:
        note(f"warning: {warning}")
    return found


def _tell(found: FitResult, markdown: Path | None, latex: Path | None, tag: str) -> None:
    """The summary on stdout, or in the files asked for."""
    from qmodel.cli.progress import note
    from qmodel.files import write_atomically

    dash = Path("-")
    if dash not in (markdown, latex):
        print(found.summary())
    for path, text in ((markdown, found.to_markdown), (latex, found.to_latex)):
        if path == dash:
            print(text())
        elif path is not None:
            write_atomically(_tagged(path, tag), text())
            note(f"wrote {_tagged(path, tag)}")


def _write_model(found: FitResult, path: Path) -> None:
    from qmodel.cli.progress import note

    found.model.save(path)
    note(f"wrote {path}")


def _plan(found: FitResult, scenario: Path | None, count: int, precision: float) -> None:
    """What to measure next, for a scenario or for the measured range, and how often."""
    from qmodel.fit.planning import design_summary

    wanted = None
    if scenario is not None:
        from qmodel.cli.wanted_levels import wanted_levels
        from qmodel.scenario_file import read_scenario

        wanted = wanted_levels(read_scenario(scenario, {}), found)
    print()
    print(design_summary(found, wanted, count=count, precision=precision))


def _with_power(path: Path | TextTable) -> TextTable:
    """A table with mean power as a column."""
    from qmodel.fit.csv_text import read_text
    from qmodel.fit.power import with_power

    return with_power(read_text(path))


def _exits(csv: list[Path], column: str, output: Path | None) -> int:
    """The law of the exits in a log; written as a scenario's [[transform]] table."""
    from qmodel.cli.progress import note
    from qmodel.errors import InputError
    from qmodel.files import write_atomically
    from qmodel.fit.csv_text import read_text
    from qmodel.fit.exits import exit_law

    if len(csv) != 1:
        raise InputError("--response exit", f"{len(csv)} files are given", "give one log")
    law = exit_law(read_text(csv[0]), column)
    print(law.summary())
    if output is not None:
        write_atomically(output, law.to_toml())
        note(f"wrote {output}")
    return 0


def _compose(path: Path, output: Path | None) -> int:
    """A model put together from fitted parts."""
    from qmodel.cli.progress import note
    from qmodel.fit.composition import read_composition

    model = read_composition(path)
    print(model.describe())
    if output is not None:
        model.save(output)
        note(f"wrote {output}")
    return 0


def _phases(csv: Sequence[Path | TextTable], reading: dict[str, Any]) -> list[str | None]:
    """The phases of the files where there are several and none of their conditions names one; else [None]."""
    from qmodel.fit.csv_text import read_text

    if "phase" in reading["where"] or "phase" in (reading["factors"] or ()):
        return [None]
    found: dict[str, None] = {}
    for path in csv:
        frame = read_text(path).frame
        if "phase" not in frame or reading["response"] not in frame:
            return [None]
        found |= dict.fromkeys(frame["phase"].unique().tolist())
    return list(found) if len(found) > 1 else [None]


def _tagged(path: Path, tag: str) -> Path:
    """`model.json` with the phase before its ending: `model.prefill.json`."""
    return path.with_name(path.stem + tag + path.suffix) if tag else path


def _names(text: str | None) -> list[str] | None:
    """Comma-separated names; commas within parentheses or brackets, as in min(tokens,128), do not part."""
    import re

    return None if text is None else [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", text) if part.strip()]


def save_fit_figures(found: FitResult, folder: Path) -> None:
    """Write every figure of the fit as PNG and SVG."""
    from qmodel.cli.progress import note
    from qmodel.fit.figures import fit_figures
    from qmodel.report.style import save_figure

    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in fit_figures(found).items():
        save_figure(figure, folder / name)
    note(f"figures in {folder}")
