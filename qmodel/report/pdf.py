"""The PDF, set by Typst's compiler from its wheel; no TeX and no fonts of the machine are needed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

from qmodel.errors import InputError, MissingExtra
from qmodel.files import write_atomically
from qmodel.report import typst_writer
from qmodel.report.document import Document


def write_pdf(document: Document, path: Path) -> Path:
    """Set the document as PDF; figures are looked for from the file's own folder.

    Raises MissingExtra without the typst package, InputError where Typst refuses the source.
    """
    return write_atomically(path, typeset(typst_writer.render(document), path.parent)[0])


def typeset(
    source: str, folder: Path, form: Literal["pdf", "png"] = "pdf", resolution: float = 110.0
) -> list[bytes]:
    """Typst source as one PDF, or as one PNG a page; the same bytes for the same source."""
    try:
        import typst
    except ImportError as error:
        raise MissingExtra("typst", "pdf") from error
    set_pages: Any = typst.compile
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made = set_pages(
            source.encode("utf-8"),
            root=str(folder),
            format=form,
            ppi=resolution if form == "png" else None,
            ignore_system_fonts=True,
            timestamp=0,
        )
    except RuntimeError as error:
        raise InputError("report, PDF", str(error), "see the named formula or figure") from error
    pages: list[bytes] = made if isinstance(made, list) else [made]
    return pages


def compile_latex(source: Path, target: Path, seconds: float = 180.0) -> Path | None:
    """The PDF of a .tex file by latexmk or pdflatex; None where neither is installed.

    Raises InputError with TeX's own complaint where it fails or takes longer than `seconds`.
    """
    command = latex_command()
    if command is None:
        return None
    with tempfile.TemporaryDirectory(prefix="qmodel-tex-") as scratch:
        for _ in range(1 if "latexmk" in command[0] else 3):
            run_latex([*command, f"-output-directory={scratch}", source.name], source, seconds)
        made = (Path(scratch) / source.name).with_suffix(".pdf")
        return write_atomically(target, made.read_bytes())


def latex_command() -> list[str] | None:
    """What compiles LaTeX here."""
    options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    if latexmk := shutil.which("latexmk"):
        return [latexmk, "-pdf", *options]
    pdflatex = shutil.which("pdflatex")
    return [pdflatex, *options] if pdflatex else None


def run_latex(command: list[str], source: Path, seconds: float) -> None:
    """One pass; InputError with the first error of the log."""
    try:
        done = subprocess.run(command, cwd=source.parent, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(str(source), f"LaTeX took longer than {seconds:g} s", "compile it by hand") from error
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        complaint = next((line for line in lines if line.startswith("!")), "LaTeX failed")
        raise InputError(str(source), complaint.lstrip("! "), "compile it by hand to see the log")
