"""Two-level designs: textbook numbers, aliases by algebra, planted effects inside their intervals."""

import itertools

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit import fit_measurements
from qmodel.fit.factorial import alias_classes, defining_words, lenth, roman, two_level
from qmodel.fit.table import Measurements

from .test_planted_truth import band, seeds


def measured(frame):
    names = tuple(n for n in frame if n != "latency_s")
    return Measurements(frame.astype(float), "latency_s", names)


def test_textbook_two_squared():
    """Jain (1991), table 17.3: q0 = 40, qA = 20, qB = 10, qAB = 5, and 76, 19, 5 % of the variation."""
    frame = pd.DataFrame({"memory": [4, 16, 4, 16], "cache": [1, 1, 2, 2], "latency_s": [15, 45, 25, 75]})
    table = two_level(measured(frame), "none").table
    assert table["effect"].to_dict() == {"A": 20.0, "B": 10.0, "AB": 5.0}
    assert table["share"].round(4).to_dict() == {"A": 0.7619, "B": 0.1905, "AB": 0.0476}


def test_textbook_with_replicates():
    """Jain (1991), chapter 18: SSE = 102, 78.88, 15.40, 4.27 and 1.45 % of the variation."""
    y = [15, 18, 12, 45, 48, 51, 25, 28, 19, 75, 75, 81]
    frame = pd.DataFrame({"a": np.repeat([4, 16, 4, 16], 3), "b": np.repeat([1, 1, 2, 2], 3), "latency_s": y})
    found = two_level(measured(frame), "none")
    assert found.table["share"].round(4).to_dict() == {"A": 0.7888, "B": 0.1540, "AB": 0.0427}
    assert found.error_share == pytest.approx(0.0145, abs=5e-5)
    half = (found.table.loc["A", "high"] - found.table.loc["A", "low"]) / 2
    assert half == pytest.approx(2.306 * np.sqrt(102 / 8 / 12), rel=1e-3)
    assert "8 degrees of freedom" in found.method and "2^2 design, 3 replicates" in found.title


def fraction(k, generators):
    """Full design in the first factors, the others as signed products of them."""
    base = np.array(list(itertools.product((-1, 1), repeat=k)))
    extra = [sign * np.prod(base[:, list(word)], axis=1) for sign, word in generators]
    return np.column_stack([base, *extra])


def test_fraction_with_its_aliases():
    """2^(5-2) with D = AB, E = -AC: resolution III, I = ABD = -ACE = -BCDE."""
    signs = fraction(3, [(1, (0, 1)), (-1, (0, 2))])
    y = np.exp(0.3 * signs[:, 0] + 0.2 * signs[:, 3])
    frame = pd.DataFrame(signs, columns=list("abcde")).assign(latency_s=y)
    found = two_level(measured(frame))
    assert found.resolution == 3 and found.generators == ("D = AB", "E = -AC")
    assert set(found.words) == {"ABD", "-ACE", "-BCDE"}
    assert found.table.loc["A", "aliases"] == "BD, -CE, -ABCDE"
    assert found.table.loc["A", "effect"] == pytest.approx(0.3)
    assert found.table.loc["D", "effect"] == pytest.approx(0.2)
    assert "resolution III" in found.title and "Aliased effects" in " ".join(found.sentences())


def test_aliased_effects_add_up():
    """A planted BD of -0.1 shows in the line of A, with which it is confounded."""
    signs = fraction(3, [(1, (0, 1)), (-1, (0, 2))])
    y = np.exp(0.3 * signs[:, 0] - 0.1 * signs[:, 1] * signs[:, 3])
    frame = pd.DataFrame(signs, columns=list("abcde")).assign(latency_s=y)
    assert two_level(measured(frame)).table.loc["A", "effect"] == pytest.approx(0.2)


@pytest.mark.parametrize(("k", "words", "classes"), [(4, [(0, 1, 2, 3)], 7), (7, 4, 7)])
def test_classes_share_out_all_effects(k, words, classes):
    if words == 4:
        signs = fraction(3, [(1, (0, 1)), (1, (0, 2)), (1, (1, 2)), (1, (0, 1, 2))])
        words = defining_words(signs)
        assert len(words) == 15 and min(map(len, words)) == 3
    found = alias_classes(k, words)
    assert len(found) == classes and sum(map(len, found)) == 2**k - 1 - len(words)


@pytest.mark.parametrize("n", seeds(60, 500))
@pytest.mark.parametrize("replicates", [3, 1])
def test_planted_effects_lie_in_their_intervals(n, replicates):
    """With replicates by t; without by Lenth, whose interval is not exact but is no shorter."""
    signs = np.repeat(fraction(4, []), replicates, axis=0)
    truth = {"A": 0.2, "BC": -0.05, "D": 0.0}
    hits = dict.fromkeys(truth, 0)
    for seed in range(n):
        y = 0.2 * signs[:, 0] - 0.05 * signs[:, 1] * signs[:, 2]
        y = np.exp(y + np.random.default_rng(seed).normal(0, 0.05, len(signs)))
        table = two_level(measured(pd.DataFrame(signs, columns=list("abcd")).assign(latency_s=y))).table
        for name, value in truth.items():
            hits[name] += bool(table.loc[name, "low"] <= value <= table.loc[name, "high"])
    for name, count in hits.items():
        assert count >= band(n, 0.95)[0], name
        assert replicates == 1 or count <= band(n, 0.95)[1], name


def test_lenth_by_hand():
    """|q| with median 0.12: s0 = 0.18, kept below 0.45, their median 0.11, so PSE = 0.165 and t(0.975, 7/3)."""
    from scipy.stats import t

    q = np.array([0.1, -0.2, 0.15, 5.0, 0.05, -0.1, 0.12])
    assert lenth(q) == pytest.approx(0.165 * t.ppf(0.975, 7 / 3))
    assert roman(None) == "" and roman(8) == "VIII"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1, 2, 3], "b": [1, 1, 2], "latency_s": [1, 2, 3]}), "a has 3 levels"),
        (pd.DataFrame({"a": [1, 2, 1], "b": [1, 1, 2], "latency_s": [1, 2, 3]}), "no regular fraction"),
        (pd.DataFrame({"a": [1, 2, 2], "b": [1, 2, 2], "latency_s": [1, 2, 3]}), "unequal replicates"),
        (
            pd.DataFrame({f"f{k}": [1, 2] for k in range(12)} | {"latency_s": [1, 2]}),
            "12 factors are too many",
        ),
    ],
)
def test_what_is_no_two_level_design(frame, message):
    with pytest.raises(InputError) as caught:
        two_level(measured(frame))
    assert message in str(caught.value)


def test_summary_shows_it():
    signs = np.repeat(fraction(3, [(1, (0, 1, 2))]), 2, axis=0)
    y = np.exp(0.3 * signs[:, 0]) * np.random.default_rng(0).lognormal(0, 0.02, len(signs))
    m = measured(pd.DataFrame(signs + 2.0, columns=["batch", "steps", "bits", "width"]).assign(latency_s=y))
    result = fit_measurements(m)
    text = result.summary()
    assert "2^(4-1) design, resolution IV" in " ".join(text.split()) and "allocation of variation" in text
    assert max(map(len, text.splitlines())) <= 80
