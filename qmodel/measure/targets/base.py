"""What can be timed: the target contract, and the registry of targets by name.

A new target is one new file beside this one and one line in `TARGETS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from qmodel.errors import InputError, nearest

Level = int | float | str
Levels = Mapping[str, Level]
Trial = Callable[[], float | None]
"""One repetition. Returns its latency in seconds if the target times itself (CUDA events), else None."""


class OutOfMemory(Exception):
    """The target ran out of memory at these levels: a row of the measurement, not an abort."""


class Target(Protocol):
    """Real computation whose time depends on factors.

    Attributes: `name` (target column), `device` (device column, names the hardware), `phases` (what is timed
    apart, e.g. prefill and decode), `factors` (phase -> names accepted there).
    """

    name: str
    device: str
    phases: tuple[str, ...]
    factors: Mapping[str, tuple[str, ...]]

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """Set up one cell, untimed, and return the call that does one repetition of its work.

        Raises OutOfMemory (also from the trial) and InputError for levels that make no sense.
        """

    def peak_memory_bytes(self) -> int | None:
        """Peak memory of the last trial, or None where it cannot be had."""

    def versions(self) -> dict[str, str]:
        """Libraries that do the work, with their versions."""

    def close(self) -> None:
        """Release what the target holds (processes, device memory)."""


TARGETS = {
    "digits-diffusion": "qmodel.measure.targets.digits:DigitsDiffusion",
    "torch-diffusion": "qmodel.measure.targets.torch_diffusion:TorchDiffusion",
    "language-model": "qmodel.measure.targets.language_model:LanguageModel",
    "byte-model": "qmodel.measure.targets.byte_model:ByteModel",
    "smollm2": "qmodel.measure.targets.smollm2:SmolLM2",
    "transformers": "qmodel.measure.targets.transformers_batching:TransformersBatching",
    "openai-server": "qmodel.measure.targets.openai_server:OpenAIServer",
    "callable": "qmodel.measure.targets.callable:CallableTarget",
    "command": "qmodel.measure.targets.command:CommandTarget",
}


def make_target(kind: str, *, threads: int = 1, **options: Any) -> Target:
    """Build a target by its registered name; its own options come from the profile spec.

    Raises InputError for an unknown name and MissingExtra when its engine is not installed.
    """
    if kind not in TARGETS:
        raise InputError("target kind", f"'{kind}' is unknown", nearest(kind, list(TARGETS)))
    module, attribute = TARGETS[kind].split(":")
    factory: Callable[..., Target] = getattr(importlib.import_module(module), attribute)
    try:
        return factory(threads=threads, **options)
    except TypeError as error:
        raise InputError(f"target '{kind}'", str(error), "remove or correct that option") from error
