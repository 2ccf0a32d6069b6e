"""Deterministic DDIM sampling in numpy, independent of the engine that runs the network.

Sources: noise schedule Nichol & Dhariwal 2021 (cosine); sampler Song, Meng & Ermon 2021 with eta = 0;
timesteps "trailing", so that the first is always the noisiest (Lin et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmodel.errors import InputError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CosineSchedule:
    """alpha_bar(t) = cos^2(pi/2 (t/T + s)/(1 + s)), each beta at most `max_beta`.

    >>> CosineSchedule().alphas_cumprod()[[0, 499, 999]].round(6).tolist()
    [0.999959, 0.493844, 0.0]
    """

    timesteps: int = 1000
    offset: float = 0.008
    max_beta: float = 0.999

    def alphas_cumprod(self) -> NDArray[np.float64]:
        """alpha_bar of every training timestep: the share of signal variance left in the noisy image."""
        time = np.arange(self.timesteps + 1) / self.timesteps
        signal = np.cos(np.pi / 2 * (time + self.offset) / (1 + self.offset)) ** 2
        betas = np.minimum(1 - signal[1:] / signal[:-1], self.max_beta)
        return np.cumprod(1 - betas)


class Update(NamedTuple):
    """Coefficients of one DDIM step, from timestep t to the next one, t'.

    x0 = clip(inverse_signal x - noise_ratio eps, -1, 1);  x' = signal x0 + noise eps, where
    inverse_signal = 1/sqrt(a_t), noise_ratio = sqrt(1/a_t - 1), signal = sqrt(a_t'), noise = sqrt(1 - a_t').
    """

    timestep: int
    inverse_signal: np.float32
    noise_ratio: np.float32
    signal: np.float32
    noise: np.float32


def timesteps(steps: int, train_timesteps: int = 1000) -> list[int]:
    """Timesteps of a run of so many steps, evenly spaced and ending each interval ("trailing").

    >>> timesteps(4)
    [999, 749, 499, 249]
    """
    if not 1 <= steps <= train_timesteps:
        raise InputError("steps", f"{steps} is out of range", f"use 1 to {train_timesteps}")
    return [round(train_timesteps * (steps - i) / steps) - 1 for i in range(steps)]


@lru_cache(maxsize=128)
def updates(steps: int, schedule: CosineSchedule | None = None) -> tuple[Update, ...]:
    """The coefficients of every step of a run; the last one leads to the clean image (a = 1)."""
    schedule = schedule or CosineSchedule()
    alphas, times = schedule.alphas_cumprod(), timesteps(steps, schedule.timesteps)
    now = alphas[times]
    following = np.append(now[1:], 1.0)
    columns = (1 / np.sqrt(now), np.sqrt(1 / now - 1), np.sqrt(following), np.sqrt(1 - following))
    rows = np.stack(columns, axis=1).astype(np.float32)
    return tuple(Update(time, *row) for time, row in zip(times, rows, strict=True))


def denoise(x: Array, eps: Array, update: Update, scratch: Array) -> None:
    """Replace x by the next x (in place); `scratch` is workspace of the same shape, eps is left as it was."""
    np.multiply(eps, update.noise_ratio, out=scratch)
    np.multiply(x, update.inverse_signal, out=x)
    np.subtract(x, scratch, out=x)
    np.maximum(x, -1.0, out=x)
    np.minimum(x, 1.0, out=x)
    np.multiply(x, update.signal, out=x)
    np.multiply(eps, update.noise, out=scratch)
    np.add(x, scratch, out=x)


def check_labels(labels: Sequence[int] | NDArray[np.integer], count: int, classes: int) -> NDArray[np.int64]:
    """The labels as an array of their own, one for each image and each in [0, classes); InputError otherwise."""
    checked = np.array(labels)
    if checked.shape != (count,):
        raise InputError("labels", f"shape {checked.shape}, not ({count},)", "give one label per image")
    if not np.issubdtype(checked.dtype, np.integer) or checked.min() < 0 or checked.max() >= classes:
        raise InputError("labels", "some are no classes", f"use whole numbers from 0 to {classes - 1}")
    return checked.astype(np.int64)
