"""The judge of generated digits: real ones score high, noise scores by chance, distances have known values."""

import sys

import numpy as np
import pytest
from scipy import linalg

from qmodel.errors import InputError, MissingExtra
from qmodel.measure import quality


@pytest.fixture(scope="module")
def real():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    return data.images, data.target


def test_real_digits_score_high(real):
    images, labels = real
    result = quality.assess(images[::2], labels[::2])
    assert result.agreement > 0.98
    assert result.agreement_low < result.agreement <= result.agreement_high
    assert result.frechet_distance < result.real_frechet_distance  # half of them are in each reference
    assert result.classifier_accuracy > 0.98


def test_noise_scores_by_chance(real):
    random = np.random.default_rng(0)
    result = quality.assess(random.uniform(0, 16, (1000, 8, 8)), random.integers(0, 10, 1000))
    assert result.agreement_low < 0.1 < result.agreement_high
    assert result.frechet_distance > 20 * result.real_frechet_distance
    assert result.nearest_distance > 1.5 * result.real_nearest_distance


def test_real_digits_with_wrong_labels_disagree(real):
    images, labels = real
    assert quality.assess(images[:200], (labels[:200] + 1) % 10).agreement < 0.03


def test_copies_are_seen(real):
    images, labels = real
    result = quality.assess(images[:100], labels[:100])
    assert result.nearest_distance == pytest.approx(0, abs=1e-9)
    assert result.real_nearest_distance > 0.5


def test_identical_digits_agree_but_are_far_from_the_real_crowd(real):
    images, labels = real
    result = quality.assess(np.repeat(images[:1], 100, axis=0), np.repeat(labels[:1], 100))
    assert result.agreement == 1
    assert result.frechet_distance > 10 * result.real_frechet_distance


def test_frechet_distance_of_gaussians_in_closed_form():
    # In one dimension: (m1 - m2)^2 + (s1 - s2)^2; independent axes add.
    random = np.random.default_rng(1)
    standard = random.standard_normal((400, 2))
    standard -= standard.mean(axis=0)
    standard = standard @ np.linalg.inv(np.linalg.cholesky(np.cov(standard, rowvar=False))).T
    assert quality.frechet_distance(standard, 3 * standard + [1, 2]) == pytest.approx(1 + 4 + 2 * (3 - 1) ** 2)


def test_frechet_distance_equals_the_textbook_matrix_root():
    random = np.random.default_rng(2)
    first = random.standard_normal((50, 4)) @ random.standard_normal((4, 4))
    second = random.standard_normal((60, 4)) @ random.standard_normal((4, 4)) + 0.3
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    shift = first.mean(axis=0) - second.mean(axis=0)
    expected = shift @ shift + np.trace(one + two - 2 * linalg.sqrtm(one @ two).real)
    assert quality.frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert quality.frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_wilson_interval_of_none_and_all():
    # z^2/(n + z^2) with z = 1.959964, n = 10
    assert quality.wilson(0, 10) == pytest.approx((0, 0.277533), abs=1e-6)
    assert quality.wilson(10, 10) == pytest.approx((0.722467, 1), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_are_refused(count):
    with pytest.raises(InputError, match="two or more"):
        quality.assess(np.zeros((count, 8, 8)), np.zeros(count, dtype=int))


def test_labels_must_match():
    with pytest.raises(InputError, match="3 labels"):
        quality.assess(np.zeros((2, 8, 8)), np.zeros(3, dtype=int))


def test_quality_by_steps_improves_with_steps(real):
    pytest.importorskip("onnxruntime")
    seen = []
    table = quality.quality_by_steps([1, 16], images=150, seed=3, progress=lambda *pair: seen.append(pair))
    assert list(table["steps"]) == [1, 16]
    assert list(table["images"]) == [150, 150]
    assert {"agreement_low", "agreement_high", "real_frechet_distance"} <= set(table.columns)
    assert table["agreement"][1] >= 0.95
    assert table["frechet_distance"][1] < table["frechet_distance"][0] / 4
    assert seen == [(1, 34), (2, 34), (18, 34), (34, 34)]


@pytest.mark.parametrize(
    ("steps", "images", "word"), [([4], 1, "images"), ([0], 10, "steps"), ([1001], 10, "steps")]
)
def test_senseless_samples_are_refused(steps, images, word):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=word):
        quality.quality_by_steps(steps, images)


def test_missing_judge_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    quality.real_digits.cache_clear()
    with pytest.raises(MissingExtra, match="scikit-learn"):
        quality.real_digits()
