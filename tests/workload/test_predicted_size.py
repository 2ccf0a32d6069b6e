"""Laws of the predicted size: what is refused, what is drawn, and how it is spelled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.workload import Discrete, Exponential, Lognormal, PredictedSize
from qmodel.workload.truncated import Truncated

PAIRS = {"sizes_s": (1.0, 2.0, 2.0, 3.0), "predictions_s": (1.5, 2.5, 1.0, 9.0)}
EVERY = [
    PredictedSize("none"),
    PredictedSize("exact"),
    PredictedSize("exponential"),
    PredictedSize("lognormal", scv=0.5),
    PredictedSize("correlated", correlation=0.6),
    PredictedSize("one-bit", threshold=1.0, accuracy=0.8),
    PredictedSize("file", **PAIRS),
]


@pytest.mark.parametrize("law", EVERY, ids=lambda law: law.error)
def test_the_table_says_it_all(law):
    assert PredictedSize(**law.to_table()) == law


def test_old_spellings_are_as_they_were():
    assert PredictedSize().to_table() == {"error": "exact", "scv": 0.0}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"error": "psychic"}, "predicted_size, error: 'psychic' is unknown"),
        ({"error": "lognormal"}, "predicted_size, scv: 0.0 is not a positive number"),
        ({"error": "correlated", "correlation": -1.0}, "predicted_size, correlation: -1.0 is out of range"),
        ({"error": "correlated", "correlation": math.nan}, "predicted_size, correlation: nan is out of range"),
        ({"error": "one-bit", "threshold": 0.0}, "predicted_size, threshold: 0.0 is not a positive number"),
        ({"error": "one-bit", "threshold": 1.0, "accuracy": 0.4}, "predicted_size, accuracy: 0.4 is out of range"),
        ({"error": "file"}, "predicted_size, file: holds no pairs"),
        ({"error": "file", "sizes_s": (1.0,), "predictions_s": ()}, "predicted_size, file: holds no pairs"),
        ({"error": "file", "sizes_s": (1.0,), "predictions_s": (-1.0,)}, "holds a value that is no number >= 0"),
    ],
)
def test_refused(options, line):
    with pytest.raises(InputError) as caught:
        PredictedSize(**options)
    assert line in str(caught.value)


def drawn(law, sizes, of, seed=1):
    return law.draw(sizes, of, np.random.default_rng(seed))


def test_exact_none_and_factors():
    of = Exponential(1.0)
    sizes = of.sample(np.random.default_rng(0), 100_000)
    assert drawn(PredictedSize("exact"), sizes, of) is sizes
    assert np.isnan(drawn(PredictedSize("none"), sizes, of)).all()
    exponential, lognormal = (drawn(law, sizes, of) / sizes for law in EVERY[2:4])
    assert exponential.mean() == pytest.approx(1.0, abs=0.02) and exponential.var() == pytest.approx(1.0, abs=0.05)
    assert lognormal.mean() == pytest.approx(1.0, abs=0.02) and lognormal.var() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("of", [Exponential(2.0), Lognormal(1.0, 2.0)], ids=repr)
@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.7, 0.95])
def test_a_copula_has_the_rank_correlation_and_the_law(of, correlation):
    from scipy.stats import kstest, spearmanr

    sizes = of.sample(np.random.default_rng(0), 40_000)
    guesses = drawn(PredictedSize("correlated", correlation=correlation), sizes, of)
    assert spearmanr(sizes, guesses)[0] == pytest.approx(correlation, abs=0.02)
    assert kstest(guesses, of.cdf).pvalue > 1e-3


def test_full_correlation_is_exact_and_point_masses_keep_their_law():
    of = Discrete((1.0, 2.0, 5.0), (0.3, 0.3, 0.4))
    sizes = of.sample(np.random.default_rng(0), 50_000)
    assert drawn(PredictedSize("correlated", correlation=1.0), sizes, of) is sizes
    guesses = drawn(PredictedSize("correlated", correlation=0.5), sizes, of)
    for value, p in of.atoms():
        assert (guesses == value).mean() == pytest.approx(p, abs=0.01)


@pytest.mark.parametrize("of", [Exponential(1.0), Discrete((0.5, 1.0, 4.0), (0.5, 0.2, 0.3))], ids=repr)
def test_one_bit_says_the_mean_size_given_the_guess(of):
    law = PredictedSize("one-bit", threshold=1.0, accuracy=0.8)
    sizes = of.sample(np.random.default_rng(0), 200_000)
    guesses = drawn(law, sizes, of)
    (short, p), (long, q) = law.guesses(of)
    assert set(guesses) == {short, long} and p + q == pytest.approx(1.0)
    assert (guesses == short).mean() == pytest.approx(p, abs=0.005)
    assert sizes[guesses == short].mean() == pytest.approx(short, rel=0.02)
    assert sizes[guesses == long].mean() == pytest.approx(long, rel=0.02)
    right = (guesses == short) == (sizes <= 1.0)
    assert right.mean() == pytest.approx(0.8, abs=0.005)


def test_a_perfect_bit_that_is_never_needed():
    law = PredictedSize("one-bit", threshold=9.0, accuracy=1.0)
    assert law.guesses(Discrete((1.0, 3.0), (0.5, 0.5))) == ((2.0, 1.0), (2.0, 0.0))


def test_measured_pairs_give_a_prediction_of_the_nearest_size():
    law = PredictedSize("file", **PAIRS)
    sizes = np.repeat([0.1, 1.4, 2.2, 2.6], 4000)
    guesses = drawn(law, sizes, Exponential(1.0)).reshape(4, 4000)
    assert set(guesses[0]) == set(guesses[1]) == {1.5} and set(guesses[3]) == {9.0}
    assert (guesses[2] == 2.5).mean() == pytest.approx(0.5, abs=0.03) and set(guesses[2]) == {1.0, 2.5}


def test_pairs_from_a_file(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("size,predicted\n1,1.5\n2,2.5\n2,1\n3,9\n")
    assert PredictedSize.from_csv(path) == PredictedSize("file", **PAIRS)
    path.write_text("size,predicted\n")
    with pytest.raises(InputError, match=r"pairs\.csv: holds no pairs"):
        PredictedSize.from_csv(path)
    path.write_text("size\n1\n")
    with pytest.raises(InputError, match="column predicted: is missing"):
        PredictedSize.from_csv(path)


class TestTruncated:
    @pytest.mark.parametrize(
        ("low", "high"), [(0.0, 1.0), (0.5, 2.0), (3.0, math.inf), (3.0, 4.0)], ids=lambda x: f"{x:g}"
    )
    @pytest.mark.parametrize("of", [Lognormal(1.0, 2.0), Discrete((0.5, 1.0, 4.0), (0.5, 0.2, 0.3))], ids=repr)
    def test_against_draws(self, of, low, high):
        from qmodel.workload.partial import partial_moment

        law = Truncated(of, low, high)
        rng = np.random.default_rng(3)
        kept = of.sample(rng, 400_000)
        kept = kept[(kept > low) & (kept <= high)]
        assert law.mean == pytest.approx(kept.mean(), rel=0.02)
        x = float(np.quantile(kept, 0.6))
        assert float(law.cdf(x)) == pytest.approx((kept <= x).mean(), abs=0.01)
        assert float(law.sf(x)) == pytest.approx(1.0 - float(law.cdf(x)), abs=1e-12)
        assert float(partial_moment(law, 1, x)) == pytest.approx((kept * (kept <= x)).mean(), rel=0.02)
        assert law.sample(rng, 50_000).mean() == pytest.approx(law.mean, rel=0.05)
        assert low <= law.support()[0] <= law.support()[1] <= high
        assert float(law.lst(1.0).real) == pytest.approx(np.exp(-kept).mean(), rel=0.01)

    def test_ends(self):
        law = Truncated(Exponential(1.0), 1.0, 2.0)
        assert law.cdf([0.5, 2.0, 3.0]).tolist() == [0.0, 1.0, 1.0] and law.sf([0.5, 2.0]).tolist() == [1.0, 0.0]
        assert law.pdf([0.5, 2.5]).tolist() == [0.0, 0.0] and float(law.pdf(1.5)) > 0
        assert float(law.quantile(0.0)) == pytest.approx(1.0) and float(law.quantile(1.0)) == pytest.approx(2.0)
        atoms = Truncated(Discrete((1.0, 2.0, 3.0), (0.2, 0.3, 0.5)), 1.0, 2.5).atoms()
        assert atoms == [(2.0, pytest.approx(1.0))]

    def test_nothing_left(self):
        with pytest.raises(InputError, match="no mass in"):
            Truncated(Discrete((1.0, 3.0), (0.5, 0.5)), 1.5, 2.5)
