"""A class of requests: arrivals, size, priority and what is asked of its latency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qmodel.errors import InputError, nearest
from qmodel.workload.arrivals import ArrivalProcess
from qmodel.workload.distribution import Distribution, positive
from qmodel.workload.joint_lengths import LENGTHS, JointLengths
from qmodel.workload.pause import Pause
from qmodel.workload.predicted_size import PredictedSize

if TYPE_CHECKING:
    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[float64]

SLO_NAME = re.compile(r"(?P<quantity>response|ttft|tpot)(_p(?P<percent>\d{1,2}(\.\d+)?))?_s")
COMMON_SLOS = [f"{quantity}{of}_s" for quantity in ("response", "ttft", "tpot") for of in ("_p99", "_p95", "")]


@dataclass(frozen=True)
class RequestClass:
    """Requests of one kind.

    `service` is the law of the service time in seconds when one server works on one request alone. With a
    fitted model instead, `factors` holds the law of each of the model's factors (`input_tokens`, `steps`,
    ...); in a tandem, `services` the law of the service at each station visited, in the stations' order. `slo`
    maps a metric to its limit in seconds: `response_p99_s`, `ttft_p95_s`, `response_s` (the mean).

    `patience`: law of the time (s) after which a request that still waits leaves unserved. `pause`: tool calls
    between services. `prefix_hit`: share of the input tokens that a prefix cache holds already. `encode_s`: law of
    the seconds that an encoder takes (images, audio) before the prompt of a request can be computed. `joint`: how
    the factors input_tokens and output_tokens hang together; independent without it.
    """

    name: str
    arrivals: ArrivalProcess
    service: Distribution | None = None
    factors: Mapping[str, Distribution] = field(default_factory=dict)
    priority: int = 0
    weight: float = 1.0
    predicted_size: PredictedSize = field(default_factory=PredictedSize)
    slo: Mapping[str, float] = field(default_factory=dict)
    patience: Distribution | None = None
    pause: Pause | None = None
    prefix_hit: float = 0.0
    encode_s: Distribution | None = None
    services: Mapping[str, Distribution] = field(default_factory=dict)
    joint: JointLengths | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name == "all":
            raise InputError(
                "class, name", f"{self.name!r} is not allowed", "use any other word; 'all' is every class"
            )
        if self.service is None and not self.factors and not self.services:
            raise InputError(f"class '{self.name}'", "has no size", "give service, or factors with a fitted model")
        positive(f"class '{self.name}'", weight=self.weight)
        if self.services and (self.service is not None or self.factors):
            raise InputError(f"class '{self.name}', services", "comes beside another size", "give one of the two")
        alone = next((name for name in LENGTHS if name not in self.factors), None)
        if self.joint is not None and alone is not None:
            raise InputError(f"class '{self.name}', {alone}", "is missing", "lengths tells how two of them depend")
        if not 0 <= self.prefix_hit < 1:
            raise InputError(f"class '{self.name}', prefix_hit", f"{self.prefix_hit} is no share", "0 to below 1")
        for name, limit in self.slo.items():
            if SLO_NAME.fullmatch(name) is None:
                raise InputError(f"class '{self.name}', slo, {name}", "is unknown", nearest(name, COMMON_SLOS))
            positive(f"class '{self.name}', slo", **{name: limit})

    @property
    def rate(self) -> float:
        """Arrivals per second."""
        return self.arrivals.rate

    def draw_lengths(self, first: Generator, second: Generator, count: int) -> tuple[Floats, Floats]:
        """Input and output tokens of so many requests, not rounded; two streams, which may be one."""
        if self.joint is None:
            streams = (first, second)
            inputs, outputs = (self.factors[n].sample(rng, count) for n, rng in zip(LENGTHS, streams, strict=True))
            return inputs, outputs
        return self.lengths_at(first.random(count), second.random(count))

    def lengths_at(self, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Input and output tokens at two independent uniform numbers a request."""
        if self.joint is not None:
            return self.joint.at(self.factors, first, second)
        inputs, outputs = (self.factors[name] for name in LENGTHS)
        return inputs.quantile(first), outputs.quantile(second)

    def at_rate(self, rate: float) -> RequestClass:
        """The same class with another arrival rate."""
        return replace(self, arrivals=self.arrivals.at_rate(rate))
