"""What start-up may not import, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "matplotlib",
    "statsmodels",
    "sympy",
    "sklearn",
    "onnxruntime",
    "transformers",
    "jinja2",
    "joblib",
)
MIDDLING = ("pandas", "numba", "scipy.stats")
INLINE = ["predict", "--arrivals", "poisson:0.8", "--service", "exponential:1", "--json"]
PROGRAM = """
import sys
{statements}
print(*sorted(sys.modules), file=sys.stderr)
"""
RUN = "from qmodel.cli import run\nassert run({arguments!r}) == 0"


def imported(statements: str, folder: Path) -> set[str]:
    """Modules that a fresh interpreter has after these statements."""
    program = PROGRAM.format(statements=statements)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("statements", "unwanted"),
    [
        ("import qmodel", (*HEAVY, *MIDDLING, "numpy", "pydantic", "typer")),
        (
            "import qmodel\nqmodel.Scenario, qmodel.Exponential, qmodel.policies.SRPT",
            (*HEAVY, *MIDDLING, "pydantic"),
        ),
        ("import qmodel\nqmodel.predict, qmodel.compare, qmodel.read_scenario", (*HEAVY, *MIDDLING)),
        (RUN.format(arguments=["--help"]), (*HEAVY, *MIDDLING, "numpy", "pydantic", "rich")),
        (RUN.format(arguments=["--version"]), (*HEAVY, *MIDDLING, "numpy", "rich")),
        (RUN.format(arguments=["predict", "--help"]), (*HEAVY, *MIDDLING, "numpy", "rich")),
        (RUN.format(arguments=INLINE), (*HEAVY, *MIDDLING, "rich", "qmodel.scenario_file")),
        (RUN.format(arguments=INLINE[:-1]), (*HEAVY, *MIDDLING, "rich")),
        (RUN.format(arguments=[*INLINE, "--policy", "fcfs,ps", "--method", "theory"]), (*HEAVY, *MIDDLING)),
    ],
    ids=["import", "scenario", "predict", "help", "version", "command-help", "inline", "table", "two-policies"],
)
def test_heavy_modules_stay_out(statements: str, unwanted: tuple[str, ...], tmp_path: Path) -> None:
    assert imported(statements, tmp_path).isdisjoint(unwanted)


def test_a_scenario_file_needs_no_heavy_module_either(tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text(
        "[[class]]\nname = 'chat'\narrivals = 'poisson:0.8'\nservice = 'exponential:1'\n"
    )
    found = imported(RUN.format(arguments=["predict", "q.toml", "--json"]), tmp_path)
    assert found.isdisjoint((*HEAVY, *MIDDLING)) and "qmodel.scenario_file" in found
