"""Early exit of diffusion by convergence: a batch stops when the picture it is heading for no longer changes.

Each denoising step implies a clean image, x0 = (x' - noise eps) / signal. When no image of the batch moves its x0
by `tolerance` or more from one step to the next (root mean square over its pixels, grey levels in [-1, 1]), that x0
is the result, and the steps that are left are not run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmodel.measure.targets import ddim
from qmodel.measure.targets.denoising import DenoisingJob

Array = NDArray[np.float32]


class ConvergingJob(DenoisingJob):
    """A batch of images that may be done before its last step."""

    def __init__(
        self, session: Any, x: Array, labels: NDArray[np.int64], updates: tuple[ddim.Update, ...], tolerance: float
    ) -> None:
        super().__init__(session, x, labels, updates)
        self._tolerance = tolerance
        self._clean: Array = np.full_like(x, np.inf)

    def step(self) -> None:
        """One denoising step, and the end if it changed little."""
        update = self.next_update
        super().step()
        if not self.remaining or update is None:
            return
        clean: Array = ((self._x - update.noise * self._eps) / update.signal).astype(np.float32)
        moved = float(np.sqrt(((clean - self._clean) ** 2).mean(axis=(1, 2, 3))).max())
        self._clean = clean
        if moved < self._tolerance:
            self._x[:] = np.clip(clean, -1.0, 1.0)
            self.remaining = 0
