"""The campaign lies beside its script, not in the package."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu_campaign.py"
sys.path.insert(0, str(ROOT / "scripts"))

OPTIONAL = (
    "pandas pydantic pynvml scipy numba statsmodels typer rich joblib matplotlib sklearn onnxruntime transformers"
).split()
WITHOUT_OPTIONAL = f"""
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def campaign(*arguments, **options):
    """Run the program as a user does."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", **options)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Every stage's smoke test on the CPU, in a Python that has torch and numpy alone: folder and output."""
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("campaign")
    arguments = ["all", "--scale", "smoke", "--device", "cpu", "--out", str(out), "--budget-s", "100"]
    command = [sys.executable, "-c", WITHOUT_OPTIONAL, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
    return out, done
