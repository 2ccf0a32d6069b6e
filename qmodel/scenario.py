"""The question: workload, service, system and policy put together, and what each instrument reads from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from qmodel.errors import InputError, nearest
from qmodel.policy import FCFS, PS, Policy
from qmodel.policy.preemption import Preemption
from qmodel.scenario_tables import to_tables
from qmodel.service.alone_time import AloneTime
from qmodel.service.from_model import FittedModel, mapped, service_law
from qmodel.service.station import Station
from qmodel.service.system import Batching, System
from qmodel.service.transform import ClipOutput, FewerSteps, QueueCondition, Service, Transform
from qmodel.workload import ArrivalProcess, Distribution, Mixture, Pause, PredictedSize, RequestClass

__all__ = ["Batching", "Scenario", "ServedClass", "System", "processor_sharing"]


@dataclass(frozen=True)
class ServedClass:
    """A class as an instrument sees it: its arrivals, and what serving one of its requests takes.

    `service` holds while the queue is short; `long_queue` replaces it for a service that starts while the
    scenario's queue condition holds (None without one). `at_stations`: the law of the service at each station of
    a tandem; `service` is then the first one's.
    """

    name: str
    arrivals: ArrivalProcess
    service: Service
    long_queue: Service | None
    priority: int
    weight: float
    predicted_size: PredictedSize
    slo: dict[str, float] = field(default_factory=dict)
    patience: Distribution | None = None
    pause: Pause | None = None
    prefix_hit: float = 0.0
    at_stations: dict[str, Distribution] = field(default_factory=dict)

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
        """Arrival rate times mean service time, of all the services that pauses lead to."""
        return self.rate * self.size.mean * (1.0 if self.pause is None else self.pause.services)


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
    preemption: Preemption = field(default_factory=Preemption)
    stations: Sequence[Station] = ()
    name: str = "scenario"

    def __post_init__(self) -> None:
        for several in ("classes", "transforms", "stations"):
            object.__setattr__(self, several, tuple(getattr(self, several)))
        if not self.classes:
            raise InputError("scenario", "has no class", "add at least one [[class]]")
        names = [request_class.name for request_class in self.classes]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"class '{name}'", "is there twice", "give each class its own name")
        if len({transform.when for transform in self.transforms if transform.when}) > 1:
            raise InputError("transform", "two different queue conditions", "use one above_queue and below_queue")
        self._check_stations()
        if self.policy.binds:
            object.__setattr__(self, "policy", self.policy.bound(self.served))

    def _check_stations(self) -> None:
        names = [station.name for station in self.stations]
        if len(set(names)) < len(names):
            raise InputError("station", "two have one name", "give each station its own name")
        for request_class in self.classes:
            place = f"class '{request_class.name}', services"
            unknown = next((name for name in request_class.services if name not in names), None)
            if unknown is not None:
                raise InputError(f"{place}, {unknown}", "is no station", nearest(unknown, names))
            if self.stations and not request_class.services:
                raise InputError(place, "is missing", "give the law of its service at each station it visits")

    @property
    def features(self) -> frozenset[str]:
        """Words for all that is unusual about the scenario.

        An instrument answers only if it handles every one of them; else it says which one it does not.
        """
        classes = self.classes
        preempts = self.policy.preemptive or self.policy.sharing is not None
        asked = {
            "preemption-cost": preempts and self.preemption.cost_s > 0,
            "grain": preempts and self.preemption.grain_s > 0,
            "stations": bool(self.stations),
            "patience": any(request_class.patience is not None for request_class in classes),
            "pause": any(request_class.pause is not None for request_class in classes),
            "prefix-hit": any(request_class.prefix_hit > 0 for request_class in classes),
            "joint-lengths": any(request_class.joint is not None for request_class in classes),
            "encode": any(request_class.encode_s is not None for request_class in classes),
        }
        arrivals = {request_class.arrivals.feature for request_class in classes} - {""}
        return self.system.features | arrivals | {word for word, is_asked in asked.items() if is_asked}

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
        """Offered load per server (of the busiest station) with a short queue; instruments judge stability."""
        if self.stations:
            return max(self._station_load(station) for station in self.stations)
        return math.fsum(served.load for served in self.served) / self.system.servers

    def _station_load(self, station: Station) -> float:
        laws = ((served.rate, served.at_stations.get(station.name)) for served in self.served)
        return math.fsum(rate * law.mean for rate, law in laws if law is not None) / station.servers

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
            patience=request_class.patience,
            pause=request_class.pause,
            prefix_hit=request_class.prefix_hit,
            at_stations=dict(request_class.services),
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
            elif isinstance(transform, ClipOutput) and request_class.service is None:
                factors, quality = transform.clipped(factors), quality * transform.quality
            else:
                pending.append(transform)
        service = Service(self._size(request_class, factors), quality=quality, energy=energy)
        for transform in pending:
            service = transform.apply(service)
        return service

    def _size(self, request_class: RequestClass, factors: dict[str, Distribution]) -> Distribution:
        if request_class.service is not None:
            return request_class.service
        if request_class.services:
            first = next(s.name for s in self.stations if s.name in request_class.services)
            return request_class.services[first]
        model = self._model
        if model is None:
            raise InputError(
                f"class '{request_class.name}'",
                "gives factors but the system has no fitted model",
                "set system.service",
            )
        return service_law(model, factors, f"class '{request_class.name}'", request_class.joint)

    @property
    def _model(self) -> FittedModel | None:
        """What turns a class's factors into the seconds of a request served alone."""
        if self.system.batching == "continuous" and self.system.model is not None:
            from qmodel.service.alone_by_tables import AloneByTables

            return AloneByTables(self.system.model)
        if self.system.model is None and self.system.iteration_time is not None:
            return AloneTime(self.system.iteration_time)
        return self.system.model


def processor_sharing(scenario: Scenario) -> Scenario:
    """The scenario with `batching = "processor-sharing"` and no cap spelled as the PS policy, its equal."""
    if scenario.system.batching == "processor-sharing" and scenario.system.max_batch is None:
        return replace(scenario, policy=PS(), system=replace(scenario.system, batching="none"))
    return scenario
