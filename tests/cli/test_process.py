"""The installed command in a process of its own: exit codes, streams, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import qmodel
from qmodel.cli.app import COMMANDS

INLINE = ["predict", "--arrivals", "poisson:0.8", "--service", "exponential:1"]
PROGRAM = [sys.executable, "-c", "from qmodel.cli import main; main()"]


def command(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


def test_answers_on_stdout(tmp_path: Path) -> None:
    done = command(*INLINE, "--json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["results"][0]["classes"][0]["mean_response_s"] == pytest.approx(5.0)


def test_faults_on_stderr(tmp_path: Path) -> None:
    done = command("predict", "nowhere.toml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nowhere.toml: No such file or directory; check the path\n"


def test_the_contract_command(tmp_path: Path) -> None:
    done = command(*INLINE, "--policy", "fcfs,ps", "--json", "--requests", "5000", folder=tmp_path)
    fcfs, ps = json.loads(done.stdout)["results"]
    assert done.returncode == 0 and fcfs["method"] == ps["method"] == "exact"
    assert fcfs["classes"][0]["p99_response_s"] == pytest.approx(23.02585093, abs=1e-6)
    assert fcfs["classes"][0]["p95_response_s"] == pytest.approx(14.97866137, abs=1e-6)
    assert [r["classes"][0]["mean_response_s"] for r in (fcfs, ps)] == pytest.approx([5.0, 5.0], abs=1e-6)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path, unbuffered: str) -> None:
    """As in `qmodel predict ... | head -1`: what cannot be written any more is dropped in silence."""
    percentiles = ",".join(f"{p / 10:g}" for p in range(1, 1000))  # far more than a pipe holds
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*PROGRAM, *INLINE, "--json", "--method", "theory", "--percentiles", percentiles],
        cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    os.close(reading)
    _, messages = process.communicate(timeout=120)
    assert (process.returncode, messages) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_without_room_for_the_output(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *INLINE], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    said = (
        "qmodel predict, output: cannot be written: No space left on device; make room, or choose another place\n"
    )
    assert (done.returncode, done.stderr) == (2, said)


def test_names_outside_the_alphabet_of_the_terminal(tmp_path: Path) -> None:
    text = "[[class]]\nname = '{}'\narrivals = 'poisson:0.1'\nservice = 'exponential:1'\n"
    (tmp_path / "q.toml").write_text(text.format("café") + text.format("茶"), encoding="utf-8")
    done = command("predict", "q.toml", folder=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and "caf\\xe9" in done.stdout


class TestWords:
    def test_version(self, qmodel_run) -> None:
        assert qmodel_run("--version").out == f"qmodel {qmodel.__version__}\n"

    @pytest.mark.parametrize("words", [(), ("--help",)])
    def test_help_lists_every_command(self, qmodel_run, words: tuple[str, ...]) -> None:
        done = qmodel_run(*words)
        assert done.code == 0 and done.err == ""
        assert all(name in done.out and purpose[:20] in done.out for name, purpose in COMMANDS.items())

    @pytest.mark.parametrize("name", ["predict", "simulate"])
    def test_help_of_a_command(self, qmodel_run, name: str) -> None:
        done = qmodel_run(name, "--help")
        assert done.code == 0 and f"Usage: qmodel {name}" in done.out.replace("pytest", "qmodel")
        for option in "arrivals service policy rate set percentiles json csv plot seed requests".split():
            assert f"--{option}" in done.out

    @pytest.fixture
    def qmodel_run(self, request: pytest.FixtureRequest):
        return request.getfixturevalue("qmodel")
