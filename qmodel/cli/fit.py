"""`qmodel fit`: ANOVA and the service-time function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from qmodel.fit import FitResult


def command(
    csv: list[Path] = typer.Argument(help="Measurements (tidy CSV)."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the model file (JSON)."),
    response: str = typer.Option("latency_s", help="Column that is explained."),
    factors: str | None = typer.Option(None, help="Factor columns, F[,F...] (default: all that vary)."),
    phase: str | None = typer.Option(None, help="Phase to fit, where the file has several."),
    where: list[str] = typer.Option([], help="COLUMN=VALUE keeps only those rows; repeatable."),
    unit: str | None = typer.Option(None, help="Unit of the response where its name has none: s, ms, us, ns."),
    reference: list[str] = typer.Option([], help="FACTOR=LEVEL predictions stand at, e.g. pacing=idle-gaps."),
    markdown: bool = typer.Option(False, "--markdown", help="Print Markdown instead of plain text."),
    figures: Path | None = typer.Option(None, help="Folder for the figures of the fit."),
) -> int:
    """Fit a service-time function to measurements, with the evidence for it."""
    from qmodel.cli.ask import settings
    from qmodel.cli.progress import note
    from qmodel.fit import fit_measurements, read_profile

    wanted = [name.strip() for name in factors.split(",")] if factors else None
    measurements = read_profile(
        csv, response=response, factors=wanted, phase=phase, unit=unit, where=settings(where)
    )
    found = fit_measurements(measurements, reference=settings(reference) or None)
    for warning in found.warnings:
        note(f"warning: {warning}")
    print(found.to_markdown() if markdown else found.summary())
    if output is not None:
        found.model.save(output)
        note(f"wrote {output}")
    if figures is not None:
        save_fit_figures(found, figures)
    return 0


def save_fit_figures(found: FitResult, folder: Path) -> None:
    """Write every figure of the fit as PNG and SVG."""
    from qmodel.cli.progress import note
    from qmodel.fit.figures import fit_figures
    from qmodel.report.style import save_figure

    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in fit_figures(found).items():
        save_figure(figure, folder / name)
    note(f"figures in {folder}")
