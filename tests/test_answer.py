"""The answer: the JSON contract, the way back, the tidy table."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

import qmodel
from qmodel.answer import (
    SCHEMA,
    Answer,
    ClassAnswer,
    NotAnalysable,
    PolicyAnswer,
    percentile_name,
    unstable,
)
from qmodel.errors import InputError


def answer() -> Answer:
    every = ClassAnswer(
        "all",
        0.8,
        {"mean_response_s": 2.5, "p99_response_s": 9.0, "mean_slowdown": math.inf, "attainment": None},
        {"p99_response_s": "simulation"},
        {"p99_response_s": (8.5, 9.5), "mean_slowdown": (1.0, math.inf)},
    )
    chat = ClassAnswer("chat", np.float64(0.8), {"mean_response_s": np.float64(2.5)})
    result = PolicyAnswer(
        "srpt", 0.8, "exact", "SRPT", 0.8, [every, chat], "Schrage & Miller 1966", ["Poisson arrivals"]
    )
    return Answer("f" * 64, [result])


class TestJson:
    def test_the_contract(self) -> None:
        assert json.loads(answer().to_json()) == {
            "schema": "qmodel.answer/1",
            "scenario": "f" * 64,
            "qmodel": qmodel.__version__,
            "results": [
                {
                    "policy": "srpt",
                    "rate": 0.8,
                    "method": "exact",
                    "result": "SRPT",
                    "source": "Schrage & Miller 1966",
                    "assumptions": ["Poisson arrivals"],
                    "stable": True,
                    "utilisation": 0.8,
                    "classes": [
                        {
                            "class": "all",
                            "arrival_rate": 0.8,
                            "mean_response_s": 2.5,
                            "p99_response_s": 9.0,
                            "mean_slowdown": None,
                            "attainment": None,
                            "methods": {"p99_response_s": "simulation"},
                            "ci95": {"p99_response_s": [8.5, 9.5], "mean_slowdown": [1.0, None]},
                        },
                        {"class": "chat", "arrival_rate": 0.8, "mean_response_s": 2.5},
                    ],
                }
            ],
        }

    def test_no_nan_ever(self) -> None:
        result = answer()
        result.results[0].utilisation = math.nan
        result.results[0].rate = math.inf
        result.results[0].classes[1].metrics["mean_wait_s"] = -math.inf
        text = result.to_json()

        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        read = json.loads(text, parse_constant=refuse)
        assert read["results"][0]["utilisation"] is None and read["results"][0]["rate"] is None

    def test_notes_and_run_stand_only_where_there_are_any(self) -> None:
        plain = answer()
        assert {"notes", "run"}.isdisjoint(plain.to_dict()["results"][0])
        plain.results[0].notes, plain.results[0].run = ["why"], {"seed": 1}
        assert plain.to_dict()["results"][0]["notes"] == ["why"]
        assert plain.to_dict()["results"][0]["run"] == {"seed": 1}

    def test_there_and_back(self) -> None:
        data = json.loads(answer().to_json())
        again = Answer.from_dict(data)
        assert again.to_dict() == data
        assert again["chat"] == ClassAnswer("chat", 0.8, {"mean_response_s": 2.5})
        assert math.isnan(again["all"].ci95["mean_slowdown"][1])

    @pytest.mark.parametrize(
        ("damage", "line"),
        [
            (
                lambda d: d.update(schema="qmodel.answer/9"),
                "old.json: schema 'qmodel.answer/9' is not qmodel.answer/1",
            ),
            (
                lambda d: d.pop("schema"),
                "old.json: schema None is not qmodel.answer/1; give a file written by qmodel",
            ),
            (lambda d: d.pop("results"), "old.json: is no whole answer: 'results'"),
            (lambda d: d["results"][0].pop("classes"), "old.json: is no whole answer: 'classes'"),
            (lambda d: d["results"][0].pop("policy"), "old.json: is no whole answer"),
            (lambda d: d["results"][0].update(colour="red"), "old.json: is no whole answer"),
            (lambda d: d.update(results=3), "old.json: is no whole answer"),
            (lambda d: d["results"][0]["classes"][0].pop("class"), "old.json: is no whole answer: 'class'"),
            (lambda d: d["results"][0]["classes"].append(3), "old.json: is no whole answer"),
        ],
    )
    def test_damaged_files(self, damage, line: str) -> None:
        data = json.loads(answer().to_json())
        damage(data)
        with pytest.raises(InputError) as caught:
            Answer.from_dict(data, "old.json")
        assert str(caught.value).startswith(line)

    def test_something_else_entirely(self) -> None:
        with pytest.raises(InputError, match="schema None is not"):
            Answer.from_dict([1, 2])  # type: ignore[arg-type]


class TestReading:
    def test_a_metric_is_an_attribute(self) -> None:
        assert answer()["all"].mean_response_s == 2.5 and answer()["all"].attainment is None
        with pytest.raises(AttributeError, match="no metric 'mean_colour'"):
            answer()["all"].mean_colour  # noqa: B018

    def test_classes_by_name(self) -> None:
        assert answer().results[0]["chat"].arrival_rate == 0.8
        with pytest.raises(KeyError):
            answer()["nobody"]

    def test_several_results_must_be_told_apart(self) -> None:
        two = Answer("f", answer().results * 2)
        with pytest.raises(KeyError, match=r"2 results; use answer\.results"):
            two["all"]

    def test_methods(self) -> None:
        result = answer().results[0]
        assert result.method_of("all", "p99_response_s") == "simulation"
        assert result.method_of("all", "mean_response_s") == result.method_of("chat", "p99_response_s") == "exact"

    def test_copies_and_pickles(self) -> None:
        assert copy.deepcopy(answer()) == answer() == pickle.loads(pickle.dumps(answer()))  # noqa: S301


def test_to_frame() -> None:
    frame = answer().to_frame()
    assert list(frame.columns) == ["policy", "rate", "class", "metric", "value", "low", "high", "method"]
    assert len(frame) == 5
    row = frame[(frame["class"] == "all") & (frame.metric == "p99_response_s")].iloc[0]
    assert (row["value"], row["low"], row["high"], row["method"]) == (9.0, 8.5, 9.5, "simulation")
    assert frame[frame.metric == "attainment"]["value"].isna().all()
    assert frame["low"].isna().sum() == 3


def test_an_empty_answer_is_an_empty_frame() -> None:
    assert Answer("f", []).to_frame().empty


@pytest.mark.parametrize(
    ("percent", "quantity", "name"),
    [
        (99, "response", "p99_response_s"),
        (50.0, "response", "p50_response_s"),
        (99.9, "ttft", "p99.9_ttft_s"),
        (99.99999, "response", "p99.99999_response_s"),
        (0.1, "response", "p0.1_response_s"),
    ],
)
def test_percentile_names(percent: float, quantity: str, name: str) -> None:
    assert percentile_name(percent, quantity) == name


def test_unstable() -> None:
    result = unstable("fcfs", 1.2, 1.2, {"chat": 0.8, "batch": 0.4})
    assert not result.stable and result.utilisation == 1.2
    assert [(c.name, c.arrival_rate) for c in result.classes] == [
        ("all", pytest.approx(1.2)),
        ("chat", 0.8),
        ("batch", 0.4),
    ]
    assert all(set(c.metrics.values()) == {None} and "mean_response_s" in c.metrics for c in result.classes)


def test_not_analysable_says_why_and_what_is_near() -> None:
    assert str(NotAnalysable("no result")) == "not analysable: no result"
    assert str(NotAnalysable("no result", "M/G/1")) == "not analysable: no result; nearest: M/G/1"


def test_the_schema_is_the_promised_one() -> None:
    assert SCHEMA == "qmodel.answer/1"
