"""Transforms of service: each turns a class's service into (occupancy, delivery, quality, energy).

Occupancy is what the server spends, delivery is when, inside it, the result is out: T = W(occupancy) + delivery.
A transform applies always, or only while the queue is long (`above_queue`): the state is read as a service
starts, counting every request in the system, itself included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from qmodel.errors import InputError
from qmodel.service import cache_hits
from qmodel.workload.discrete import Deterministic, Discrete
from qmodel.workload.distribution import LARGEST, Distribution, Mixture, positive
from qmodel.workload.limited import Limited


@dataclass(frozen=True)
class Service:
    """What serving one request of a class takes and gives.

    `occupancy`: law of the server's time (s). `delivered_at`: law of the share of the occupancy after which the
    result is out, independent of it (None: at its end). `quality` and `energy` are relative to the full service.
    """

    occupancy: Distribution
    delivered_at: Discrete | None = None
    quality: float = 1.0
    energy: float = 1.0


def not_negative(transform: str, **values: float) -> None:
    """Refuse a negative or infinite value. Raises InputError naming it."""
    for name, value in values.items():
        if not 0 <= value <= LARGEST:
            raise InputError(f"{transform}, {name}", f"{value} is out of range", "give a finite value >= 0")


@dataclass(frozen=True)
class QueueCondition:
    """Applies to a service that starts with more than `above` in the system, itself included.

    With `below`, hysteresis: once applied it goes on until a service starts with fewer than `below` there.
    """

    above: int
    below: int | None = None
    swap_time_s: float = 0.0

    def __post_init__(self) -> None:
        if self.above < 0:
            raise InputError("transform, above_queue", f"{self.above} is negative", "give 0 or more")
        if self.below is not None and not 0 <= self.below <= self.above:
            raise InputError("transform, below_queue", f"{self.below} is out of range", f"give 0 to {self.above}")
        not_negative("transform", swap_time_s=self.swap_time_s)


@dataclass(frozen=True)
class Transform:
    """Base: `when` is None if it always applies."""

    when: QueueCondition | None = None

    def apply(self, service: Service) -> Service:
        """The transformed service."""
        raise TypeError(f"{type(self).__name__} does not transform")


@dataclass(frozen=True)
class AnotherModel(Transform):
    """Base: service times `service_factor` times as long, at relative `quality`; `kind` is its name in errors."""

    kind: ClassVar[str]
    service_factor: float = 1.0
    quality: float = 1.0
    energy_factor: float | None = None

    def __post_init__(self) -> None:
        positive(f"transform {self.kind}", service_factor=self.service_factor)
        not_negative(f"transform {self.kind}", quality=self.quality, energy_factor=self.energy_factor or 0.0)

    def apply(self, service: Service) -> Service:
        energy = self.service_factor if self.energy_factor is None else self.energy_factor
        return replace(
            service,
            occupancy=service.occupancy.scaled(self.service_factor),
            quality=service.quality * self.quality,
            energy=service.energy * energy,
        )


@dataclass(frozen=True)
class ModelSwap(AnotherModel):
    """A smaller model: service times `service_factor` times as long, at relative `quality`."""

    kind: ClassVar[str] = "model-swap"


@dataclass(frozen=True)
class Quantise(AnotherModel):
    """Weights and arithmetic of fewer bits: service times `service_factor` times as long, at relative `quality`.

    `energy_factor` is the energy a request takes relative to full precision (the service factor, if not given).
    """

    kind: ClassVar[str] = "quantise"


@dataclass(frozen=True)
class ClipOutput(Transform):
    """No answer is longer than `max_tokens`: the factor `output_tokens` becomes min(output_tokens, max_tokens)."""

    max_tokens: int = 1
    quality: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InputError("transform clip-output, max_tokens", f"{self.max_tokens} is below 1", "e.g. 256")
        not_negative("transform clip-output", quality=self.quality)

    def clipped(self, factors: Mapping[str, Distribution]) -> dict[str, Distribution]:
        """The factors with shorter outputs. Raises InputError where there is no factor `output_tokens`."""
        if "output_tokens" not in factors:
            raise InputError("transform clip-output", "a class gives no output_tokens", "leave it out")
        return {**factors, "output_tokens": Limited(factors["output_tokens"], float(self.max_tokens))}

    def apply(self, service: Service) -> Service:
        raise InputError("transform clip-output", "a class gives no output_tokens", "leave it out")


@dataclass(frozen=True)
class FewerSteps(Transform):
    """A share `fraction` of the steps (diffusion): the occupancy shrinks in proportion.

    With a fitted model that has a factor `steps`, a scenario applies it to that factor instead, rounded to
    whole steps (`steps_kept`), so that fixed costs stay.
    """

    fraction: float = 1.0
    quality: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise InputError("transform steps, fraction", f"{self.fraction} is not in (0, 1]", "e.g. 0.5")
        not_negative("transform steps", quality=self.quality)

    def steps_kept(self, steps: float) -> int:
        """Whole number of steps left of `steps`, at least 1.

        >>> FewerSteps(fraction=0.5).steps_kept(25)
        12
        """
        return max(1, round(self.fraction * steps))

    def apply(self, service: Service) -> Service:
        return replace(
            service,
            occupancy=service.occupancy.scaled(self.fraction),
            quality=service.quality * self.quality,
            energy=service.energy * self.fraction,
        )


@dataclass(frozen=True)
class EarlyExit(Transform):
    """With probability p_i a request leaves after the share f_i of its service.

    `delivery` "stop": the server stops too, occupancy shrinks. "release": the result goes out, the server goes
    on to the end, so only the moment of delivery moves and every queue stays as long as it was.
    """

    fractions: tuple[float, ...] = (1.0,)
    probabilities: tuple[float, ...] = (1.0,)
    delivery: str = "stop"
    quality: float = 1.0

    def __post_init__(self) -> None:
        if self.delivery not in ("stop", "release"):
            raise InputError("transform early-exit, delivery", f"{self.delivery!r} is unknown", "stop or release")
        if any(not 0 < f <= 1 for f in self.fractions):
            raise InputError("transform early-exit, fractions", "must be in (0, 1]", "e.g. [0.5, 1.0]")
        not_negative("transform early-exit", quality=self.quality)
        try:
            Discrete(self.fractions, self.probabilities)
        except InputError as error:
            fault = error.fault.replace("per value", "per fraction")
            raise InputError("transform early-exit, probabilities", fault, error.remedy) from error

    def apply(self, service: Service) -> Service:
        quality = service.quality * self.quality
        if self.delivery == "release":
            return replace(service, delivered_at=Discrete(self.fractions, self.probabilities), quality=quality)
        kept = sum(f * p for f, p in zip(self.fractions, self.probabilities, strict=True))
        laws = tuple(service.occupancy.scaled(f) for f in self.fractions)
        occupancy = laws[0] if len(laws) == 1 else Mixture(self.probabilities, laws)
        return replace(service, occupancy=occupancy, quality=quality, energy=service.energy * kept)


@dataclass(frozen=True)
class Cache(Transform):
    """With probability h a share `saved_fraction` of the service is saved; each look-up costs time.

    h is `hit_ratio`; or it follows from a cache of `capacity` of `items` whose popularities fall as rank^-zipf,
    with `eviction` lru (if not given), lfu, fifo or random (`cache_hits`).
    """

    hit_ratio: float | None = None
    saved_fraction: float = 1.0
    lookup_s: float = 0.0
    items: int | None = None
    capacity: int | None = None
    zipf: float | None = None
    eviction: str | None = None

    def __post_init__(self) -> None:
        for name in ("hit_ratio", "saved_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"transform cache, {name}", f"{value} is no share", "give 0 to 1")
        not_negative("transform cache", lookup_s=self.lookup_s)
        self._one_way()
        if self.saved_fraction == 1 and self.lookup_s == 0 and self.hits > 0:
            raise InputError("transform cache", "a hit would take no time", "give lookup_s above 0")

    def _one_way(self) -> None:
        """Either the hit ratio or what it follows from."""
        described = {name: getattr(self, name) for name in ("items", "capacity", "zipf")}
        given = [name for name, value in described.items() if value is not None]
        if (self.hit_ratio is not None) == bool(given):
            fault = "hit_ratio and items are both given" if given else "hit_ratio is missing"
            raise InputError("transform cache", fault, "give hit_ratio, or items, capacity and zipf")
        if given and len(given) < len(described):
            missing = next(name for name in described if name not in given)
            raise InputError(f"transform cache, {missing}", "is missing", "items, capacity and zipf go together")
        if not given and self.eviction is not None:
            raise InputError("transform cache, eviction", "has no meaning with hit_ratio", "give items instead")

    @property
    def hits(self) -> float:
        """Share of requests that hit, given or by the characteristic time."""
        if self.items is None or self.capacity is None or self.zipf is None:
            return self.hit_ratio or 0.0
        return cache_hits.hit_ratio(self.items, self.capacity, self.zipf, self.eviction or "lru")

    def apply(self, service: Service) -> Service:
        miss, hits = service.occupancy.shifted(self.lookup_s), self.hits
        if hits == 0:
            return replace(service, occupancy=miss)
        left = 1.0 - self.saved_fraction
        hit = service.occupancy.scaled(left).shifted(self.lookup_s) if left > 0 else Deterministic(self.lookup_s)
        occupancy = Mixture((hits, 1.0 - hits), (hit, miss))
        return replace(service, occupancy=occupancy, energy=service.energy * (1 - hits * self.saved_fraction))


TRANSFORMS: dict[str, tuple[type[Transform], tuple[str, ...]]] = {
    "model-swap": (ModelSwap, ("service_factor", "quality", "energy_factor")),
    "steps": (FewerSteps, ("fraction", "quality")),
    "early-exit": (EarlyExit, ("fractions", "probabilities", "delivery", "quality")),
    "cache": (Cache, ("hit_ratio", "saved_fraction", "lookup_s", "items", "capacity", "zipf", "eviction")),
    "quantise": (Quantise, ("service_factor", "quality", "energy_factor")),
    "clip-output": (ClipOutput, ("max_tokens", "quality")),
}
"""Kinds of transform by name, and the keys each takes in a scenario file."""

REQUIRED = {
    "model-swap": ("service_factor",),
    "steps": ("fraction",),
    "early-exit": ("fractions", "probabilities"),
    "cache": (),
    "quantise": ("service_factor",),
    "clip-output": ("max_tokens",),
}
"""The keys without which a kind would change nothing."""
