"""What can serve requests live: the engine contract, and the registry of engines by name.

An engine does the work of a request step by step; a step is never interrupted, so policies preempt and share
between steps. A new engine is one new file under `engines/` and one line in `ENGINES`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qmodel.errors import InputError, nearest

WARM_UP_S = 0.2


@dataclass(frozen=True, slots=True)
class Work:
    """What one request asks of an engine.

    `levels`: its factor levels (whole numbers); `size_s`: how long it takes by the model (an emulated engine needs
    no more); `seed`: for what is random in the computation; `first_share`: share of `size_s` that goes into the
    first step (a prefill), None where all steps are alike.
    """

    levels: Mapping[str, int]
    size_s: float
    seed: int = 0
    first_share: float | None = None

    def share_done(self, done: int, steps: int) -> float:
        """Share of the size that `done` of `steps` steps make.

        >>> Work({}, 3.0, first_share=0.5).share_done(2, 3)
        0.75
        """
        if self.first_share is None or steps == 1:
            return done / steps
        return self.first_share + (1.0 - self.first_share) * (done - 1) / (steps - 1)


class Job(Protocol):
    """A request's work under way: `remaining` steps, `tokens` delivered so far (0 where all comes at the end)."""

    remaining: int
    tokens: int

    def step(self) -> None:
        """Do one step, and return when it is done."""


class Engine(Protocol):
    """Does the work of requests.

    Attributes: `name`, `device` (names the hardware), `emulated` (time passes, nothing is computed), `factors`
    (levels it takes; empty: it needs `size_s` alone).
    """

    name: str
    device: str
    emulated: bool
    factors: tuple[str, ...]

    # an attribute `leaves_early`, true: requests may be done before their last step, as the engine itself finds
    # an attribute `batching`, where there is one, names how it serves requests together: "dynamic", "continuous"

    def start(self, work: Work) -> Job:
        """Set up one request's work; the server counts the time as service."""

    def versions(self) -> dict[str, str]:
        """Libraries that do the work, with their versions."""

    def close(self) -> None:
        """Release what the engine holds."""


ENGINES = {
    "digits-diffusion": "qmodel.live.engines.diffusion:DiffusionEngine",
    "torch-diffusion": "qmodel.live.engines.diffusion:DiffusionEngine",
    "language-model": "qmodel.live.engines.language_model:LanguageModelEngine",
    "byte-model": "qmodel.live.engines.exiting:ExitingEngine",
    "smollm2": "qmodel.live.engines.exiting:ExitingEngine",
    "transformers": "qmodel.live.engines.transformers:TransformersEngine",
    "emulated": "qmodel.live.engines.emulated:EmulatedEngine",
}


def make_engine(kind: str, *, threads: int = 1, **options: Any) -> Engine:
    """Build an engine by its registered name, or a user's own by `module:Class`.

    Raises InputError for an unknown name or option and MissingExtra when its library is not installed.
    """
    if kind not in ENGINES and ":" not in kind:
        raise InputError("engine", f"'{kind}' is unknown", nearest(kind, list(ENGINES)))
    module, _, attribute = ENGINES.get(kind, kind).partition(":")
    try:
        factory: Callable[..., Engine] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"engine '{kind}'", str(error), "name an importable MODULE:CLASS") from error
    try:
        return factory(kind, threads=threads, **options)
    except TypeError as error:
        raise InputError(f"engine '{kind}'", str(error), "remove or correct that option") from error


def warm_up(engine: Engine, works: Iterable[Work], seconds: float = WARM_UP_S) -> None:
    """Two steps of each work, then steps of the first for `seconds`: memory is there and caches are warm."""
    if engine.emulated:
        return
    works = list(works)
    for work in works:
        _steps(engine, work, 2)
    until = time.monotonic() + seconds
    while works and time.monotonic() < until:
        _steps(engine, works[0], 16)


def _steps(engine: Engine, work: Work, most: int) -> None:
    job = engine.start(work)
    while job.remaining and most > 0:
        job.step()
        most -= 1
