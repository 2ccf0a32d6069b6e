"""The system: servers, how requests share one, what bounds them, and the fitted model or iteration time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from qmodel.errors import InputError
from qmodel.policy.routing import Routing
from qmodel.service.engine import Engine
from qmodel.service.environment import Environment
from qmodel.service.from_model import FittedModel
from qmodel.service.iteration_time import IterationTime
from qmodel.workload.distribution import Distribution

Batching = Literal["none", "processor-sharing", "dynamic", "continuous"]
MEANT_FOR = {
    "max_batch": ("processor-sharing", "dynamic", "continuous"),
    "min_batch": ("dynamic",),
    "bins": ("dynamic",),
    "kv_capacity_tokens": ("continuous",),
    "iteration_time": ("dynamic", "continuous"),
    "engine": ("continuous",),
}
COUNTS = ("servers", "max_batch", "min_batch", "kv_capacity_tokens", "buffer")


@dataclass(frozen=True)
class System:
    """What serves.

    `buffer`: most requests in the system at once; one that finds it full is rejected. `routing`: which server's
    queue an arrival joins. `migration_s`: an idle server fetches a waiting request from the longest queue, which
    takes so long (None: never). `setup_s`: time to switch on after an idle spell. `vacation_s`: the server leaves
    for so long whenever it runs empty, again and again. `environment`: speed that follows a Markov chain.
    `min_batch`: a dynamic batch starts no smaller. `bins`: dynamic batches hold requests of one bin of sizes only;
    a number of equally likely bins, or their inner edges in seconds of service or output tokens. `engine`: how
    continuous batching fills an iteration and keeps its memory (None: as vLLM does by default).
    """

    servers: int = 1
    batching: Batching = "none"
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    model: FittedModel | None = None
    iteration_time: IterationTime | None = None
    min_batch: int | None = None
    bins: int | tuple[float, ...] | None = None
    buffer: int | None = None
    routing: Routing = field(default_factory=Routing)
    migration_s: float | None = None
    setup_s: Distribution | None = None
    vacation_s: Distribution | None = None
    environment: Environment | None = None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"system, {name}", f"{value} is below 1", "give a whole number above 0")
        for name, batchings in MEANT_FOR.items():
            if getattr(self, name) is not None and self.batching not in batchings:
                fault = f"has no meaning with batching = '{self.batching}'"
                raise InputError(f"system, {name}", fault, "it belongs to " + " or ".join(batchings))
        self._check_batches()
        if self.migration_s is not None:
            self._check_migration(self.migration_s)

    @property
    def batches(self) -> bool:
        """Whether requests are served together, in batches or in the iterations of an engine."""
        return self.batching in ("dynamic", "continuous")

    def _check_batches(self) -> None:
        if self.min_batch is not None and self.max_batch is not None and self.min_batch > self.max_batch:
            fault = f"{self.min_batch} is above max_batch, {self.max_batch}"
            raise InputError("system, min_batch", fault, "give at most max_batch")
        if isinstance(self.bins, int) and self.bins < 1:
            raise InputError("system, bins", f"{self.bins} is below 1", "give a whole number above 0")
        if isinstance(self.bins, tuple):
            edges = (0.0, *self.bins, math.inf)
            if any(not low < high for low, high in itertools.pairwise(edges)):
                raise InputError("system, bins", "edges must be above 0 and increase", "e.g. [100, 500]")

    def _check_migration(self, seconds: float) -> None:
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError("system, migration_s", f"{seconds} is no time", "give seconds >= 0")
        if self.routing.kind == "shared":
            raise InputError("system, migration_s", "has no meaning with one shared queue", "set system.routing")

    @property
    def features(self) -> frozenset[str]:
        """Words for what is unusual about the system (see `Scenario.features`)."""
        asked: dict[str, Any] = {
            "buffer": self.buffer,
            "routing": None if self.routing.kind == "shared" or self.servers == 1 else self.routing,
            "migration": self.migration_s,
            "setup": self.setup_s,
            "vacation": self.vacation_s,
            "environment": self.environment,
            "static-batching": None if self.min_batch == 1 else self.min_batch,
            "bins": None if self.bins == 1 else self.bins,
        }
        return frozenset(word for word, value in asked.items() if value is not None)
