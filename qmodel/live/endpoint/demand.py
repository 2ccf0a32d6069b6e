"""What a request over HTTP means in the scenario's words: its class, its lengths, what the policy is told of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.live.endpoint.stream import Order, Refused
from qmodel.live.schedule import predictions
from qmodel.policy.base import Request
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from qmodel.scenario import Scenario
    from qmodel.service.from_model import FittedModel
    from qmodel.service.transform import Transform
    from qmodel.workload import RequestClass

DEFAULT_OUTPUT_TOKENS = 16
"""Tokens made where neither the request nor its class says how many (OpenAI's default for completions)."""


@dataclass(frozen=True)
class Seen:
    """A request's class, its output tokens, and what the policy sees once its size is known."""

    request_class: RequestClass
    prompt_tokens: int
    output_tokens: int
    priority: int


class Demand:
    """Reads orders by the classes of a scenario; random where lengths, sizes or predictions are laws."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._classes = {each.name: each for each in scenario.classes}
        self._rng = np.random.default_rng(seed)
        for each in scenario.classes:  # what a first draw imports and computes must not delay the first request
            self.request(Seen(each, 1, 1, each.priority), 1.0)

    def seen(self, order: Order) -> Seen:
        """The order in the scenario's words; one of no class is of the first. Raises Refused: no such class."""
        name = order.class_name or self._scenario.classes[0].name
        if name not in self._classes:
            raise Refused(404, f"the model {name!r} does not exist")
        found = self._classes[name]
        output = order.max_tokens if order.max_tokens is not None else self._drawn_output(found)
        priority = found.priority if order.priority is None else order.priority
        return Seen(found, order.prompt_tokens, output, priority)

    def request(self, seen: Seen, size_s: float) -> Request:
        """What the policy sees of a request of this size that arrives now."""
        now, found = time.monotonic(), seen.request_class
        predicted = float(predictions(self._scenario, found, np.array([size_s]), self._rng)[0])
        return Request(
            now, size_s, predicted, seen.priority, found.weight, now + limit_of(found.slo, "response"),
            float(self._rng.random()), found.name,
        )  # fmt: skip

    def service_s(self, found: RequestClass) -> float:
        """Seconds drawn from the class's own law of service."""
        assert found.service is not None
        return float(found.service.sample(self._rng, 1)[0])

    def residual(self, model: FittedModel | None) -> float:
        """What repeats of the same work vary by: mean 1, of the law that the fit chose."""
        if model is None or model.residual_scv <= 1e-10:
            return 1.0
        return float(model.residual.law(1.0).sample(self._rng, 1)[0])

    def seed(self) -> int:
        """A seed for what is random in the computation."""
        return int(self._rng.integers(2**31))

    def _drawn_output(self, found: RequestClass) -> int:
        law = found.factors.get("output_tokens")
        return DEFAULT_OUTPUT_TOKENS if law is None else max(1, round(float(law.sample(self._rng, 1)[0])))


SERVED = frozenset({"buffer"})
BATCHED = SERVED | {"prefix-hit"}
EMULATED = BATCHED | {"preemption-cost"}
"""Features of a system (`Scenario.features`) that are served: by any engine, by one that batches, by the emulated
one that batches. Those of arrivals are the clients' affair."""


def check_served(
    scenario: Scenario, features: frozenset[str] = SERVED, transforms: tuple[type[Transform], ...] = ()
) -> None:
    """Raise InputError for what is not served live; `features` and kinds of `transforms` are."""
    of_clients = {each.arrivals.feature for each in scenario.classes}
    unknown = sorted(scenario.features - features - of_clients)
    if unknown:
        raise InputError(f"scenario, {unknown[0]}", "is not served live", "leave it out")
    refused = next((each for each in scenario.transforms if not isinstance(each, transforms)), None)
    if refused is not None:
        name = type(refused).__name__
        raise InputError(f"transform {name}", "is not served live", "leave it out, or use qmodel validate")
    if scenario.system.servers != 1:
        raise InputError("system, servers", f"is {scenario.system.servers}", "one server is served; set it to 1")
    if "prediction" in scenario.policy.depends_on:
        for each in scenario.classes:
            if each.predicted_size.error == "none":
                fault = f"policy '{scenario.policy.name}' needs a predicted size"
                raise InputError(f"class '{each.name}', predicted_size", fault, "set predicted_size.error")
