"""The sampler against steps worked out by hand and against the closed form of the schedule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.measure.targets import ddim


def test_cosine_schedule_equals_its_closed_form_where_no_beta_is_clipped():
    alphas = ddim.CosineSchedule().alphas_cumprod()
    start = math.cos(math.pi / 2 * 0.008 / 1.008) ** 2
    for t in (0, 1, 250, 500, 900):
        closed = math.cos(math.pi / 2 * ((t + 1) / 1000 + 0.008) / 1.008) ** 2 / start
        assert alphas[t] == pytest.approx(closed, rel=1e-10)


def test_cosine_schedule_clips_the_last_beta():
    alphas = ddim.CosineSchedule().alphas_cumprod()
    assert alphas[999] / alphas[998] == pytest.approx(0.001, rel=1e-12)
    assert np.all(np.diff(alphas) < 0)


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, [999]), (2, [999, 499]), (5, [999, 799, 599, 399, 199]), (3, [999, 666, 332])]
)
def test_timesteps_trail(steps, expected):
    assert ddim.timesteps(steps) == expected


@given(st.integers(1, 1000))
def test_timesteps_fall_strictly_from_the_noisiest(steps):
    times = ddim.timesteps(steps)
    assert len(times) == steps
    assert times[0] == 999
    assert times[-1] >= 0
    assert np.all(np.diff(times) < 0)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(InputError, match="steps"):
        ddim.timesteps(steps)


def test_a_step_worked_out_by_hand():
    # a_t = 0.36, a_t' = 0.64: x0 = (x - 0.8 eps)/0.6, x' = 0.8 x0 + 0.6 eps; the second and third x0 are clipped.
    update = ddim.Update(499, *(np.float32(v) for v in (1 / 0.6, 0.8 / 0.6, 0.8, 0.6)))
    x = np.array([0.5, 1.3, -2.0], dtype=np.float32)
    eps = np.array([0.25, 0.5, 0.5], dtype=np.float32)
    ddim.denoise(x, eps, update, np.empty_like(x))
    np.testing.assert_allclose(x, [0.8 * 0.5 + 0.6 * 0.25, 0.8 * 1 + 0.6 * 0.5, -0.8 + 0.6 * 0.5], rtol=1e-6)
    np.testing.assert_array_equal(eps, np.array([0.25, 0.5, 0.5], dtype=np.float32))


def test_updates_follow_the_schedule_and_end_in_the_clean_image():
    schedule = ddim.CosineSchedule()
    alphas = schedule.alphas_cumprod()
    first, last = ddim.updates(2, schedule)
    assert (first.timestep, last.timestep) == (999, 499)
    assert first.signal == pytest.approx(math.sqrt(alphas[499]), rel=1e-6)
    assert first.noise == pytest.approx(math.sqrt(1 - alphas[499]), rel=1e-6)
    assert last.inverse_signal == pytest.approx(1 / math.sqrt(alphas[499]), rel=1e-6)
    assert last.noise_ratio == pytest.approx(math.sqrt(1 - alphas[499]) / math.sqrt(alphas[499]), rel=1e-6)
    assert (last.signal, last.noise) == (1, 0)


@given(st.integers(1, 60), st.integers(0, 1000))
def test_with_the_true_noise_any_number_of_steps_finds_the_image(steps, seed):
    """The deterministic sampler inverts x_t = sqrt(a) x0 + sqrt(1 - a) eps exactly when eps is the true one."""
    random = np.random.default_rng(seed)
    image = random.uniform(-1, 1, (2, 3)).astype(np.float32)
    noise = random.standard_normal((2, 3), dtype=np.float32)
    schedule = ddim.CosineSchedule(max_beta=0.9)
    start = schedule.alphas_cumprod()[-1]
    x = (math.sqrt(start) * image + math.sqrt(1 - start) * noise).astype(np.float32)
    for update in ddim.updates(steps, schedule):
        eps = (x - np.sqrt(schedule.alphas_cumprod()[update.timestep]) * image).astype(np.float32)
        eps *= np.float32(1 / math.sqrt(1 - schedule.alphas_cumprod()[update.timestep]))
        ddim.denoise(x, eps, update, np.empty_like(x))
    np.testing.assert_allclose(x, image, atol=2e-3)
