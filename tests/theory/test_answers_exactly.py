"""What answers put together: names, sums, shares, and chains of several bursty streams."""

from __future__ import annotations

import pytest

from qmodel.answer import ClassAnswer
from qmodel.theory.premises import MOST_PHASES, driven
from qmodel.theory.result import _named, completed_share, summed, weighted
from qmodel.theory.supply import stream
from qmodel.workload import Poisson
from qmodel.workload.markov_arrivals import Map

ERLANG = Map(d0=((-2.0, 2.0), (0.0, -2.0)), d1=((0.0, 0.0), (2.0, 0.0)))


def test_eight_names_are_told_and_the_number_of_others():
    names = [f"c{k}" for k in range(10)]
    assert _named(names[:8]) == "c0, c1, c2, c3, c4, c5, c6, c7"
    assert _named(names) == "c0, c1, c2, c3, c4, c5, c6, c7 and 2 more"


def answers(*values, **others):
    return [
        ClassAnswer(f"c{k}", arrival_rate=1.0 + k, metrics={"mean_wait_s": value, **others})
        for k, value in enumerate(values)
    ]


def test_sums_and_means_need_all_classes():
    assert summed(answers(1.0, 2.5), "mean_wait_s") == 3.5
    assert summed(answers(1.0, None), "mean_wait_s") is None
    assert weighted(answers(1.0, 4.0), "mean_wait_s") == pytest.approx(3.0)
    assert weighted(answers(1.0, None), "mean_wait_s") is None


def test_who_neither_leaves_nor_is_rejected_is_served():
    assert completed_share({"abandoned_share": 0.1, "rejected_share": 0.2}) == pytest.approx(0.7)
    assert completed_share({"abandoned_share": None}) == 1.0


def test_streams_together_are_followed_up_to_128_phases():
    assert MOST_PHASES == 2**7
    found = driven([ERLANG] * 7 + [Poisson(1.0)])
    assert len(found.d0) == 128
    assert driven([ERLANG] * 8) is None


def test_nobody_is_a_stream_without_requests():
    assert stream([]) == (0.0, None)
