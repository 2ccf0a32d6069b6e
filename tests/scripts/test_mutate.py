"""The mutation check itself, on a made-up package of one module: what it kills, tells, forgives and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MODULE = '''"""Plane figures."""


def area(width, height):
    """What a rectangle covers."""
    if width < 0.0:
        raise ValueError(f"a width of {width + 0.0} m")
    return width * height


def longest(sides):
    return max(sides[: len(sides)])


def grown(side):
    return side + 1.0


def halved(side):
    return abs(-side) / 2.0
'''
TESTS = """import pytest
from made.up.figures import area, grown, halved, longest


def test_area():
    assert [area(3.0, 5.0), area(0.0, 5.0)] == [15.0, 0.0]
    with pytest.raises(ValueError):
        area(-1.0, 5.0)


def test_longest():
    assert longest([1.0, 2.0, 3.0]) == 3.0


def test_halved():
    assert halved(3.0) == 1.5


def test_grown():
    assert grown(1.0) {grown}
"""
SAME = """[[mutant]]
module = 'figures'
function = 'halved'
before = '-side'
after = 'side'
reason = "it has no sign"
"""
RUNNER = f"""import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from pathlib import Path
import mutate
mutate.PACKAGE, mutate.EQUIVALENT = "made.up", Path("same.toml")
sys.argv = ["mutate.py", *sys.argv[1:]]
sys.exit(mutate.main())
"""
# area: < (2), 0.0 (1), * (3); longest: max, the slice's end; grown: + (2), 1.0 (1); halved: -, / (2), 2.0 (2)
EVERY = 6 + 2 + 3 + 5


@pytest.fixture
def folder(tmp_path):
    package = tmp_path / "made" / "up"
    package.mkdir(parents=True)
    for inside in (package.parent, package):
        (inside / "__init__.py").touch()
    (package / "figures.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    torch\n")
    return tmp_path


def mutate(folder, grown, *arguments):
    (folder / "test_figures.py").write_text(TESTS.format(grown=grown))
    command = [sys.executable, "-c", RUNNER, "--tests", "test_figures.py", "--sample", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


def survivors(done):
    return [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("survived")]


def test_what_no_test_notices_is_told(folder):
    done = mutate(folder, "> 0.0")
    assert sorted(survivors(done)) == [
        "figures:16 grown: side + 1.0  ->  side",
        "figures:16 grown: side + 1.0  ->  side + 2.0",
        "figures:20 halved: -side  ->  side",
    ]
    assert f"{EVERY - 3} of {EVERY} mutants killed, 0 equivalent" in done.stdout
    assert done.returncode == 1


def test_numbers_kill_and_equivalents_are_forgiven(folder):
    (folder / "same.toml").write_text(SAME)
    done = mutate(folder, "== 2.0", "--verbose", "--map", "reached.json")
    assert survivors(done) == []
    assert f"{EVERY - 1} of {EVERY - 1} mutants killed, 1 equivalent" in done.stdout
    killer = "by test_figures.py::test_longest"
    assert (
        f"killed    figures:12 longest: max(sides[:len(sides)])  ->  min(sides[:len(sides)])  {killer}"
        in done.stdout
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reached = {
        name: functions for name, (_, functions) in json.loads((folder / "reached.json").read_text()).items()
    }
    assert reached["test_figures.py::test_area"] == ["figures:area"]
    assert (folder / "made" / "up" / "figures.py").read_text() == MODULE


def test_tests_that_fail_by_themselves_are_told_and_kill_nothing(folder):
    done = mutate(folder, "== 3.0")
    assert "1 of 4 tests fail without a mutant: test_figures.py::test_grown" in done.stdout
    assert sum(" grown: " in line for line in survivors(done)) == 3
    assert done.returncode == 1


def test_a_few_mutants_are_as_many_as_asked(folder):
    done = mutate(folder, "== 2.0", "--sample", "4", "figures")
    assert " of 4 mutants killed, 0 equivalent" in done.stdout
