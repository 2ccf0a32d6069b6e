"""The campaign lies beside its script, not in the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu_campaign.py"
sys.path.insert(0, str(ROOT / "scripts"))

NEEDED = """
torch torchgen functorch numpy typing_extensions sympy mpmath networkx jinja2 markupsafe fsspec filelock triton
nvidia qmodel campaign
""".split()  # the last two lie in the tree; before them torch, numpy and what these two need themselves
ALONE = f"""
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top not in {NEEDED!r} and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]  # qmodel is not installed
sys.meta_path.insert(0, Missing())
sys.path[:] = [folder for folder in sys.path if folder != {str(ROOT)!r}]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A Python with torch and numpy and nothing else, not even the package: the program finds it beside itself."""


def campaign(*arguments, **options):
    """Run the program as a user does."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", **options)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Every stage's smoke test on the CPU from a copied tree, with torch and numpy alone: folder and output."""
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("campaign")
    arguments = ["all", "--scale", "smoke", "--device", "cpu", "--out", str(out), "--budget-s", "100"]
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("qmodel", "scripts"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", ALONE, str(tree / "scripts" / SCRIPT.name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
    return out, done
