"""What a cell costs, from arithmetic alone: no device and no weights are needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from campaign.plan import Cell
from campaign.shapes import BYTES, WORKSPACE_BYTES, Cost, DecoderShape

GRAPH_LAUNCHES = 0.3
"""A kernel of a replayed graph starts in about this share of the time that a launch from Python takes."""

FLOAT32_SLOWDOWN = 12
"""Products of float32 run so many times slower than those of bfloat16 on a GPU with tensor cores."""

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


class NetworkSize(NamedTuple):
    """Weights of a network, operations of one pass for one sample, and its modules that compute."""

    parameters: int
    operations: float
    modules: int


def of_unet(size: dict[str, Any], precision: str) -> CostOf:
    """Costs of denoising cells: steps and images multiply those of one step of one image."""

    def cost(cell: Cell) -> Cost:
        from qmodel.measure.targets.unet import UNetConfig

        config = UNetConfig(**size)
        network = network_size(config)
        batch_size, steps = int(cell.levels["batch_size"]), int(cell.levels["steps"])
        first = config.channels[0] * config.image_size**2 * BYTES[precision]
        activations = batch_size * first * (4 * len(config.channels) * (config.blocks + 1) + 32)
        weights = network.parameters * BYTES[precision]
        return Cost(
            steps * batch_size * network.operations,
            steps * (weights + 4 * activations),
            weights + activations + WORKSPACE_BYTES,
            steps * 2 * network.modules,
        )

    return cost


@cache
def network_size(config: Any) -> NetworkSize:
    """Counted on a network without data: products and convolutions, two operations for each multiply-add."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from qmodel.measure.targets.unet import UNet

    with torch.device("meta"), torch.inference_mode():
        network = UNet(config)
        sample = torch.empty(1, config.in_channels, config.image_size, config.image_size)
        index = torch.zeros(1, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            network(sample, index, index)
    leaves = sum(1 for module in network.modules() if not list(module.children()))
    return NetworkSize(sum(w.numel() for w in network.parameters()), float(counter.get_total_flops()), leaves)
