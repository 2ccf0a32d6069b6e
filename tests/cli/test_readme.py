"""The README's examples, run: what it prints is what comes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from qmodel.scenario_file import read_scenario

TEXT = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def of(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def rounded(text: str) -> list[str]:
    """Without the digits of estimated errors, which better inversions change."""
    return re.sub(r"in probability of \S+", "in probability of", text).strip().splitlines()


def test_the_first_what_if(qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (shown,) = (text for text in of("") if text.startswith("$ qmodel predict"))
    line, _, answer = shown.partition("\n")
    done = qmodel(*shlex.split(line)[2:])
    assert done.code == 0
    assert rounded(done.out) == rounded(answer)


def test_a_policy_of_five_lines(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = of("python")
    exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
    mean, method = capsys.readouterr().out.split()
    assert (float(mean), method) == (pytest.approx(2.1865, abs=1e-4), "exact")  # SRPT, as in the table above it


def test_a_language_model_server(qmodel, tmp_path: Path) -> None:
    path = tmp_path / "lm.toml"
    path.write_text(of("toml")[0])
    done = qmodel("predict", path, "--percentiles", "99", "--requests", "20000")
    assert done.code == 0
    assert "times to first token" in done.out and "times per output token" in done.out


def test_two_classes_and_fewer_steps(qmodel, tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "measurements" / "amd-epyc-2-cores" / "digits-diffusion.model.json"
    path = tmp_path / "two.toml"
    path.write_text(of("toml")[1])
    (tmp_path / "model.json").write_bytes(model.read_bytes())
    done = qmodel("predict", path, "--percentiles", "95", "--requests", "20000")
    rows = [line.split() for line in done.out.splitlines()]
    assert done.code == 0
    assert [row[0] for row in rows if row[:1] in (["preview"], ["gallery"])] == ["preview", "gallery"]
    assert read_scenario(path).transforms


def test_every_file_that_is_linked_is_there() -> None:
    root = Path(__file__).parents[2]
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links and all((root / link).exists() for link in links)
