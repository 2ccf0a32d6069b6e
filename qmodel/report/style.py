"""How all figures look: one colour and marker a policy, sizes for print, units on axes, files that repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from qmodel.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT_WIDTH_INCHES = 6.3
"""Width of the report's text (16 cm): a full-width figure is drawn at the size it is printed."""

INK = "#1a1a1a"
FAINT = "#8a8a8a"

SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "errorbar.capsize": 1.8,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.hashsalt": "qmodel",
}


@dataclass(frozen=True)
class Mark:
    """Colour, marker and line of one series."""

    color: str
    marker: str
    line: str = "-"


PALETTE = (
    Mark("#0072b2", "o"),
    Mark("#d55e00", "s"),
    Mark("#009e73", "^"),
    Mark("#cc79a7", "D"),
    Mark("#e69f00", "v"),
    Mark("#56b4e9", "P"),
    Mark("#7a4fa3", "X"),
    Mark("#4d4d4d", "<"),
)
"""Okabe and Ito's colours, that colour-blind readers can tell apart, each with a marker of its own."""

POLICY_ORDER = ("fcfs", "np-priority", "pr-priority", "ps", "srpt", "sjf", "psjf", "random")
"""Policies with a fixed place in the palette: the same one looks the same in every figure."""


def marks(names: Sequence[str]) -> dict[str, Mark]:
    """The mark of each policy (or other series): known policies keep theirs, others take what is free."""
    taken = {name: PALETTE[POLICY_ORDER.index(name)] for name in names if name in POLICY_ORDER}
    free = [mark for mark in PALETTE if mark not in taken.values()] or list(PALETTE)
    others = [name for name in dict.fromkeys(names) if name not in taken]
    return taken | {name: free[i % len(free)] for i, name in enumerate(others)}


@contextmanager
def style() -> Iterator[None]:
    """Figures drawn inside the block have the report's look."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def new_figure(
    width: float = 1.0, height: float = 2.4, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of that share of the text width and height in inches, and its panels row by row."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width * TEXT_WIDTH_INCHES, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(panels.flat)


def save_figure(figure: Figure, path_without_suffix: Path) -> Path:
    """Write PNG (200 dots an inch) for pages and PDF for print, whole or not at all; returns the PNG's path.

    The same figure gives the same bytes: no dates, no random identifiers.
    """
    with style():
        for suffix, metadata in ((".pdf", {"CreationDate": None, "Producer": None}), (".png", {"Software": None})):
            path = path_without_suffix.with_name(path_without_suffix.name + suffix)
            with replacing(path) as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=200, metadata=metadata)
    return path
