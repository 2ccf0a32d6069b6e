"""A diffusion U-Net in plain torch, timed over batch size and denoising steps."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from campaign.bench import Trial
from campaign.costs import UNetSize
from campaign.plan import Cell
from qmodel.measure.targets.torch_diffusion import TorchDiffusion
from qmodel.measure.targets.torch_engine import TorchEngine


class DenoisingBench:
    """Target "torch-diffusion" of a given size; phase "denoise", factors `batch_size` and `steps`."""

    def __init__(self, engine: TorchEngine, precision: str, size: dict[str, Any], name: str) -> None:
        self.name, self._precision = name, precision
        with engine.device:  # the weights are drawn there, not on the host first
            self._target = TorchDiffusion(engine.threads, str(engine.device), precision, **size)
        self.engine = self._target.engine

    def prepare(self, cell: Cell) -> Trial:
        """Each repetition starts from noise that was drawn beforehand and lies on the device."""
        batch_size, steps = int(cell.levels["batch_size"]), int(cell.levels["steps"])
        return Trial(
            lambda: self._target.start(batch_size, steps, 0).finish,
            lambda: self._target.start(batch_size, 1, 0).finish(),
        )

    def about(self) -> dict[str, Any]:
        """The network's size."""
        size = UNetSize.of(**asdict(self._target.config))
        return {
            **asdict(self._target.config),
            "parameters": size.parameters,
            "operations_per_image_step": size.operations,
            "precision": self._precision,
            "weights": "random",
        }

    def versions(self) -> dict[str, str]:
        """torch, CUDA where it is used, numpy."""
        return self.engine.versions() | {"numpy": np.__version__}

    def close(self) -> None:
        """Give the memory back."""
        self._target.close()
