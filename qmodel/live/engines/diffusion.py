"""Diffusion models: a step is one denoising step of a request's batch of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from qmodel.live.batches import Batches
from qmodel.live.engine import Work
from qmodel.measure.targets.base import make_target


class _DenoisingJob(Protocol):
    remaining: int
    labels: Any

    @property
    def images(self) -> Any:
        """The result."""

    def step(self) -> None:
        """One denoising step."""


class DenoisingJob:
    """The target's job, with the token count that every job has."""

    __slots__ = ("_job", "_step", "remaining", "tokens")

    def __init__(self, job: _DenoisingJob) -> None:
        self._job, self._step = job, job.step
        self.remaining, self.tokens = job.remaining, 0

    def step(self) -> None:
        """One denoising step of the whole batch."""
        self._step()
        self.remaining = self._job.remaining

    @property
    def images(self) -> Any:
        """The images, once no step remains; see the target."""
        return self._job.images

    @property
    def labels(self) -> Any:
        """What the images are to show."""
        return self._job.labels


class DiffusionEngine:
    """A diffusion target ("digits-diffusion", "torch-diffusion"); levels `batch_size` and `steps`.

    Raises MissingExtra without the target's library.
    """

    emulated = False
    factors = ("batch_size", "steps")

    def __init__(self, kind: str, threads: int = 1, **options: Any) -> None:
        self.name = kind
        self._target: Any = make_target(kind, threads=threads, **options)
        self.device: str = self._target.device
        self.batching: tuple[str, ...] = ("dynamic",) if hasattr(self._target, "start_together") else ()
        self.leaves_early = bool(getattr(self._target, "tolerance", 0.0))

    def start(self, work: Work) -> DenoisingJob:
        """Draw the noise; images depend on the seed alone, not on the order of service."""
        levels = work.levels
        return DenoisingJob(self._target.start(levels.get("batch_size", 1), levels.get("steps", 16), work.seed))

    def start_batch(self, works: Sequence[Work], batches: Batches) -> DenoisingJob:
        """One batch of an image for each request, all in the same number of steps."""
        steps = works[0].levels.get("steps", 16)
        return DenoisingJob(self._target.start_together([work.seed for work in works], steps))

    def quality(self, jobs: Sequence[DenoisingJob]) -> dict[str, float]:
        """What these jobs drew, judged by the target; nothing where it does not judge."""
        judge: Any = getattr(self._target, "quality", None)
        return judge(jobs) if judge else {}

    def versions(self) -> dict[str, str]:
        """Those of the target."""
        found: dict[str, str] = self._target.versions()
        return found

    def close(self) -> None:
        """Release the target."""
        self._target.close()
