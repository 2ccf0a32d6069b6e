"""An imported trace as a scenario file that `qmodel predict` and `simulate` take as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qmodel.errors import InputError
from qmodel.fit.arrivals_text import spelling
from qmodel.fit.pasting import inline
from qmodel.service.iteration_time import IterationTime

if TYPE_CHECKING:
    from qmodel.fit.arrivals import ArrivalProfile
    from qmodel.fit.lengths import Lengths
    from qmodel.interop.imported import Imported
    from qmodel.service.model import ServiceModel

EXAMPLE = IterationTime(
    base=0.01696, per_sequence=4.2e-5, per_context_token=1.393e-7, per_prefill_token=8.6e-5
)  # fmt: skip
"""Llama-3.1-8B in bf16 on one RTX 4090, fitted to LLMServingSim's published kernel times (MIT licence)."""
EXAMPLE_NAME = "Llama-3.1-8B on one RTX 4090, from LLMServingSim's measurements"
MOST_BATCHED = 64
BUSY = 0.7
"""Load that the example's number of servers, or the rate of a file without times, is chosen for."""
FAR_OFF = 0.4
"""A fitted process whose waits are off by more than exp(this) gives way to a replay of the record."""


@dataclass(frozen=True)
class Supply:
    """What serves the traffic: a fitted model by its path as the scenario spells it, or the example."""

    path: str | None = None
    model: ServiceModel | None = None

    @property
    def whole_requests(self) -> bool:
        """Whether the model tells the time of a whole request (of its lengths), not that of an iteration."""
        return self.model is not None and set(self.model.factors) <= {"input_tokens", "output_tokens"}


def scenario_text(
    found: Imported, shown: ArrivalProfile | None, lengths: Lengths | None, file: str, supply: Supply
) -> str:
    """The scenario in TOML; `file` is the tidy CSV beside it, for what is replayed or drawn from it.

    Raises InputError where the file tells no lengths.
    """
    if lengths is None or len(lengths.marginals) < 2:
        fault = "has too few requests with input and output tokens for a scenario"
        raise InputError(found.path, fault, "give a trace or log with both lengths")
    need = _seconds_each(lengths)
    rate = None if shown is None else shown.shape.rate
    lines = [
        f"# Traffic of {Path(found.path).name}: {found.title}, {len(found.frame):,} requests.",
        "# Written by qmodel import.",
        "",
        *_system(supply, 1 if rate is None else math.ceil(rate * need / BUSY)),
        "",
        "[[class]]",
        'name = "requests"',
        *(_arrivals(shown, file) if shown is not None else _invented(BUSY / need)),
        *lengths.spellings(file),
    ]
    return "\n".join(lines) + "\n"


def _system(supply: Supply, servers: int) -> Iterator[str]:
    yield "[system]"
    if supply.whole_requests:
        yield f"service = {inline(supply.path)}"
        return
    yield 'batching = "continuous"'
    yield f"max_batch = {MOST_BATCHED}"
    if supply.path is not None:
        yield f"service = {inline(supply.path)}"
        return
    yield f"servers = {servers}"
    if servers > 1:
        yield 'routing = "jsq"'
    yield ""
    yield f"# An example, to be replaced by your own: {EXAMPLE_NAME}."
    yield "[system.iteration_time]"
    for name, value in vars(EXAMPLE).items():
        yield f"{name} = {value!r}"


def _arrivals(shown: ArrivalProfile, file: str) -> Iterator[str]:
    """The fitted process where it serves; else the record itself, with what was fitted as a comment."""
    chosen = shown.chosen
    pasted = "" if chosen is None else spelling(chosen)
    near = chosen is not None and (shown.tests.poisson or chosen.delay_error <= FAR_OFF)
    replay = f'arrivals = "trace:{file}"'
    if pasted and near:
        yield pasted
        yield f"# {replay}"
        return
    yield replay
    if pasted and chosen is not None:
        yield f"# fitted: {chosen.name}, whose waits are off by a factor {math.exp(chosen.delay_error):.2g}:"
        yield f"# {pasted}"


def _invented(rate: float) -> Iterator[str]:
    yield f"# The file tells no arrival times: Poisson, at about {BUSY:g} of what the example server carries."
    yield f'arrivals = {{ process = "poisson", rate = {rate:.3g} }}'


def _seconds_each(lengths: Lengths) -> float:
    """Seconds of the example server that a request takes in full batches, at mean lengths."""
    inputs, outputs = (one.mean for one in lengths.marginals)
    step = EXAMPLE.base / MOST_BATCHED + EXAMPLE.per_sequence + EXAMPLE.per_context_token * (inputs + outputs / 2.0)
    return EXAMPLE.per_prefill_token * inputs + outputs * step
