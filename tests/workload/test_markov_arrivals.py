"""Markov-driven arrivals: closed forms, sampled paths, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.workload import Closed, Map, Mmpp, Piecewise, Poisson, Renewal
from qmodel.workload.grammar import arrivals_from_table, arrivals_to_table, parse_arrivals
from qmodel.workload.markov_path import walk
from qmodel.workload.superposition import as_matrices, superposed

BURSTY = Mmpp(rates=(3.0, 0.5), generator=((-0.1, 0.1), (0.3, -0.3)))
THREE = Mmpp((0.0, 2.0, 9.0), ((-1.0, 0.5, 0.5), (0.2, -0.3, 0.1), (0.0, 2.0, -2.0)))
ERLANG = Map(((-6.0, 6.0, 0.0), (0.0, -6.0, 6.0), (0.0, 0.0, -6.0)), ((0, 0, 0), (0, 0, 0), (6.0, 0, 0)))
CORRELATED = Map(((-2.0, 0.1), (0.1, -0.4)), ((1.9, 0.0), (0.0, 0.3)))
RENEWING = Map(((-4.0, 0.0), (0.0, -0.5)), ((3.2, 0.8), (0.4, 0.1)))  # hyperexponential gaps: P(first) = 0.8
EVERY = pytest.mark.parametrize("process", [BURSTY, THREE, ERLANG, CORRELATED, RENEWING], ids=range(5))


def test_one_state_is_poisson() -> None:
    one = Mmpp((2.0,), ((0.0,),))
    assert one.is_poisson and one.rate == 2.0 and one.scv == pytest.approx(1.0)
    assert one.index_of_dispersion() == pytest.approx(1.0) == one.index_of_dispersion(0.3)
    assert one.lag_correlation(1) == pytest.approx(0.0, abs=1e-12)
    assert Mmpp((2.0, 2.0), ((-1.0, 1.0), (5.0, -5.0))).is_poisson and not BURSTY.is_poisson


def test_two_state_closed_forms() -> None:
    """Fischer & Meier-Hellstern (1993): rate, and dispersion of counts over any horizon."""
    (fast, slow), (leave, back) = BURSTY.rates, (0.1, 0.3)
    total = leave + back
    rate = (fast * back + slow * leave) / total
    assert BURSTY.rate == pytest.approx(rate, rel=1e-14)
    excess = 2 * leave * back * (fast - slow) ** 2 / (total**3 * rate)
    for t in (0.1, 3.0, 50.0):
        expected = 1 + excess * (1 - (1 - math.exp(-total * t)) / (total * t))
        assert BURSTY.index_of_dispersion(t) == pytest.approx(expected, rel=1e-10)
    assert BURSTY.index_of_dispersion() == pytest.approx(1 + excess, rel=1e-12)


def test_renewal_special_cases() -> None:
    assert ERLANG.gap_moments(3) == pytest.approx([0.5, 1 / 3, 60 / 216], rel=1e-12)
    law = 0.8 / 4.0 + 0.2 / 0.5, 2 * (0.8 / 16.0 + 0.2 / 0.25)
    assert RENEWING.gap_moments(2) == pytest.approx(law, rel=1e-12)
    for lag in (1, 5):
        assert RENEWING.lag_correlation(lag) == pytest.approx(0.0, abs=1e-12)
    assert RENEWING.index_of_dispersion() == pytest.approx(RENEWING.scv, rel=1e-10)
    assert RENEWING.lag_correlation(0) == 1.0


@EVERY
def test_paths_have_the_rate_the_moments_and_the_correlations(process: Map) -> None:
    times = process.times(np.random.default_rng(1), 60_000.0 / process.rate)
    gaps = np.diff(times)
    assert (gaps > 0).all() and times[0] >= 0 and times[-1] < 60_000.0 / process.rate
    blocks = gaps[: gaps.size // 60 * 60].reshape(60, -1)
    for power in (1, 2):
        means = (blocks**power).mean(axis=1)
        error = means.std() / math.sqrt(60)
        assert error < 0.12 * means.mean()
        assert abs(means.mean() - process.gap_moments(power)[-1]) < 4 * error
    first, second = process.gap_moments(2)
    for lag in (1, 3):
        products = ((gaps[:-lag] - first) * (gaps[lag:] - first))[: 60 * 900].reshape(60, -1).mean(axis=1)
        error = products.std() / math.sqrt(60)
        assert abs(products.mean() - process.lag_correlation(lag) * (second - first**2)) < 4 * error


@EVERY
def test_stationary_from_the_start(process: Map) -> None:
    rng = np.random.default_rng(2)
    horizon = 3.0 / process.rate
    counts = np.array([process.times(rng, horizon).size for _ in range(4000)])
    error = counts.std() / math.sqrt(counts.size)
    assert error < 0.1 and abs(counts.mean() - 3.0) < 4 * error
    # Var of a sample variance: (kurtosis - 1)/n relative to its square
    kurtosis = ((counts - counts.mean()) ** 4).mean() / counts.var() ** 2
    spread = 4 * counts.var() * math.sqrt((kurtosis - 1) / counts.size)
    assert abs(counts.var() - 3.0 * process.index_of_dispersion(horizon)) < spread


@EVERY
def test_another_rate_is_another_unit_of_time(process: Map) -> None:
    fast = process.at_rate(5.0 * process.rate)
    assert fast.rate == pytest.approx(5.0 * process.rate, rel=1e-12)
    assert fast.scv == pytest.approx(process.scv, rel=1e-9)
    slow, quick = (p.times(np.random.default_rng(3), 400.0 / p.rate) for p in (process, fast))
    assert quick * 5.0 == pytest.approx(slow, rel=1e-9)


def test_the_path_as_compiled_is_the_path_as_written() -> None:
    d0, d1 = THREE.matrices
    leave = -np.diag(d0)
    cumulative = np.cumsum(np.hstack((d0 + np.diag(leave), d1)), axis=1) / leave[:, None]
    rng = np.random.default_rng(4)
    clocks, choices = rng.standard_exponential(500), rng.random(500)
    for horizon in (20.0, 1e9):
        found = []
        for walking in (walk, walk.py_func):
            out = np.zeros(500)
            found.append((walking(0, 0.0, horizon, leave, cumulative, clocks, choices, out), out.tolist()))
        assert found[0] == found[1] and found[0][0][2] > 10


def test_likelihood() -> None:
    gaps = np.array([0.3, 1.0, 0.01, 2.5])
    assert Mmpp((2.0,), ((0.0,),)).log_likelihood(gaps) == pytest.approx(4 * math.log(2) - 2 * gaps.sum())
    density = 0.8 * 4 * np.exp(-4 * gaps) + 0.2 * 0.5 * np.exp(-0.5 * gaps)
    assert RENEWING.log_likelihood(gaps) == pytest.approx(np.log(density).sum(), rel=1e-12)
    assert ERLANG.log_likelihood([0.0]) == -math.inf
    many = CORRELATED.times(np.random.default_rng(5), 6000.0)
    own, other = (p.log_likelihood(np.diff(many)) for p in (CORRELATED, RENEWING.at_rate(CORRELATED.rate)))
    assert own > other


def test_superposition() -> None:
    streams = [as_matrices(p) for p in (BURSTY, Poisson(1.5), Renewal(2.0, 0.5))]
    both = superposed([s for s in streams if s is not None])
    assert len(both.d0) == 4 and both.generator.sum(axis=1) == pytest.approx(np.zeros(4), abs=1e-12)
    rates = [float((both.phases @ marked).sum()) for marked in both.marked]
    assert rates == pytest.approx([BURSTY.rate, 1.5, 2.0], rel=1e-12)
    whole = Map(tuple(map(tuple, both.d0)), tuple(map(tuple, sum(both.marked))))
    parts = [(p.rate, p.index_of_dispersion()) for p in (BURSTY, Map(*map(_rows, streams[2])))]
    expected = (sum(rate * i for rate, i in parts) + 1.5) / whole.rate
    assert whole.index_of_dispersion() == pytest.approx(expected, rel=1e-10)
    assert as_matrices(Renewal(1.0, 0.3)) is None and as_matrices(Renewal(1.0, 0.001)) is None


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


DAY = Piecewise((0.0, 10.0, 25.0), (1.0, 0.0, 4.0), period_s=30.0)


def test_piecewise() -> None:
    assert DAY.rate == pytest.approx(1.0) and DAY.expected(41.0) == pytest.approx(40.0)
    rng = np.random.default_rng(7)
    counts = np.array([np.histogram(DAY.times(rng, 65.0), [0, 10, 25, 30, 40, 55, 60, 65])[0] for _ in range(3000)])
    expected = np.array([10.0, 0.0, 20.0, 10.0, 0.0, 20.0, 5.0])
    error = np.sqrt(expected / 3000)
    assert (np.abs(counts.mean(axis=0) - expected) <= 4 * error).all()
    assert np.abs(counts.var(axis=0) - expected).max() < 4 * 20 * math.sqrt(2.1 / 3000)
    assert DAY.at_rate(3.0).rates == pytest.approx((3.0, 0.0, 12.0)) and not DAY.is_poisson
    once = Piecewise((0.0, 5.0), (3.0, 2.0))
    assert once.rate == 2.0 and once.expected(7.0) == pytest.approx(19.0)
    times = once.times(np.random.default_rng(8), 7.0)
    assert (np.diff(times) >= 0).all() and times[-1] < 7.0 and DAY.feature == "piecewise"


def test_closed() -> None:
    assert Closed(4).rate == math.inf and Closed(4, 2.0).rate == 2.0 and Closed(4).feature == "closed"
    for call in (lambda: Closed(4).times(np.random.default_rng(1), 1.0), lambda: Closed(4).at_rate(1.0)):
        with pytest.raises(InputError):
            call()


@pytest.mark.parametrize(
    "process", [BURSTY, CORRELATED, DAY, Piecewise((0.0,), (2.0,)), Closed(5, 1.5)], ids=range(5)
)
def test_tables_round_trip(process: Map, tmp_path) -> None:
    table = arrivals_to_table(process)
    assert arrivals_from_table(json.loads(json.dumps(table)), "here") == process
    kind = table.pop("process")
    if kind == "closed":
        assert parse_arrivals("closed:5,1.5") == process
        return
    (tmp_path / "a.json").write_text(json.dumps(table), encoding="utf-8")
    assert parse_arrivals(f"{kind}:a.json", tmp_path) == process
    assert arrivals_from_table({"process": kind, "file": "a.json"}, "here", tmp_path) == process


GOOD = [[-1.0, 1.0], [1.0, -1.0]]
BAD = {
    "no rates": ({"process": "mmpp", "rates": [], "generator": GOOD}, "rates: is empty"),
    "negative rate": ({"process": "mmpp", "rates": [-1.0, 2.0], "generator": GOOD}, "rates: must be >= 0"),
    "no arrivals": ({"process": "mmpp", "rates": [0, 0], "generator": GOOD}, "not all 0"),
    "shape": ({"process": "mmpp", "rates": [1.0, 2.0, 3.0], "generator": GOOD}, "generator: is not 3 by 3"),
    "ragged": ({"process": "mmpp", "rates": [1.0, 2.0], "generator": [[1.0], [1.0, 2.0]]}, "no table of numbers"),
    "flat": ({"process": "mmpp", "rates": [1.0, 2.0], "generator": [1.0, 2.0]}, "no table of numbers"),
    "rows": ({"process": "mmpp", "rates": [1.0, 2.0], "generator": [[-1.0, 2.0], [1.0, -1.0]]}, "sum to 0"),
    "negative move": ({"process": "map", "d0": [[1.0, -1.0], [1.0, -1.0]], "d1": [[0, 0], [1, 0]]}, "negative"),
    "trap": (
        {"process": "mmpp", "rates": [1, 2], "generator": [[-1.0, 1.0], [0.0, 0.0]]},
        "is never entered",
    ),
    "d1": ({"process": "map", "d0": GOOD, "d1": [[0.0, 0.0], [-1.0, 0.0]]}, "d1: must be >= 0"),
    "map sums": ({"process": "map", "d0": GOOD, "d1": [[1.0, 0.0], [0.0, 0.0]]}, "sum to 0"),
    "unknown": ({"process": "mmpp", "rates": [1.0], "generator": [[0.0]], "d0": 1}, "d0: is not known"),
    "missing": ({"process": "map", "d0": GOOD}, "d1: is missing"),
    "text": ({"process": "map", "d0": [["a"]], "d1": [[1.0]]}, "d0.0.0: 'a' is not a number"),
    "nan": ({"process": "mmpp", "rates": [math.nan, 1.0], "generator": GOOD}, "no finite numbers"),
    "huge": (
        {"process": "mmpp", "rates": [1.0] * 201, "generator": np.zeros((201, 201)).tolist()},
        "more than 200",
    ),
    "times": ({"process": "piecewise", "times_s": [0.0, 1.0], "rates": [1.0]}, "one rate per time"),
    "order": ({"process": "piecewise", "times_s": [1.0, 0.0], "rates": [1.0, 1.0]}, "must increase from 0"),
    "rate": ({"process": "piecewise", "times_s": [0.0], "rates": [-1.0]}, "must be >= 0"),
    "period": ({"process": "piecewise", "times_s": [0.0, 2.0], "rates": [1, 1], "period_s": 2.0}, "after the last"),
    "silence": ({"process": "piecewise", "times_s": [0.0, 2.0], "rates": [1.0, 0.0]}, "no request comes after"),
    "users": ({"process": "closed", "population": 1.5}, "no number of users"),
    "thinking": ({"process": "closed", "population": 2, "think_s": -1.0}, "think_s: -1.0 is no time"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(name: str) -> None:
    table, expected = BAD[name]
    with pytest.raises(InputError) as caught:
        arrivals_from_table(table, "here")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "content", "expected"),
    [
        ("mmpp:", "", "needs a file"),
        ("mmpp:none.json", "", "No such file"),
        ("mmpp:a.json", "{", "is no JSON"),
        ("mmpp:a.json", "[1]", "holds no table"),
        ("mmpp:a.json", '{"rates": [1.0]}', "generator: is missing"),
        ("closed:4", "", "closed:POPULATION,THINK_S"),
        ("closed:a,b", "", "closed:POPULATION,THINK_S"),
        ("mmp:a", "", "did you mean 'mmpp'?"),
    ],
)
def test_bad_lines(text: str, content: str, expected: str, tmp_path) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        parse_arrivals(text, tmp_path)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
