"""The question: workload, service, system and policy put together, and what each instrument reads from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from qmodel.errors import InputError
from qmodel.policy import FCFS, PS, Policy
from qmodel.scenario_tables import to_tables
from qmodel.service.from_model import FittedModel, mapped, service_law
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import FewerSteps, QueueCondition, Service, Transform
from qmodel.workload import ArrivalProcess, Distribution, Mixture, PredictedSize, RequestClass

Batching = Literal["none", "processor-sharing", "dynamic", "continuous"]
MEANT_FOR = {
    "max_batch": ("processor-sharing", "dynamic", "continuous"),
    "kv_capacity_tokens": ("continuous",),
    "iteration_time": ("dynamic", "continuous"),
}


@dataclass(frozen=True)
class System:
    """What serves: servers, how requests share one, memory, and the fitted model or iteration time."""

    servers: int = 1
    batching: Batching = "none"
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    model: FittedModel | None = None
    iteration_time: IterationTime | None = None

    def __post_init__(self) -> None:
        for name in ("servers", "max_batch", "kv_capacity_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"system, {name}", f"{value} is below 1", "give a whole number above 0")
        for name, batchings in MEANT_FOR.items():
            if getattr(self, name) is not None and self.batching not in batchings:
                fault = f"has no meaning with batching = '{self.batching}'"
                raise InputError(f"system, {name}", fault, "it belongs to " + " or ".join(batchings))


@dataclass(frozen=True)
class ServedClass:
    """A class as an instrument sees it: its arrivals, and what serving one of its requests takes.

    `service` holds while the queue is short; `long_queue` replaces it for a service that starts while the
    scenario's queue condition holds (None without one).
    """

    name: str
    arrivals: ArrivalProcess
    service: Service
    long_queue: Service | None
    priority: int
    weight: float
    predicted_size: PredictedSize
    slo: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Arrivals per second."""
        return self.arrivals.rate

    @property
    def size(self) -> Distribution:
        """Law of the server's time per request while the queue is short."""
        return self.service.occupancy

    @property
    def load(self) -> float:
        """Arrival rate times mean service time."""
        return self.rate * self.size.mean


@dataclass(frozen=True)
class Scenario:
    """Traffic, service, system and policy. Every instrument answers it with the same shape of answer.

    >>> from qmodel.workload import Exponential, Poisson
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> Scenario(classes=[chat]).at_load(0.5).rate
    0.5
    """

    classes: Sequence[RequestClass]
    policy: Policy = field(default_factory=FCFS)
    system: System = field(default_factory=System)
    transforms: Sequence[Transform] = ()
    name: str = "scenario"

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "transforms", tuple(self.transforms))
        if not self.classes:
            raise InputError("scenario", "has no class", "add at least one [[class]]")
        names = [request_class.name for request_class in self.classes]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"class '{name}'", "is there twice", "give each class its own name")
        if len({transform.when for transform in self.transforms if transform.when}) > 1:
            raise InputError("transform", "two different queue conditions", "use one above_queue and below_queue")

    @property
    def rate(self) -> float:
        """Total arrivals per second."""
        return math.fsum(request_class.rate for request_class in self.classes)

    @property
    def condition(self) -> QueueCondition | None:
        """The queue condition of the state-dependent transforms, if there are any."""
        return next((transform.when for transform in self.transforms if transform.when), None)

    @cached_property
    def served(self) -> tuple[ServedClass, ...]:
        """The classes as instruments see them, transforms applied, in the scenario's order."""
        return tuple(self._serve(request_class) for request_class in self.classes)

    @property
    def utilisation(self) -> float:
        """Offered load per server while the queue is short; stability is judged by the instruments."""
        return math.fsum(served.load for served in self.served) / self.system.servers

    @property
    def size(self) -> Distribution:
        """Law of the service time of a request of any class."""
        if len(self.served) == 1:
            return self.served[0].size
        shares = tuple(served.rate / self.rate for served in self.served)
        return Mixture(shares, tuple(served.size for served in self.served))

    @property
    def shares_server(self) -> bool:
        """Whether everyone present is served at once, by policy or by system."""
        return self.policy.sharing is not None or self.system.batching == "processor-sharing"

    def at_rate(self, rate: float) -> Scenario:
        """The same scenario at another total arrival rate; classes keep their shares."""
        return replace(self, classes=tuple(c.at_rate(rate * (c.rate / self.rate)) for c in self.classes))

    def at_load(self, load: float, *, transforms: bool = False) -> Scenario:
        """The rate at which the untransformed service loads the servers to `load` (of their capacity).

        With `transforms`, the load counts the transformed service of a short queue.
        """
        plain = self if transforms else replace(self, transforms=())
        return self.at_rate(self.rate * load / plain.utilisation)

    def with_policy(self, policy: Policy) -> Scenario:
        """The same scenario under another policy."""
        return replace(self, policy=policy)

    def with_transforms(self, *transforms: Transform) -> Scenario:
        """The same scenario with these transforms in place of its own."""
        return replace(self, transforms=transforms)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the scenario says, in canonical form: equal questions have equal fingerprints."""
        text = json.dumps(to_tables(self), sort_keys=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(text.encode()).hexdigest()

    def _serve(self, request_class: RequestClass) -> ServedClass:
        always = [transform for transform in self.transforms if transform.when is None]
        service = self._service(request_class, always)
        return ServedClass(
            name=request_class.name,
            arrivals=request_class.arrivals,
            service=service,
            long_queue=self._service(request_class, list(self.transforms)) if self.condition else None,
            priority=request_class.priority,
            weight=request_class.weight,
            predicted_size=request_class.predicted_size,
            slo=dict(request_class.slo),
        )

    def _service(self, request_class: RequestClass, transforms: list[Transform]) -> Service:
        factors = dict(request_class.factors)
        quality = energy = 1.0
        pending = []
        for transform in transforms:
            if isinstance(transform, FewerSteps) and request_class.service is None and "steps" in factors:
                before = factors["steps"].mean
                factors["steps"] = mapped(factors["steps"], transform.steps_kept)
                quality, energy = quality * transform.quality, energy * factors["steps"].mean / before
            else:
                pending.append(transform)
        service = Service(self._size(request_class, factors), quality=quality, energy=energy)
        for transform in pending:
            service = transform.apply(service)
        return service

    def _size(self, request_class: RequestClass, factors: dict[str, Distribution]) -> Distribution:
        if request_class.service is not None:
            return request_class.service
        if self.system.model is None:
            raise InputError(
                f"class '{request_class.name}'",
                "gives factors but the system has no fitted model",
                "set system.service",
            )
        return service_law(self.system.model, factors, f"class '{request_class.name}'")


def processor_sharing(scenario: Scenario) -> Scenario:
    """The scenario with `batching = "processor-sharing"` and no cap spelled as the PS policy, its equal."""
    if scenario.system.batching == "processor-sharing" and scenario.system.max_batch is None:
        return replace(scenario, policy=PS(), system=replace(scenario.system, batching="none"))
    return scenario
