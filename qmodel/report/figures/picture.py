"""A drawn figure as a block of the document: saved beside the report, at the width it was drawn for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qmodel.report.document import Figure
from qmodel.report.inline import Contentlike
from qmodel.report.style import TEXT_WIDTH_INCHES, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def picture(folder: Path, name: str, drawing: Drawing, caption: Contentlike, alt: str) -> Figure:
    """Save a drawing as `figures/NAME.png` and `.pdf` in the report's folder; its block is `fig:NAME`."""
    save_figure(drawing, folder / "figures" / name)
    width = min(1.0, round(drawing.get_size_inches()[0] / TEXT_WIDTH_INCHES, 2))
    return Figure(f"fig:{name}", f"figures/{name}.png", caption, alt, width)
