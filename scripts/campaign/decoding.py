"""Prefill and decode of a decoder, timed apart; decode steps are timed themselves, never by subtraction.

A prefill reads `input_tokens` for each of `batch_size` sequences and picks the first token. A decode step gives
each of `batch_size` sequences one token, with `context_tokens` in the cache; it writes to the same place each time,
so nothing has to be put back between repetitions. `execution` is "graph" (the step is captured once and replayed,
as serving engines do) or "eager" (every kernel launched from Python).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from campaign.bench import Trial
from campaign.decoder import Decoder
from campaign.plan import Cell, Level
from campaign.shapes import DecoderShape
from qmodel.errors import InputError
from qmodel.measure.targets.base import OutOfMemory
from qmodel.measure.targets.torch_engine import TorchEngine

OLDEST_TORCH = (2, 5)
GRAPH, EAGER = "graph", "eager"


class DecoderBench:
    """A decoder in one or several precisions, all in memory at once; the first one is the default level."""

    def __init__(
        self,
        shape: DecoderShape,
        engine: TorchEngine,
        precisions: Sequence[str] = ("bfloat16",),
        longest: int = 32_769,
    ) -> None:
        self.name, self.shape, self.engine = shape.name, shape, engine
        self._default = precisions[0]
        check_version(torch.__version__)
        if engine.on_cuda:  # one kind of attention kernel throughout, and none that is compiled for each new shape
            torch.backends.cuda.enable_cudnn_sdp(False)
        with engine.guarded():
            self._models = {
                name: Decoder(shape, engine.device, getattr(torch, name), longest=longest) for name in precisions
            }

    def executions(self) -> tuple[str, ...]:
        """Ways of running a decode step that work here, the one to use by default first."""
        return (GRAPH, EAGER) if self.engine.on_cuda and self._can_capture() else (EAGER,)

    def _can_capture(self) -> bool:
        cell = Cell("decode", {"batch_size": 1, "context_tokens": 16, "execution": GRAPH})
        try:
            self.prepare(cell).begin()()
            self.engine.synchronise()
        except (RuntimeError, OutOfMemory):
            return False
        return True

    def prepare(self, cell: Cell) -> Trial:
        """Tokens, a cache, and the call that works on them."""
        with self.engine.guarded():
            return self._prefill(cell) if cell.phase == "prefill" else self._decode(cell)

    def _prefill(self, cell: Cell) -> Trial:
        model, layers = self._models[self._precision(cell)], self._layers(cell)
        size = number(cell.levels["batch_size"]), number(cell.levels["input_tokens"])
        tokens, cache = model.tokens(*size), model.cache(*size, layers)
        return Trial.repeating(
            lambda: model.prefill(tokens, cache, layers), lambda: model.prefill(tokens, cache, 1)
        )

    def _decode(self, cell: Cell) -> Trial:
        model, layers = self._models[self._precision(cell)], self._layers(cell)
        batch_size, context = number(cell.levels["batch_size"]), number(cell.levels["context_tokens"])
        tokens, cache = model.tokens(batch_size, 1), model.cache(batch_size, context + 1, layers, filled=True)

        def step() -> Any:
            return model.decode(tokens, cache, context, layers)

        return Trial.repeating(captured(step) if cell.levels.get("execution") == GRAPH else step)

    def _layers(self, cell: Cell) -> int:
        return number(cell.levels.get("exit_layer", self.shape.layers))

    def _precision(self, cell: Cell) -> str:
        return str(cell.levels.get("precision", self._default))

    def about(self) -> dict[str, Any]:
        """The shape, and which kernels do the attention."""
        attention = "scaled_dot_product_attention, grouped heads" + (", cuDNN off" if self.engine.on_cuda else "")
        return {
            **asdict(self.shape),
            "parameters": self.shape.parameters,
            "kv_bytes_per_token": self.shape.kv_bytes_per_token(self._default),
            "precisions": list(self._models),
            "weights": "random, drawn on the device in its precision",
            "attention": attention,
        }

    def versions(self) -> dict[str, str]:
        """torch, and CUDA where it is used."""
        return self.engine.versions()

    def close(self) -> None:
        """Drop the models."""
        self._models.clear()
        self.engine.release()


def check_version(version: str) -> None:
    """Raise InputError for a torch whose attention knows no grouped heads.

    >>> check_version("2.13.0+cu128")
    """
    found = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if found < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise InputError("torch", f"{version} has no attention with grouped heads", f"use {oldest} or later")


def number(level: Level) -> int:
    """The level of a numeric factor."""
    return int(level)


def captured(work: Callable[[], Any]) -> Callable[[], None]:
    """The work as a CUDA graph: three calls on another stream to warm up, then captured once, then replayed."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay(_keep: Any = result) -> None:
        graph.replay()

    return replay
