"""The report's files: Markdown, LaTeX and PDF from one document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qmodel.errors import InputError, MissingExtra
from qmodel.files import write_atomically
from qmodel.report import latex, markdown
from qmodel.report.document import Document, Figure
from qmodel.report.pdf import write_pdf
from qmodel.report.typst_writer import print_path


@dataclass(frozen=True)
class Written:
    """Where the report is; `pdf` is None, with the reason, where it could not be set."""

    markdown: Path
    latex: Path
    pdf: Path | None
    missing: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files there are."""
        return tuple(path for path in (self.markdown, self.latex, self.pdf) if path is not None)


def write_report(document: Document, folder: Path, stem: str = "report") -> Written:
    """Write the document as Markdown, LaTeX and PDF into a folder that already holds its figures.

    Raises InputError for a figure that is not there and for a reference that names nothing. Without the
    typst package the other two files are written all the same, and the answer says what is missing.
    """
    check_figures(document, folder)
    source = write_atomically(folder / f"{stem}.md", markdown.render(document))
    tex = write_atomically(folder / f"{stem}.tex", latex.render(document))
    try:
        return Written(source, tex, write_pdf(document, folder / f"{stem}.pdf"))
    except MissingExtra as error:
        return Written(source, tex, None, str(error))


def check_figures(document: Document, folder: Path) -> None:
    """Every figure is there in the form for the page and the form for print."""
    for figure in (b for b in document.blocks if isinstance(b, Figure)):
        for path in {figure.path, print_path(figure.path)}:
            if not (folder / path).is_file():
                raise InputError(
                    f"figure '{figure.label}'", f"{folder / path} is missing", "draw it before the report"
                )
