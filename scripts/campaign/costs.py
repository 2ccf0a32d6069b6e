"""What a cell costs, from arithmetic alone: no device and no weights are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from campaign.plan import Cell
from campaign.shapes import BYTES, WORKSPACE_BYTES, Cost, DecoderShape

GRAPH_LAUNCHES = 0.3
"""A kernel of a replayed graph starts in about this share of the time that a launch from Python takes."""

FLOAT32_SLOWDOWN = 12
"""Products of float32 run so many times slower than those of bfloat16 on a GPU with tensor cores."""

LAUNCHES_PER_BLOCK = 6
"""Kernels for each convolution of a U-Net: itself, its bias, a normalisation, an activation, an addition."""

CostOf = Callable[[Cell], Cost]


def of_decoder(shape: DecoderShape, precision: str = "bfloat16") -> CostOf:
    """Costs of prefill and decode cells; the cell's own precision and exit layer come first."""

    def cost(cell: Cell) -> Cost:
        levels = cell.levels
        batch_size, layers = int(levels["batch_size"]), int(levels.get("exit_layer", shape.layers))
        size = str(levels.get("precision", precision))
        slower = FLOAT32_SLOWDOWN if size == "float32" else 1
        if cell.phase == "prefill":
            found = shape.prefill_cost(batch_size, int(levels["input_tokens"]), layers, size)
            return found._replace(operations=slower * found.operations)
        found = shape.decode_cost(batch_size, int(levels["context_tokens"]), layers, size)
        launches = found.launches * (GRAPH_LAUNCHES if levels.get("execution") == "graph" else 1.0)
        return found._replace(operations=slower * found.operations, launches=round(launches))

    return cost


def of_unet(size: dict[str, Any], precision: str) -> CostOf:
    """Costs of denoising cells: steps and images multiply those of one step of one image."""
    network = UNetSize.of(**size)

    def cost(cell: Cell) -> Cost:
        batch_size, steps = int(cell.levels["batch_size"]), int(cell.levels["steps"])
        weights = network.parameters * BYTES[precision]
        activations = batch_size * network.activations * BYTES[precision]
        return Cost(
            steps * batch_size * network.operations,
            steps * (weights + 4 * activations),
            weights + activations + WORKSPACE_BYTES,
            steps * LAUNCHES_PER_BLOCK * network.blocks,
        )

    return cost


@dataclass
class UNetSize:
    """Size of `qmodel.measure.targets.unet.UNet`, counted from its configuration, layer by layer.

    `operations` of one pass for one image (two for each multiply-add, products and convolutions), `activations`
    that its convolutions put out, `blocks`: how many convolutions.
    """

    parameters: int = 0
    operations: int = 0
    activations: int = 0
    blocks: int = 0

    @classmethod
    def of(
        cls, image_size: int = 8, in_channels: int = 1, channels: Sequence[int] = (32, 64), blocks: int = 1,
        classes: int = 10, groups: int = 8, attention: bool = False,
    ) -> UNetSize:  # fmt: skip
        """The size of a configuration; the defaults are those of `UNetConfig`."""
        size, first, width, side = cls(), channels[0], channels[0], image_size
        condition = 4 * first
        size.parameters += classes * condition
        size.linear(first, condition)
        size.linear(condition, condition)
        size.convolution(in_channels, first, 3, side)
        skips = [first]
        for level, wide in enumerate(channels):
            for _ in range(blocks):
                size.residual(width, wide, condition, side)
                width = wide
                skips.append(width)
            if level < len(channels) - 1:
                side //= 2
                size.convolution(width, width, 3, side)
                skips.append(width)
        for middle in range(2):
            size.residual(width, width, condition, side)
            if attention and not middle:
                size.attention(width, side)
        for level, wide in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                size.residual(width + skips.pop(), wide, condition, side)
                width = wide
            if level:
                side *= 2
                size.convolution(width, width, 3, side)
        size.parameters += 2 * first
        size.convolution(first, in_channels, 3, side)
        return size

    def linear(self, inputs: int, outputs: int) -> None:
        """A fully connected layer with bias."""
        self.parameters += (inputs + 1) * outputs
        self.operations += 2 * inputs * outputs

    def convolution(self, inputs: int, outputs: int, kernel: int, side: int) -> None:
        """A convolution with bias whose output has side^2 positions."""
        self.parameters += (kernel**2 * inputs + 1) * outputs
        self.operations += 2 * kernel**2 * inputs * outputs * side**2
        self.activations += outputs * side**2
        self.blocks += 1

    def residual(self, inputs: int, outputs: int, condition: int, side: int) -> None:
        """Two normalised convolutions, the condition between them, a 1x1 convolution where widths differ."""
        self.parameters += 2 * inputs + 2 * outputs
        self.convolution(inputs, outputs, 3, side)
        self.convolution(outputs, outputs, 3, side)
        self.linear(condition, outputs)
        if inputs != outputs:
            self.convolution(inputs, outputs, 1, side)

    def attention(self, width: int, side: int) -> None:
        """Self-attention over side^2 positions."""
        self.parameters += 2 * width
        self.convolution(width, 3 * width, 1, side)
        self.operations += 4 * side**4 * width
        self.convolution(width, width, 1, side)
