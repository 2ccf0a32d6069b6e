"""The diffusion target on torch: contract, step-level interface, agreement with the numpy sampler."""

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.measure.targets import OutOfMemory, ddim, make_target

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


@pytest.fixture(scope="module", params=DEVICES)
def target(request):
    return make_target("torch-diffusion", device=request.param, channels=[8, 16])


def run(job):
    while job.remaining:
        job.step()
    return job.images


def test_contract(target):
    assert (target.name, target.phases) == ("torch-diffusion", ("denoise",))
    assert target.factors == {"denoise": ("batch_size", "steps")}
    assert target.device
    assert target.versions()["torch"] == torch.__version__
    assert (target.peak_memory_bytes() is None) == (not target.engine.on_cuda)


def test_trial_returns_its_own_time(target):
    trial = target.prepare("denoise", {"batch_size": 2, "steps": 3})
    assert 0 < trial() < 60
    assert 0 < trial() < 60


def test_stepping_equals_finishing_bit_for_bit(target):
    job = target.start(3, 4, seed=1)
    job.finish()
    np.testing.assert_array_equal(job.images, run(target.start(3, 4, seed=1)))
    assert job.images.shape == (3, 1, 8, 8)
    assert abs(job.images).max() <= 1


def test_sampler_equals_the_numpy_one(target):
    job = target.start(2, 5, seed=2, labels=[4, 7])
    x = np.random.default_rng(2).standard_normal((2, 1, 8, 8), dtype=np.float32)
    on_device = {"device": target.engine.device}
    for update in ddim.updates(5):
        with torch.no_grad():
            times, labels = torch.full((2,), update.timestep, **on_device), torch.tensor([4, 7], **on_device)
            eps = target.model(torch.tensor(x, **on_device), times, labels).cpu().numpy()
        ddim.denoise(x, eps, update, np.empty_like(x))
    np.testing.assert_allclose(run(job), x, atol=2e-3)


def test_images_of_a_batch_are_independent(target):
    together = run(target.start(3, 3, seed=5, labels=[1, 2, 3]))
    alone = run(target.start(1, 3, seed=5, labels=[1]))
    np.testing.assert_allclose(together[:1], alone, atol=2e-3)


def test_weights_come_from_the_seed():
    first, again, other = (make_target("torch-diffusion", device="cpu", channels=[8], seed=s) for s in (3, 3, 4))
    assert torch.equal(first.model.entry.weight, again.model.entry.weight)
    assert not torch.equal(first.model.entry.weight, other.model.entry.weight)


def test_half_precision_runs_and_samples_in_single():
    target = make_target("torch-diffusion", device="cpu", precision="bfloat16", channels=[8], attention=True)
    images = run(target.start(1, 2, seed=0))
    assert images.dtype == np.float32
    assert np.isfinite(images).all()


def test_a_job_says_when_it_is_not_ready_or_done(target):
    job = target.start(1, 1, seed=0)
    with pytest.raises(RuntimeError, match="1 of 1 steps remain"):
        _ = job.images
    job.step()
    with pytest.raises(RuntimeError, match="no step remains"):
        job.step()


def test_out_of_memory_is_raised_as_such(target, monkeypatch):
    def exhaust(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(target.model, "forward", exhaust)
    with pytest.raises(OutOfMemory):
        target.prepare("denoise", {"batch_size": 1, "steps": 1})()


def test_weights_that_do_not_fit_are_refused(monkeypatch):
    def exhaust(*arguments):
        raise MemoryError

    monkeypatch.setattr("qmodel.measure.targets.unet.UNet.__init__", exhaust)
    with pytest.raises(InputError, match="do not fit"):
        make_target("torch-diffusion", device="cpu")


@pytest.mark.parametrize(
    ("levels", "word"), [({"steps": 1001}, "1 to 1000"), ({"batch_size": 0}, "1 up"), ({"batch": 1}, "batch_size")]
)
def test_senseless_levels_are_refused(target, levels, word):
    with pytest.raises(InputError, match=word):
        target.prepare("denoise", levels)


def test_unknown_options_are_refused():
    with pytest.raises(InputError, match="chanels"):
        make_target("torch-diffusion", chanels=[8])


def test_close_gives_the_model_back():
    target = make_target("torch-diffusion", device="cpu", channels=[8])
    target.close()
    assert not hasattr(target, "model")
