"""The command line in process, and scenario files to ask about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from qmodel.cli import run

ONE = """
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 0.5 }
service  = { distribution = "exponential", mean = 1.0 }
slo = { response_p95_s = 8.0 }
"""
TWO = """
[policy]
preset = "np-priority"

[[class]]
name = "first"
arrivals = { process = "poisson", rate = 0.3 }
service  = { distribution = "exponential", mean = 1.0 }
priority = 0

[[class]]
name = "second"
arrivals = { process = "poisson", rate = 0.5 }
service  = { distribution = "exponential", mean = 1.0 }
priority = 1
"""


PROGRESS = "compiling the simulator"  # what the first simulation on a machine says


@dataclass
class Done:
    """What one command line left behind."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of stderr."""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        return self.err[:-1]


@pytest.fixture
def qmodel(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run `qmodel` with these words."""

    def command(*words: object) -> Done:
        capsys.readouterr()
        code = run([str(word) for word in words])
        seen = capsys.readouterr()
        messages = [line for line in seen.err.splitlines(keepends=True) if not line.startswith(PROGRESS)]
        return Done(code, seen.out, "".join(messages))

    return command


@pytest.fixture
def refused(qmodel: Callable[..., Done]) -> Callable[..., str]:
    """Run words that must be refused: exit code 2, nothing on stdout, one line on stderr, which it returns."""

    def command(*words: object) -> str:
        done = qmodel(*words)
        assert (done.code, done.out) == (2, ""), (done.code, done.out, done.err)
        assert "Traceback" not in done.err and "internal fault" not in done.err
        return done.line

    return command


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two scenarios."""
    (tmp_path / "one.toml").write_text(ONE)
    (tmp_path / "two.toml").write_text(TWO)
    monkeypatch.chdir(tmp_path)
    return tmp_path
