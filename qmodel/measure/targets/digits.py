"""The digits diffusion model on ONNX Runtime: the embedded engine of the main study.

A class-conditional U-Net (0.6 M parameters) draws 8x8 digits in `steps` denoising steps for a batch of images.
`scripts/train_digits_diffusion.py` makes `digits_unet.onnx`; `digits_unet.json` says how it was made.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.targets import ddim
from qmodel.measure.targets.base import Levels, Trial
from qmodel.measure.targets.converging import ConvergingJob
from qmodel.measure.targets.denoising import DenoisingJob
from qmodel.measure.targets.device import cpu_name
from qmodel.measure.targets.levels import check_factors, whole
from qmodel.measure.targets.memory import out_of_memory

MODEL = Path(__file__).with_name("digits_unet.onnx")
CLASSES = 10
SHAPE = (1, 8, 8)
Array = NDArray[np.float32]


class DigitsDiffusion:
    """Target "digits-diffusion": a trial generates `batch_size` images in `steps` denoising steps.

    A live serving loop uses `start`, which gives a job that is run one denoising step at a time. With `tolerance`,
    a batch stops when its images hardly change (`qmodel.measure.targets.converging`).
    Raises MissingExtra without onnxruntime.
    """

    name = "digits-diffusion"
    phases = ("denoise",)
    factors: Mapping[str, tuple[str, ...]] = {"denoise": ("batch_size", "steps")}

    def __init__(self, threads: int = 1, tolerance: float = 0.0) -> None:
        if not tolerance >= 0:
            raise InputError(
                "digits-diffusion, tolerance", f"{tolerance} is below 0", "e.g. 0.02; 0 runs all steps"
            )
        self.threads, self.tolerance = whole({"threads": threads}, "threads", 1), tolerance
        self.device = cpu_name()
        self.session = open_session(MODEL, self.threads)

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """The call that generates one batch; every trial has its own seed (0, 1, 2, ...)."""
        check_factors(phase, levels, self.factors)
        batch_size = whole(levels, "batch_size", 1)
        steps = whole(levels, "steps", 16, 1, schedule().timesteps)
        seeds = itertools.count()

        def trial() -> None:
            self.generate(batch_size, steps, next(seeds))

        return trial

    def start(
        self, batch_size: int, steps: int, seed: int, labels: Sequence[int] | NDArray[np.integer] | None = None
    ) -> DenoisingJob:
        """A new job of `batch_size` images in `steps` steps; labels are drawn from the seed if not given.

        The noise of image i depends on the seed and i alone, not on the batch size.
        Raises InputError for a batch size, a number of steps (1 to 1000) or labels that make no sense.
        """
        batch_size = whole({"batch_size": batch_size}, "batch_size", 1)
        updates = ddim.updates(whole({"steps": steps}, "steps", 1, 1, schedule().timesteps), schedule())
        with out_of_memory():
            noise, classes = np.random.default_rng(seed), np.random.default_rng([seed, 1])
            x = noise.standard_normal((batch_size, *SHAPE), dtype=np.float32)
            if labels is None:
                labels = classes.integers(CLASSES, size=batch_size)
            return self._job(x, ddim.check_labels(labels, batch_size, CLASSES), updates)

    def start_together(self, seeds: Sequence[int], steps: int) -> DenoisingJob:
        """One image for each seed, in one batch: the image that the seed gives alone, whoever is in the batch."""
        updates = ddim.updates(whole({"steps": steps}, "steps", 1, 1, schedule().timesteps), schedule())
        with out_of_memory():
            noise = [np.random.default_rng(seed).standard_normal((1, *SHAPE), dtype=np.float32) for seed in seeds]
            labels = [int(np.random.default_rng([seed, 1]).integers(CLASSES, size=1)[0]) for seed in seeds]
            return self._job(np.concatenate(noise), np.array(labels, dtype=np.int64), updates)

    def _job(self, x: Array, labels: NDArray[np.int64], updates: tuple[ddim.Update, ...]) -> DenoisingJob:
        if self.tolerance:
            return ConvergingJob(self.session, x, labels, updates, self.tolerance)
        return DenoisingJob(self.session, x, labels, updates)

    def generate(
        self, batch_size: int, steps: int, seed: int, labels: Sequence[int] | NDArray[np.integer] | None = None
    ) -> DenoisingJob:
        """A job run to its end."""
        job = self.start(batch_size, steps, seed, labels)
        while job.remaining:
            job.step()
        return job

    def quality(self, jobs: Sequence[Any]) -> dict[str, float]:
        """Agreement and Fréchet distance of the digits that these jobs drew (see `qmodel.measure.quality`)."""
        from qmodel.measure.quality import assess

        found = assess(*(np.concatenate([getattr(job, each) for job in jobs]) for each in ("images", "labels")))
        return {"agreement": found.agreement, "frechet_distance": found.frechet_distance}

    def peak_memory_bytes(self) -> int | None:
        """None: ONNX Runtime does not tell what a run took on the CPU."""
        return None

    def versions(self) -> dict[str, str]:
        """Engine and model."""
        import onnxruntime

        return {
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "digits_unet_sha256": description()["onnx_sha256"],
        }

    def close(self) -> None:
        """Nothing to release: the engine's memory goes with the object."""


def open_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU whose idle threads sleep instead of spinning."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "live") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """How the model was made: schedule, training, versions, checksum."""
    text: dict[str, Any] = json.loads(MODEL.with_suffix(".json").read_text())
    return text


@lru_cache(maxsize=1)
def schedule() -> ddim.CosineSchedule:
    """The noise schedule the model was trained with."""
    fields = {key: value for key, value in description()["schedule"].items() if key != "kind"}
    return ddim.CosineSchedule(**fields)
