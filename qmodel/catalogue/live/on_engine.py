"""A row's scenario turned into one that an engine of this machine serves: real work in place of seconds.

Time runs faster than in the row, by one factor for all of it: a request's seconds become denoising steps, or its
tokens fewer tokens; rates, promises, quanta and levels follow. Loads stay as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.catalogue.live.calibrating import ENGINE, MAX_BATCH, STEPS, TOKENS_AT_ONCE
from qmodel.catalogue.time_scale import Tables, in_time
from qmodel.errors import InputError
from qmodel.service.from_model import levels

if TYPE_CHECKING:
    from qmodel.scenario import Scenario
    from qmodel.workload import Distribution

MEAN_STEPS = 16.0
"""Denoising steps of a mean request: about 8 ms on an idle core."""
MEAN_TOKENS = 40.0
"""Tokens of a mean output."""
LONGEST = 400
"""Tokens of a prompt or an output at most."""
BLOCK = 4
"""Tokens of a KV block where memory is short: blocks of 16 would be coarse for such lengths."""
CELLS = 24
"""Values that a law of sizes is cut into, three moments kept."""


@dataclass(frozen=True)
class Machine(ABC):
    """An engine of this machine: `factor` seconds here are one of the row."""

    factor: float

    @property
    @abstractmethod
    def target(self) -> dict[str, Any]:
        """The engine's kind and options."""

    @abstractmethod
    def tables(self, own: Tables, scenario: Scenario) -> Tables:
        """The tables for this engine. `scenario` is what the row's own tables ask. Raises InputError."""


@dataclass(frozen=True)
class Steps(Machine):
    """One request at a time, in denoising steps, each for `unit_s` seconds of the row."""

    model: Path
    unit_s: float

    @property
    def target(self) -> dict[str, Any]:
        """The diffusion model."""
        return {"kind": "digits-diffusion"}

    def tables(self, own: Tables, scenario: Scenario) -> Tables:
        made = on_its_clock(own, self.factor)
        made["system"] = {**made.get("system", {}), "service": str(self.model.resolve())}
        for table, one in zip(made["class"], scenario.classes, strict=True):
            if one.service is None:
                fault = "has no service time in seconds to put into steps"
                raise InputError(f"class '{one.name}'", fault, "run the row's own scenario")
            table.pop("service", None)
            table["factors"] = {"steps": whole(one.service, self.unit_s, STEPS[-1])}
        made["transform"] = [_fewer_steps(table) for table in made.get("transform", []) if not _overhead(table)]
        return made


@dataclass(frozen=True)
class Tokens(Machine):
    """Continuous batching of a small decoder, each of its tokens for `divisor` of the row.

    Batches are smaller than the row's, and so is the memory. Beside preemption (`displaces`) it is left out, and
    who is displaced keeps its KV cache; unless a setting forbids to find a cache again (prefix_caching = false):
    then memory holds those who run and no more, and a cache is computed anew whenever its request comes back.
    Caches of requests that pause are swapped at the speed measured here.
    """

    coefficients: Mapping[str, float]
    divisor: float
    displaces: bool = False
    swap_tokens_per_s: float | None = None

    @property
    def target(self) -> dict[str, Any]:
        """The decoder."""
        return {"kind": "transformers", **ENGINE}

    def tables(self, own: Tables, scenario: Scenario) -> Tables:
        made = on_its_clock(own, self.factor)
        system = made["system"]
        batch, memory = system.get("max_batch") or MAX_BATCH, system.pop("kv_capacity_tokens", None)
        system["max_batch"] = min(batch, MAX_BATCH)
        system["iteration_time"] = dict(self.coefficients)
        system["engine"] = {**_kept(system), "max_batched_tokens": TOKENS_AT_ONCE}
        room = self._memory(memory, system["max_batch"], batch, system["engine"].get("prefix_caching", True))
        if room is not None:
            system["kv_capacity_tokens"] = room
            system["engine"] |= {"whole_prompt": False, "kv_block_tokens": BLOCK}
        if any(table.get("pause", {}).get("kv") == "swap" for table in made["class"]):
            system["engine"]["swap_tokens_per_s"] = self.swap_tokens_per_s
        for table, one in zip(made["class"], scenario.classes, strict=True):
            for name in ("input_tokens", "output_tokens"):
                table[name] = whole(one.factors[name], self.divisor, LONGEST)
        return made

    def _memory(self, memory: int | None, batch: int, batch_of_row: int, found_again: bool) -> int | None:
        """Tokens of the KV cache; None where there are no bounds."""
        if self.displaces:
            return None if found_again else batch * (2 * LONGEST + BLOCK)
        return None if memory is None else round(memory / self.divisor * batch / batch_of_row)


def _kept(system: Mapping[str, Any]) -> dict[str, Any]:
    """How prompts are computed, so that the engine can say that it does not do it; what is found again."""
    return {
        name: value for name, value in system.get("engine", {}).items() if name in ("prefill", "prefix_caching")
    }


def whole(law: Distribution, unit: float, most: int) -> dict[str, Any]:
    """A law in whole units of at least one and at most so many, as a table.

    >>> from qmodel.workload import Exponential
    >>> whole(Exponential(mean=1.0), 0.05, 160)["values"][-1]
    160.0
    """
    found: dict[float, float] = {}
    for value, probability in levels(law, CELLS):
        steps = float(min(max(1, round(value / unit)), most))
        found[steps] = found.get(steps, 0.0) + probability
    total = sum(found.values())
    return {
        "distribution": "discrete",
        "values": sorted(found),
        "probabilities": [found[value] / total for value in sorted(found)],
    }


def on_its_clock(own: Tables, factor: float) -> Tables:
    """The tables in the engine's time; a preemption is between steps and costs nothing, and so does a swap."""
    made = in_time(own, factor)
    for name in ("preemption_cost_s", "grain_s"):
        made.get("policy", {}).pop(name, None)
    for table in made.get("transform", []):
        table.pop("swap_time_s", None)
    return made


def _overhead(table: Mapping[str, Any]) -> bool:
    """Whether a transform only makes every service longer, as ramps do: this engine has none to compute."""
    return table["kind"] == "model-swap" and table["service_factor"] >= 1.0 and "above_queue" not in table


def _fewer_steps(table: Mapping[str, Any]) -> dict[str, Any]:
    """A smaller model stood for by fewer steps of the same; every other transform as it is."""
    if table["kind"] != "model-swap":
        return dict(table)
    kept = {name: value for name, value in table.items() if name not in ("kind", "service_factor")}
    return {"kind": "steps", "fraction": table["service_factor"], **kept}
