"""The digits target: its contract, its step-level interface, and that it draws digits."""

import hashlib
import sys

import numpy as np
import pytest

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.targets import OutOfMemory, digits, make_target
from qmodel.measure.targets.memory import out_of_memory


@pytest.fixture(scope="module")
def target():
    pytest.importorskip("onnxruntime")
    return make_target("digits-diffusion")


def test_contract(target):
    assert target.name == "digits-diffusion"
    assert target.phases == ("denoise",)
    assert target.factors == {"denoise": ("batch_size", "steps")}
    assert target.device
    assert target.peak_memory_bytes() is None
    target.close()


def test_versions_name_the_engine_and_the_very_model_file(target):
    versions = target.versions()
    assert versions["onnxruntime"] == sys.modules["onnxruntime"].__version__
    assert versions["digits_unet_sha256"] == hashlib.sha256(digits.MODEL.read_bytes()).hexdigest()


def test_the_model_file_is_small_and_described():
    assert digits.MODEL.stat().st_size == digits.description()["onnx_bytes"] < 4_000_000
    assert digits.schedule().timesteps == 1000


def test_stepping_a_job_equals_generating_at_once_bit_for_bit(target):
    job = target.start(3, 5, seed=11)
    remaining = []
    while job.remaining:
        remaining.append(job.remaining)
        job.step()
    whole = target.generate(3, 5, seed=11)
    assert remaining == [5, 4, 3, 2, 1]
    np.testing.assert_array_equal(job.images, whole.images)
    np.testing.assert_array_equal(job.labels, whole.labels)


def test_interleaved_jobs_do_not_disturb_one_another(target):
    first, second = target.start(2, 4, seed=1), target.start(1, 6, seed=2)
    for job in (first, second, second, first, second, first, second, first, second, second):
        job.step()
    np.testing.assert_array_equal(first.images, target.generate(2, 4, seed=1).images)
    np.testing.assert_array_equal(second.images, target.generate(1, 6, seed=2).images)


def test_images_of_a_batch_are_independent(target):
    together = target.generate(5, 4, seed=3, labels=[7, 1, 2, 3, 4])
    other_labels = target.generate(5, 4, seed=3, labels=[7, 9, 9, 9, 9])
    alone = target.generate(1, 4, seed=3, labels=[7])
    np.testing.assert_allclose(together.images[0], alone.images[0], atol=1e-3)
    np.testing.assert_allclose(together.images[0], other_labels.images[0], atol=1e-3)
    assert abs(together.images[1] - other_labels.images[1]).max() > 1


def test_seed_and_labels_decide_the_image(target):
    once, again, other = (target.generate(2, 3, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(once.images, again.images)
    assert abs(once.images - other.images).max() > 1


def test_images_are_grey_levels_of_digits(target):
    job = target.generate(20, 16, seed=0, labels=np.arange(20) % 10)
    assert job.images.shape == (20, 8, 8)
    assert job.images.dtype == np.float64
    assert 0 <= job.images.min() < 1 < 15 < job.images.max() <= 16
    assert job.steps == 16


def test_labels_are_drawn_from_the_seed_when_not_given(target):
    labels = target.start(500, 1, seed=4).labels
    assert set(labels) == set(range(10))
    np.testing.assert_array_equal(labels, target.start(500, 1, seed=4).labels)


def test_a_job_says_when_it_is_not_ready_or_done(target):
    job = target.start(1, 1, seed=0)
    with pytest.raises(RuntimeError, match="1 of 1 steps remain"):
        _ = job.images
    job.step()
    with pytest.raises(RuntimeError, match="no step remains"):
        job.step()


def test_trial_generates_one_batch(target, monkeypatch):
    generated = []
    monkeypatch.setattr(target, "generate", lambda *arguments: generated.append(arguments))
    trial = target.prepare("denoise", {"batch_size": 2, "steps": 3})
    assert trial() is None
    assert trial() is None
    assert generated == [(2, 3, 0), (2, 3, 1)]


def test_trial_runs(target):
    assert target.prepare("denoise", {"batch_size": 1.0, "steps": 1000})() is None


@pytest.mark.parametrize(
    ("phase", "levels", "word"),
    [
        ("decode", {}, "denoise"),
        ("denoise", {"batch": 1}, "batch_size"),
        ("denoise", {"steps": 0}, "1 to 1000"),
        ("denoise", {"steps": 1001}, "1 to 1000"),
        ("denoise", {"steps": 2.5}, "whole number"),
        ("denoise", {"steps": float("nan")}, "whole number"),
        ("denoise", {"steps": "many"}, "whole number"),
        ("denoise", {"batch_size": 0}, "1 up"),
    ],
)
def test_senseless_levels_are_refused(target, phase, levels, word):
    with pytest.raises(InputError, match=word):
        target.prepare(phase, levels)


@pytest.mark.parametrize("labels", [[1], [1, 10], [-1, 0], [0.5, 1.0], [[1, 2]]])
def test_senseless_labels_are_refused(target, labels):
    with pytest.raises(InputError, match="labels"):
        target.start(2, 4, 0, labels)


def test_memory_errors_become_out_of_memory():
    for error in (MemoryError("array too big"), RuntimeError("Failed to allocate memory for requested buffer")):
        with pytest.raises(OutOfMemory), out_of_memory():
            raise error
    with pytest.raises(RuntimeError, match="other"), out_of_memory():
        raise RuntimeError("other")


def test_missing_engine_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"qmodel\[live\]"):
        digits.open_session(digits.MODEL, 1)
