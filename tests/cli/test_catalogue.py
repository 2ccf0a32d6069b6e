"""`qmodel catalogue`: the list, a row explained, a row run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_the_list_has_38_lines_of_at_most_80_characters(qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = qmodel("catalogue")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 38 and max(map(len, lines)) <= 80
    assert lines[27].split()[:3] == ["R28", "vllm", "approximation"]


def test_a_row_explained(qmodel) -> None:
    done = qmodel("catalogue", "R19")
    assert done.code == 0 and "Mitzenmacher" in done.out and 'preset = "sprpt"' in done.out
    assert "unchecked: " in qmodel("catalogue", "niyama").out
    assert "missing: " in qmodel("catalogue", "learned-os").out


def test_its_file_alone_is_a_scenario(qmodel, tmp_path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(qmodel("catalogue", "cdmpp", "--toml").out)
    assert qmodel("predict", file, "--set", "class.jobs.arrivals.rate=0.5").code == 0


def test_running_a_row(qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = qmodel("catalogue", "hiddenkey", "--run")
    assert done.code == 0 and "accepted, 2 of 2 checks met" in done.out
    assert "idea against baseline" in done.out and max(map(len, done.out.splitlines())) <= 80


def test_running_on_the_users_system(qmodel) -> None:
    done = qmodel("catalogue", "hiddenkey", "--run", "--set", "class.jobs.arrivals.rate=0.0001")
    assert done.code == 0 and "not judged on another" in done.out


def test_running_on_the_users_model(qmodel) -> None:
    model = Path(__file__).parents[2] / "measurements" / "amd-epyc-2-cores" / "digits-diffusion.model.json"
    done = qmodel("catalogue", "cdmpp", "--run", "--model", model)
    assert done.code == 0 and "your model: 1 s of the row is" in done.out


def test_json(qmodel) -> None:
    data = json.loads(qmodel("catalogue", "cdmpp", "--run", "--json").out)
    assert data["row"] == "R14" and data["accepted"] is True


def test_an_acceptance_not_met_is_exit_code_3(qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmodel.catalogue.checks import true
    from qmodel.catalogue.rows import hiddenkey

    row = hiddenkey.ROW
    object.__setattr__(row, "accept", lambda case: [true("no", False)])
    try:
        done = qmodel("catalogue", "hiddenkey", "--run")
    finally:
        object.__setattr__(row, "accept", hiddenkey.accept)
    assert done.code == 3 and "NOT MET: no" in done.out and "NOT ACCEPTED" in done.out


def test_all_rows_run_one_line_each(qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmodel import catalogue
    from qmodel.catalogue import find

    monkeypatch.setattr(catalogue, "all_rows", lambda: [find("cdmpp"), find("hiddenkey")])
    done = qmodel("catalogue", "--run")
    assert done.code == 0 and [line.split()[0] for line in done.out.splitlines()] == ["R14", "R13"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "is unknown"),
        (["--toml"], "needs a name"),
        (["vllm", "--json"], "without one"),
        (["cdmpp", "--run", "--set", "class.nobody.rate=1"], "there is no 'nobody'"),
        (["cdmpp", "--run", "--model", "none.json"], "none.json"),
    ],
)
def test_bad_input(refused, words: list[str], says: str) -> None:
    assert says in refused("catalogue", *words)


@pytest.mark.parametrize("name", ["conveyor", "learned-os", "drift", "ml-energy", "vllm"])
def test_a_row_explained_fits_80_columns(qmodel, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = qmodel("catalogue", name)
    assert done.code == 0 and max(map(len, done.out.splitlines())) <= 80
