"""A batch of images under way through the digits network on ONNX Runtime, one denoising step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmodel.measure.targets import ddim
from qmodel.measure.targets.memory import out_of_memory

Array = NDArray[np.float32]


class DenoisingJob:
    """A batch of images on their way from noise to digits.

    Attributes: `labels` (the digits asked for), `steps` (in all), `remaining` (still to run), `done` (those run).
    """

    def __init__(self, session: Any, x: Array, labels: NDArray[np.int64], updates: tuple[ddim.Update, ...]) -> None:
        self.labels, self.steps, self.remaining = labels, len(updates), len(updates)
        self._x, self._eps, self._scratch = x, np.empty_like(x), np.empty_like(x)
        self._timestep = np.empty(len(x), dtype=np.int64)
        self._updates, self.done = updates, 0
        self._session = session
        self._binding = bind(session, self._eps, sample=x, timestep=self._timestep, label=labels)

    def step(self) -> None:
        """Run exactly one denoising step for the whole batch. Raises RuntimeError when none remains."""
        if not self.remaining:
            raise RuntimeError("this job is done: no step remains")
        update = self._updates[self.done]
        self._timestep.fill(update.timestep)
        with out_of_memory():
            self._session.run_with_iobinding(self._binding)
        ddim.denoise(self._x, self._eps, update, self._scratch)
        self.remaining -= 1
        self.done += 1

    @property
    def next_update(self) -> ddim.Update | None:
        """Coefficients of the step that comes next; None when none remains."""
        return self._updates[self.done] if self.remaining else None

    @property
    def images(self) -> NDArray[np.float64]:
        """Grey levels (n, 8, 8) in [0, 16], as scikit-learn has them. Raises RuntimeError before the end."""
        if self.remaining:
            raise RuntimeError(f"{self.remaining} of {self.steps} steps remain: no image yet")
        return (self._x[:, 0].astype(np.float64) + 1) * 8


def bind(session: Any, output: Array, **inputs: NDArray[Any]) -> Any:
    """Tie arrays to the network's inputs and output, so that a run neither copies nor allocates them."""
    import onnxruntime

    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    binding.bind_ortvalue_output("eps", onnxruntime.OrtValue.ortvalue_from_numpy(output))
    return binding
