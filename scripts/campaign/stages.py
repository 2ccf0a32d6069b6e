"""The stages by name: what each one times, at which levels, full size or as a smoke test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from campaign.costs import CostOf, of_decoder, of_unet
from campaign.plan import Design, Grid, Level
from campaign.runner import Protocol
from campaign.shapes import LLAMA_1B, LLAMA_8B, TINY, DecoderShape

if TYPE_CHECKING:
    from campaign.bench import Bench
    from qmodel.measure.targets.torch_engine import TorchEngine

Factors = dict[str, Sequence[Level]]
LATE_TOKENS = 131_072
"""Prefills of more tokens at once come last: no server reads so many in one pass, and they take longest."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PREFILL_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
DECODE_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
PRECISIONS = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Stage:
    """What one stage measures at one scale.

    `design` takes the ways of running a decode step that work on the device; `bench` makes the computations.
    `setup_s` is a first guess of what setting up a cell takes. `capacity_bytes` stands in for the device's memory;
    `ceiling_width` and `ceiling_bytes` size the product and the copy that are timed first.
    """

    name: str
    title: str
    bench: Callable[[TorchEngine], Bench]
    cost_of: CostOf
    design: Callable[[tuple[str, ...]], Design]
    protocol: Protocol = field(default_factory=Protocol)
    capacity_bytes: float | None = None
    setup_s: float = 0.1
    ceiling_width: int = 8192
    ceiling_bytes: int = 4 << 30
    scale: str = "full"


def shape_named(target: str) -> DecoderShape | None:
    """The decoder of a target's name; None for a target that is no decoder."""
    return next((shape for shape in (LLAMA_1B, LLAMA_8B, TINY) if shape.name == target), None)


def many_tokens(levels: Mapping[str, Level]) -> bool:
    """Whether a prefill reads more tokens at once than servers do."""
    return int(levels["batch_size"]) * int(levels["input_tokens"]) > LATE_TOKENS


def prefill_design(executions: tuple[str, ...]) -> Design:
    """Batch 1-64 by 16-8192 tokens; coarse: every second batch, every third length."""
    factors: Factors = {"batch_size": BATCHES, "input_tokens": PREFILL_TOKENS}
    coarse: Factors = {"batch_size": BATCHES[::2], "input_tokens": PREFILL_TOKENS[::3]}
    return Design([Grid("prefill", factors, coarse, many_tokens)])


def decode_design(executions: tuple[str, ...]) -> Design:
    """Batch 1-256 by context 128-32768; coarse: every second of each. Launching from Python: the coarse grid."""
    coarse: Factors = {"batch_size": DECODE_BATCHES[::2], "context_tokens": CONTEXTS[::2]}
    factors: Factors = {"batch_size": DECODE_BATCHES, "context_tokens": CONTEXTS}
    grids = [Grid("decode", {**factors, "execution": executions[:1]}, coarse)]
    grids += [
        Grid("decode", {**coarse, "execution": (other,)}, late=lambda levels: True) for other in executions[1:]
    ]
    return Design(grids, repetitions=3)


def exit_precision_design(executions: tuple[str, ...]) -> Design:
    """Every exit layer in every precision, at a few sizes of prefill and of decode step."""
    exits: Factors = {"exit_layer": (4, 8, 12, 16), "precision": PRECISIONS}
    decode: Factors = {"batch_size": (1, 64), "context_tokens": (512, 4096), "execution": executions[:1], **exits}
    prefill: Factors = {"batch_size": (8,), "input_tokens": (256, 2048), **exits}
    coarse: Factors = {"exit_layer": (4, 16), "precision": ("bfloat16", "float32")}
    return Design([Grid("decode", decode, coarse), Grid("prefill", prefill, coarse)])


def diffusion_design(executions: tuple[str, ...]) -> Design:
    """Batch 1-64 by 1-30 steps; coarse: every third batch, the ends and the middle of the steps."""
    steps = (1, 5, 10, 20, 30)
    coarse: Factors = {"batch_size": BATCHES[::3], "steps": steps[::2]}
    return Design([Grid("denoise", {"batch_size": BATCHES, "steps": steps}, coarse)])


LATENT_DIFFUSION: dict[str, Any] = {
    "image_size": 64, "in_channels": 4, "channels": (320, 640, 1280, 1280), "blocks": 2, "classes": 1000,
    "groups": 32, "attention": True,
}  # fmt: skip
"""The size of a latent-diffusion U-Net for 512 x 512 images (Rombach et al. 2022), class-conditional."""
TINY_UNET: dict[str, Any] = {"image_size": 8, "channels": (16, 32), "attention": True}


def decoder_stage(
    name: str,
    title: str,
    shape: DecoderShape,
    design: Callable[[tuple[str, ...]], Design],
    *,
    precisions: tuple[str, ...] = ("bfloat16",),
    longest: int = 32_769,
    **rest: Any,
) -> Stage:
    """A stage on a decoder; `longest` is the longest context with its next token."""

    def bench(engine: TorchEngine) -> Bench:
        from campaign.decoding import DecoderBench

        return DecoderBench(shape, engine, precisions, longest)

    return Stage(name, title, bench, of_decoder(shape, precisions[0]), design, **rest)


def diffusion_stage(
    title: str,
    target: str,
    size: dict[str, Any],
    precision: str,
    design: Callable[[tuple[str, ...]], Design],
    **rest: Any,
) -> Stage:
    """The stage on a U-Net."""

    def bench(engine: TorchEngine) -> Bench:
        from campaign.denoising import DenoisingBench

        return DenoisingBench(engine, precision, size, target)

    return Stage("diffusion", title, bench, of_unet(size, precision), design, **rest)


def full_stages() -> list[Stage]:
    """The campaign as it is meant for a GPU."""
    return [
        decoder_stage("prefill-1b", "prefill, 1 B class", LLAMA_1B, prefill_design),
        decoder_stage("decode-1b", "decode step, 1 B class", LLAMA_1B, decode_design, setup_s=0.25),
        decoder_stage("prefill-8b", "prefill, 8 B class", LLAMA_8B, prefill_design),
        decoder_stage("decode-8b", "decode step, 8 B class", LLAMA_8B, decode_design, setup_s=0.25),
        decoder_stage(
            "exit-precision", "exit layer and precision, 1 B class", LLAMA_1B, exit_precision_design,
            precisions=PRECISIONS, setup_s=0.15,
        ),
        diffusion_stage("U-Net of latent diffusion", "unet-latent", LATENT_DIFFUSION, "bfloat16", diffusion_design),
    ]  # fmt: skip


def smoke_stages() -> list[Stage]:
    """Every stage with a tiny model and a tiny grid: the same program, in seconds on a CPU."""
    small: dict[str, Any] = {
        "protocol": Protocol(0.002, 0.0), "ceiling_width": 128, "ceiling_bytes": 1 << 20, "scale": "smoke"
    }  # fmt: skip
    tiny = {"longest": 64, "capacity_bytes": float(TINY.decode_cost(2, 1024).held_bytes), **small}
    return [
        decoder_stage("prefill-1b", "prefill, tiny", TINY, _smoke_prefill, **tiny),
        decoder_stage("decode-1b", "decode step, tiny", TINY, _smoke_decode, **tiny),
        decoder_stage("prefill-8b", "prefill, tiny", TINY, _smoke_prefill, **tiny),
        decoder_stage("decode-8b", "decode step, tiny", TINY, _smoke_decode, **tiny),
        decoder_stage(
            "exit-precision", "exit layer and precision, tiny", TINY, _smoke_exit_precision,
            precisions=PRECISIONS, **tiny,
        ),
        diffusion_stage("U-Net, tiny", "unet-tiny", TINY_UNET, "float32", _smoke_diffusion, **small),
    ]  # fmt: skip


def _smoke_prefill(executions: tuple[str, ...]) -> Design:
    factors: Factors = {"batch_size": (1, 2, 4), "input_tokens": (8, 16, 1 << 20)}
    return Design([Grid("prefill", factors, {"batch_size": (1, 4), "input_tokens": (8, 16)})], rounds=2)


def _smoke_decode(executions: tuple[str, ...]) -> Design:
    factors: Factors = {"batch_size": (1, 2, 4), "context_tokens": (8, 32, 1 << 20), "execution": executions[:1]}
    coarse: Factors = {"batch_size": (1, 4), "context_tokens": (8, 32)}
    return Design([Grid("decode", factors, coarse)], rounds=2, repetitions=2)


def _smoke_exit_precision(executions: tuple[str, ...]) -> Design:
    exits: Factors = {"exit_layer": (1, 2, 4), "precision": PRECISIONS}
    decode: Factors = {"batch_size": (1, 2), "context_tokens": (8,), "execution": executions[:1], **exits}
    prefill: Factors = {"batch_size": (1,), "input_tokens": (8,), **exits}
    return Design([Grid("decode", decode), Grid("prefill", prefill)], rounds=2)


def _smoke_diffusion(executions: tuple[str, ...]) -> Design:
    return Design([Grid("denoise", {"batch_size": (1, 2), "steps": (1, 2, 3)})], rounds=2)
