"""Answers held against each other."""

from __future__ import annotations

import math

import pytest

from qmodel.answer import Answer, ClassAnswer, PolicyAnswer
from qmodel.compare import COLUMNS, compare
from qmodel.errors import InputError


def answer(policy: str = "fcfs", rate: float = 0.8, method: str = "exact", **classes: ClassAnswer) -> Answer:
    return Answer("f", [PolicyAnswer(policy, rate, method, "", 0.8, list(classes.values()))])


PREDICTED = answer(
    everything=ClassAnswer(
        "all",
        0.8,
        {"mean_response_s": 5.0, "p99_response_s": 23.0, "mean_wait_s": None},
        {"p99_response_s": "approximation"},
    ),
    chat=ClassAnswer("chat", 0.8, {"mean_response_s": 4.0, "p99_response_s": 20.0}),
)
MEASURED = answer(
    method="measured",
    everything=ClassAnswer(
        "all",
        0.8,
        {"mean_response_s": 4.0, "p99_response_s": 23.5, "mean_wait_s": 3.0, "attainment": 0.5},
        {},
        {"mean_response_s": (3.5, 4.5), "p99_response_s": (22.0, 25.0)},
    ),
    chat=ClassAnswer("chat", 0.8, {"mean_response_s": 4.0}, {}, {"mean_response_s": (4.0, 4.2)}),
    other=ClassAnswer("other", 0.1, {"mean_response_s": 1.0}),
)


def test_rows_are_what_both_have() -> None:
    frame = compare(PREDICTED, MEASURED).frame
    assert tuple(frame.columns) == tuple(COLUMNS)
    assert list(zip(frame["class"], frame.metric, strict=True)) == [
        ("all", "mean_response_s"),
        ("all", "p99_response_s"),
        ("chat", "mean_response_s"),
    ]


def test_values_errors_and_verdicts() -> None:
    first, second, third = (row for _, row in compare(PREDICTED, MEASURED).frame.iterrows())
    assert (first.predicted, first.measured, first.low, first.high) == (5.0, 4.0, 3.5, 4.5)
    assert first.relative_error == 0.25 and first.inside is False
    assert (first.predicted_method, first.measured_method) == ("exact", "measured")
    assert second.predicted_method == "approximation" and second.inside is True
    assert second.relative_error == pytest.approx(23.0 / 23.5 - 1)
    assert third.inside is True  # the ends belong to the interval


def test_share_inside() -> None:
    comparison = compare(PREDICTED, MEASURED)
    assert comparison.share_inside() == pytest.approx(2 / 3)
    assert comparison.share_inside("mean_response_s") == 0.5
    assert comparison.share_inside("p99_response_s") == 1.0
    assert math.isnan(comparison.share_inside("p50_response_s"))


def test_without_an_interval_there_is_no_verdict() -> None:
    measured = answer(everything=ClassAnswer("all", 0.8, {"mean_response_s": 0.0}))
    row = compare(PREDICTED, measured).frame.iloc[0]
    assert row.inside is None and math.isnan(row.relative_error) and math.isnan(row.low)
    assert math.isnan(compare(PREDICTED, measured).share_inside())


def test_other_metrics_by_name() -> None:
    predicted = answer(everything=ClassAnswer("all", 0.8, {"attainment": 0.6}))
    frame = compare(predicted, MEASURED, ["attainment"]).frame
    assert list(frame.metric) == ["attainment"] and frame.relative_error[0] == pytest.approx(0.2)


def test_rates_match_within_rounding() -> None:
    measured = Answer("f", MEASURED.results)
    measured.results[0].rate = 0.8 * (1 + 1e-9)
    assert len(compare(PREDICTED, measured).frame) == 3


@pytest.mark.parametrize("other", [answer("ps"), answer(rate=0.9), Answer("f", [])])
def test_nothing_in_common(other: Answer) -> None:
    with pytest.raises(InputError, match="compare: no policy and rate is in both answers"):
        compare(PREDICTED, other)


def test_it_prints_itself() -> None:
    text = str(compare(PREDICTED, MEASURED))
    assert text.count("\n") == 3 and "mean_response_s" in text and "0.25" in text
