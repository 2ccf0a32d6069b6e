"""`qmodel doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass

import typer

import qmodel

EXTRAS = {
    "live": (
        {"onnxruntime": "run the diffusion model", "sklearn": "judge its images"},
        "profile, live runs, studies",
    ),
    "pdf": ({"typst": "set the PDF of a report"}, "report.pdf (Markdown and LaTeX are written without it)"),
    "torch": ({"torch": "run language models", "transformers": "build them"}, "language-model targets, GPUs"),
    "dev": ({"pytest": "run the tests", "mypy": "check types", "ruff": "check style"}, "working on qmodel"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: ok, note (works without it) or warning (results would suffer)."""

    kind: str
    line: str


def command(strict: bool = typer.Option(False, "--strict", help="Exit with 3 when there is a warning.")) -> int:
    """Say what this machine can do, and what is missing."""
    findings = [*machine(), *extras(), *compilers(), *fitness_for_timing()]
    for finding in findings:
        print(f"{finding.kind:<8} {finding.line}")
    return 3 if strict and any(finding.kind == "warning" for finding in findings) else 0


def machine() -> list[Finding]:
    """Versions, cores, memory, GPU."""
    from qmodel.measure.machine import cores_allowed, gpus
    from qmodel.measure.targets.device import cpu_name

    python = f"Python {platform.python_version()}"
    found = [Finding("ok", f"qmodel {qmodel.__version__}, {python}, {platform.system()} {platform.machine()}")]
    found.append(Finding("ok", f"CPU: {cpu_name()}, {cores_allowed()} cores may be used"))
    cards = gpus()
    found += [Finding("ok", f"GPU: {card.get('name', 'unnamed')}") for card in cards]
    return found if cards else [*found, Finding("note", "no GPU: everything runs on the CPU")]


def extras() -> list[Finding]:
    """Which extras are installed."""
    found = []
    for extra, (modules, purpose) in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            found.append(Finding("note", f"extra '{extra}' lacks {', '.join(missing)}: no {purpose}; "
                                         f"pip install 'qmodel[{extra}]'"))  # fmt: skip
        else:
            versions = ", ".join(f"{name} {_version(name)}" for name in modules)
            found.append(Finding("ok", f"extra '{extra}': {versions}"))
    return found


def compilers() -> list[Finding]:
    """Optional programs."""
    latex = shutil.which("latexmk") or shutil.which("pdflatex")
    return [Finding("ok", f"LaTeX: {latex}") if latex else Finding("note", "no LaTeX: report.tex is not compiled")]


def fitness_for_timing() -> list[Finding]:
    """What would spoil measurements: a busy machine, too few cores, a coarse timer."""
    from qmodel.measure.machine import cores_allowed, load_warning, timer_resolution_s

    busy = load_warning()
    found = [Finding("warning", busy) if busy else Finding("ok", "the machine is idle enough to measure")]
    if cores_allowed() < 2:
        found.append(Finding("warning", "one core only: the load generator of a live run disturbs the server"))
    resolution = timer_resolution_s()
    fine = resolution < 1e-6
    found.append(Finding("ok" if fine else "warning", f"timer resolution {resolution * 1e9:.0f} ns"))
    if os.environ.get("OMP_NUM_THREADS") is None and "numpy" in sys.modules:
        found.append(Finding("note", "OMP_NUM_THREADS is not set; qmodel sets the threads of its engines itself"))
    return found


def _version(module: str) -> str:
    try:
        return importlib.metadata.version({"sklearn": "scikit-learn"}.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
