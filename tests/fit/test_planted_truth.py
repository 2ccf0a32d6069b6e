"""Known effects, form and noise must come back inside their intervals, at the rate the intervals promise."""

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import binom

from qmodel.fit import fit_measurements

from .planted import COEFFICIENTS, RATIO, planted

TERMS = ["1", "steps", "batch_size:steps"]
TRUTH = COEFFICIENTS | {"ratio pacing[back-to-back]": RATIO}


def seeds(few, many):
    return [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.slow)]


def band(n, rate, sure=1e-4):
    """Counts of successes that n trials at `rate` give but for a chance of `sure` on either side."""
    return binom.ppf(sure, n, rate), binom.ppf(1 - sure, n, rate)


def covered(result):
    """Whether each coefficient's 95 % interval holds the truth."""
    t = stdtrit(result.model.degrees_of_freedom, 0.975)
    return {k: abs(v - TRUTH[k]) <= t * e for k, (v, e) in result.model.labelled_coefficients().items()}


@pytest.mark.parametrize("n", seeds(60, 500))
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_coefficients_lie_in_their_intervals(n, noise):
    hits = [covered(fit_measurements(planted(s, noise=noise), terms=TERMS, analysis=False)) for s in range(n)]
    low, high = band(n, 0.95)
    for name in TRUTH:
        assert low <= sum(hit[name] for hit in hits) <= high, name


@pytest.mark.parametrize("n", seeds(60, 500))
def test_intervals_hold_when_blocks_differ(n):
    """Four blocks with a common factor of 1 % each: what they share does not average out over cells."""
    hits = [
        covered(fit_measurements(planted(s, blocks=4, block_sd=0.01), terms=TERMS, analysis=False))
        for s in range(n)
    ]
    low, _ = band(n, 0.95)
    for name in TRUTH:
        assert low <= sum(hit[name] for hit in hits), name
    assert np.mean([hit["batch_size:steps"] for hit in hits]) < 0.999


@pytest.mark.parametrize("n", seeds(60, 500))
def test_intervals_and_lack_of_fit_hold_when_visits_differ(n):
    """Repetitions of one visit share a factor of 3 % beside their own 1 %: visits are the replicates then."""
    fits = [
        fit_measurements(planted(s, noise=0.01, blocks=3, visit_sd=0.03, replicates=5), terms=TERMS, analysis=False)
        for s in range(n)
    ]
    assert all(fit.visits.matter for fit in fits)
    assert np.mean([fit.visits.deviation for fit in fits]) == pytest.approx(0.03, rel=0.05)
    for name in TRUTH:
        assert band(n, 0.95)[0] <= sum(covered(fit)[name] for fit in fits), name
    assert sum(fit.uncertainty.lack_of_fit.p < 0.05 for fit in fits) <= band(n, 0.05)[1]


@pytest.mark.parametrize("n", seeds(40, 500))
def test_predictions_lie_in_their_intervals(n):
    levels, truth, hits = {"steps": 30.0, "batch_size": 6.0}, 0.002 + 0.0003 * 30 + 0.0002 * 180, 0
    for s in range(n):
        low, high = fit_measurements(planted(s), terms=TERMS, analysis=False).model.interval(levels)
        hits += low <= truth <= high
    assert band(n, 0.95)[0] <= hits <= band(n, 0.95)[1]


@pytest.mark.parametrize("n", seeds(20, 500))
def test_the_planted_form_is_chosen(n):
    """The nested model is kept and no smaller one: the two needed terms always, extra ones seldom."""
    chosen = [set(fit_measurements(planted(s), analysis=False).model.form.labels) for s in range(n)]
    assert all({"steps", "batch_size:steps"} <= terms for terms in chosen)
    assert np.mean([terms == set(TERMS) for terms in chosen]) > 0.6


@pytest.mark.parametrize("n", seeds(10, 500))
def test_a_further_term_is_chosen_when_it_is_there(n):
    more = COEFFICIENTS | {"batch_size": 0.0006}
    chosen = [
        set(fit_measurements(planted(s, coefficients=more), analysis=False).model.form.labels) for s in range(n)
    ]
    assert np.mean(["batch_size" in terms for terms in chosen]) > 0.9


@pytest.mark.parametrize("n", seeds(40, 500))
def test_noise_comes_back(n):
    """The replicates' scv; its estimate over n fits with 64 degrees of freedom each."""
    found = [
        fit_measurements(planted(s, noise=0.05), terms=TERMS, analysis=False).model.residual_scv for s in range(n)
    ]
    assert np.mean(found) == pytest.approx(0.0025, rel=4 * np.sqrt(2 / 64 / n))
    quantiles = fit_measurements(planted(0, noise=0.05), terms=TERMS, analysis=False).model.residual.quantiles
    assert len(quantiles) == 101
    assert np.std(quantiles) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("n", seeds(10, 500))
def test_shuffled_responses_predict_nothing(n):
    """Whatever is chosen, it explains next to nothing."""
    for s in range(n):
        result = fit_measurements(planted(s, noise=0.1, shuffle=True), analysis=False)
        assert result.model.statistics["r_squared"] < 0.5


@pytest.mark.parametrize("n", seeds(60, 500))
def test_lack_of_fit_has_its_level_and_its_power(n):
    right = [fit_measurements(planted(s), terms=TERMS, analysis=False).uncertainty.lack_of_fit.p for s in range(n)]
    assert sum(p < 0.05 for p in right) <= band(n, 0.05)[1]
    wrong = [
        fit_measurements(planted(s), terms=["1", "batch_size:steps"], analysis=False).uncertainty.lack_of_fit.p
        for s in range(10)
    ]
    assert max(wrong) < 1e-6


def test_without_noise_everything_is_exact():
    result = fit_measurements(planted(0, noise=0.0), analysis=False)
    found = {name: value for name, (value, _) in result.model.labelled_coefficients().items()}
    assert found == pytest.approx(TRUTH, rel=1e-7)
