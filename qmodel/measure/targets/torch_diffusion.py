"""A diffusion U-Net of any size on torch, on a GPU when there is one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmodel.errors import InputError
from qmodel.measure.targets import ddim
from qmodel.measure.targets.base import Levels, OutOfMemory, Trial
from qmodel.measure.targets.levels import check_factors, whole
from qmodel.measure.targets.torch_engine import TorchEngine


class TorchDiffusion:
    """Target "torch-diffusion": a trial generates `batch_size` images in `steps` denoising steps.

    The weights are random (drawn from `seed`): latency does not depend on their values, the images do. The
    defaults are the network of "digits-diffusion"; see `unet.UNetConfig` for what shapes a larger one. Trials
    return their own time (CUDA events on a GPU). Raises MissingExtra without torch.
    """

    name = "torch-diffusion"
    phases = ("denoise",)
    factors: Mapping[str, tuple[str, ...]] = {"denoise": ("batch_size", "steps")}

    def __init__(
        self,
        threads: int = 1,
        device: str = "auto",
        precision: str = "float32",
        *,
        image_size: int = 8,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        classes: int = 10,
        groups: int = 8,
        attention: bool = False,
        seed: int = 0,
    ) -> None:
        self.engine = TorchEngine(device, precision, threads)
        self.device = self.engine.name
        import torch

        from qmodel.measure.targets.unet import UNet, UNetConfig

        self.config = UNetConfig(image_size, in_channels, tuple(channels), blocks, classes, groups, bool(attention))
        try:
            with torch.random.fork_rng(devices=[]), self.engine.guarded():
                torch.manual_seed(seed)
                self.model = UNet(self.config).eval().to(self.engine.device, self.engine.dtype)
        except OutOfMemory as error:
            raise InputError("U-Net", "its weights do not fit in memory", "use fewer channels or blocks") from error

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """The call that generates one batch and returns its seconds; each has its own seed (0, 1, 2, ...)."""
        check_factors(phase, levels, self.factors)
        batch_size, steps = whole(levels, "batch_size", 1), whole(levels, "steps", 16, 1, 1000)
        self.engine.set_threads()
        seeds = itertools.count()

        def trial() -> float:
            job = self.start(batch_size, steps, next(seeds))
            return self.engine.timed(job.finish)

        return trial

    def start(
        self, batch_size: int, steps: int, seed: int, labels: Sequence[int] | NDArray[np.integer] | None = None
    ) -> TorchDenoisingJob:
        """A new job of `batch_size` images in `steps` steps; labels are drawn from the seed if not given."""
        size, classes = self.config.image_size, self.config.classes
        batch_size = whole({"batch_size": batch_size}, "batch_size", 1)
        updates = ddim.updates(whole({"steps": steps}, "steps", 1, 1, 1000))
        with self.engine.guarded():
            noise = np.random.default_rng(seed).standard_normal(
                (batch_size, self.config.in_channels, size, size), dtype=np.float32
            )
            if labels is None:
                labels = np.random.default_rng([seed, 1]).integers(classes, size=batch_size)
            return TorchDenoisingJob(self, noise, ddim.check_labels(labels, batch_size, classes), updates)

    def peak_memory_bytes(self) -> int | None:
        """Peak device memory of the last trial; None on a CPU."""
        return self.engine.peak_memory_bytes()

    def versions(self) -> dict[str, str]:
        """torch, CUDA where it is used, numpy."""
        return self.engine.versions() | {"numpy": np.__version__}

    def close(self) -> None:
        """Give the model's memory back."""
        del self.model
        self.engine.release()


class TorchDenoisingJob:
    """A batch of images on their way from noise; the sampler's state stays on the device in float32.

    Attributes: `labels` (classes asked for), `steps` (in all), `remaining` (steps still to run).
    """

    def __init__(
        self,
        target: TorchDiffusion,
        noise: NDArray[np.float32],
        labels: NDArray[np.int64],
        updates: tuple[ddim.Update, ...],
    ) -> None:
        import torch

        self.labels, self.steps, self.remaining = labels, len(updates), len(updates)
        self._engine, self._model, self._updates = target.engine, target.model, iter(updates)
        device = self._engine.device
        self._x = torch.from_numpy(noise).to(device)
        self._classes = torch.from_numpy(labels).to(device)
        self._times = torch.empty(len(labels), dtype=torch.int64, device=device)

    def step(self) -> None:
        """Run exactly one denoising step and wait for it. Raises RuntimeError when none remains."""
        if not self.remaining:
            raise RuntimeError("this job is done: no step remains")
        with self._engine.guarded():
            self._advance()
            self._engine.synchronise()

    def finish(self) -> None:
        """Run all remaining steps, without waiting between them."""
        while self.remaining:
            self._advance()

    @property
    def images(self) -> NDArray[np.float32]:
        """Pixels (n, in_channels, size, size) in [-1, 1]. Raises RuntimeError before the end."""
        if self.remaining:
            raise RuntimeError(f"{self.remaining} of {self.steps} steps remain: no image yet")
        pixels: NDArray[np.float32] = self._x.cpu().numpy()
        return pixels

    def _advance(self) -> None:
        import torch

        update = next(self._updates)
        with torch.inference_mode():
            eps = self._model(self._x.to(self._engine.dtype), self._times.fill_(update.timestep), self._classes)
            self._x = denoise(self._x, eps.float(), update)
        self.remaining -= 1


def denoise(x: Any, eps: Any, update: ddim.Update) -> Any:
    """The next x: `ddim.denoise` on tensors."""
    clean = (x * float(update.inverse_signal) - eps * float(update.noise_ratio)).clamp_(-1, 1)
    return clean.mul_(float(update.signal)).add_(eps, alpha=float(update.noise))
