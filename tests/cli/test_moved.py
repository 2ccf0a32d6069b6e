"""`qmodel predict --sensitivity`."""

from __future__ import annotations

import json

import pytest

from qmodel.cli.moved import moved_lines
from qmodel.predict import Asking
from qmodel.scenario import Scenario
from qmodel.sensitivity import sensitivity
from qmodel.workload import Exponential, Poisson, RequestClass

INLINE = ("predict", "--arrivals", "poisson:0.5", "--service", "exponential:1", "--sensitivity")


def test_the_table(qmodel) -> None:
    out = qmodel(*INLINE, "--percentiles", "95").out
    assert "how it moves, in s" in out and "services longer or shorter by 5%" in out
    row = next(line.split() for line in out.splitlines() if line.startswith("mean "))
    assert row[0] == "mean" and row[-2:] == ["+1.00%", "+2.00%"] and float(row[1]) == 2.0
    assert max(map(len, out.split("how it moves")[1].splitlines())) <= 80


def test_json(qmodel) -> None:
    result = json.loads(qmodel(*INLINE, "--json", "--policy", "fcfs,srpt").out)["results"][0]
    moved = result["run"]["sensitivity"]["moved"]
    assert moved[0]["metric"] == "mean_response_s" and moved[0]["by_rate"] == pytest.approx(1.0, rel=1e-4)


def test_an_unstable_queue_does_not_move(qmodel) -> None:
    done = qmodel("predict", "--arrivals", "poisson:1.5", "--service", "exponential:1", "--sensitivity")
    assert done.code == 2 and "how it moves" not in done.out


def test_classes_and_their_slo() -> None:
    classes = [
        RequestClass("first", Poisson(0.4), service=Exponential(1.0), slo={"response_s": 2.0}),
        RequestClass("second", Poisson(0.5), service=Exponential(1.0)),
    ]
    lines = list(moved_lines(sensitivity(Scenario(classes), asking=Asking(percentiles=()))))
    assert any("unstable with probability" in line for line in lines)
    assert lines[-1] == "class first, mean_response_s is missed first" and "up to 0." in lines[-2]
    assert [line.split()[0] for line in lines if line.startswith(("first", "second"))] == ["first", "second"]
    loose = [RequestClass("a", Poisson(0.4), service=Exponential(1.0), slo={"response_s": 1e6})]
    assert (
        list(moved_lines(sensitivity(Scenario(loose), asking=Asking(percentiles=()))))[-1] == "stability ends there"
    )
