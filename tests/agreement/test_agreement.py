"""Every exact answer of theory inside the simulation's 95 % interval, misses counted against the expected 5 %."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import pytest

from tests.agreement.cases import Case, grid, odd, small_grid
from tests.agreement.judging import Verdict, by_metric, judge, most_outside

QUICK_ODD = ("GI/G/1, arrivals of scv 0.5, erlang", "MAP/M/3, 0.7", "M/H2/2, 0.5", "jsq to 2, 0.5", "closed, 3",
             "vacation_s, exponential, 0.3", "setup_s, hyperexponential, 0.3", "M/M/3 + M, 0.7", "M/M/3/6, 0.7",
             "pauses, 0.3", "two stations, 0.3", "round robin to 2, 0.5", "environment, 0.3",
             "batches of 2 to 8, 1.0/s")  # fmt: skip


def judged(cases: Iterable[Case], longest: int) -> list[Verdict]:
    """The verdicts on all cases; each has its own seed."""
    found = []
    for case in cases:
        verdicts = judge(case, zlib.crc32(case[0].encode()), requests=40_000, longest=longest)
        found += [] if isinstance(verdicts, str) else verdicts
    return found


def check(found: list[Verdict]) -> None:
    """No metric misses more often than chance explains, and no number is far out."""
    for metric, verdicts in by_metric(found).items():
        outside = [str(verdict) for verdict in verdicts if not verdict.inside]
        assert len(outside) <= most_outside(len(verdicts)), (metric, outside)
    means = [v for v in found if v.metric in ("mean_response_s", "mean_wait_s", "p50_response_s")]
    assert [str(v) for v in means if v.errors > 2.5] == []


def test_the_bound_lets_chance_pass_and_little_more() -> None:
    """Binomial(100, 0.05): 13 or more misses have probability 0.0015, 12 and more 0.0043."""
    assert most_outside(100) == 13
    assert most_outside(20) == 5


def test_a_wrong_answer_would_be_found() -> None:
    """The mean of M/M/1 2 % off, at ten seeds."""
    case = next(case for case in grid((0.5,)) if case[0] == "fcfs, exponential, 0.5")
    found = [judge(case, seed, requests=400_000)[0] for seed in range(10)]
    assert all(isinstance(verdict, Verdict) and verdict.exact == pytest.approx(2.0) for verdict in found)
    out = sum(not verdict.low <= 2.0 * 1.02 <= verdict.high for verdict in found)  # type: ignore[union-attr]
    assert out > most_outside(10)


def test_policies_and_laws() -> None:
    found = judged(small_grid(), longest=200_000)
    assert len(by_metric(found)["mean_response_s"]) >= 34
    check(found)


def test_what_is_out_of_the_ordinary() -> None:
    cases = [case for case in odd() if case[0] in QUICK_ODD]
    assert len(cases) == len(QUICK_ODD)
    found = judged(cases, longest=200_000)
    assert {verdict.case for verdict in found} == set(QUICK_ODD)
    check(found)


@pytest.mark.slow
def test_the_whole_grid() -> None:
    found = judged(grid((0.1, 0.3, 0.5, 0.7, 0.8)), longest=3_200_000)
    assert len(by_metric(found)["mean_response_s"]) > 700
    check(found)


@pytest.mark.slow
def test_everything_out_of_the_ordinary() -> None:
    found = judged(odd(), longest=3_200_000)
    assert len(by_metric(found)["mean_response_s"]) > 110
    check(found)
