"""What a setting costs beside machines: quality and energy, read from the scenario and its answer.

Quality is that of the full service (1) times what the transforms leave of it, averaged over the requests; where a
transform acts only on long queues, over the share of services that it took. Joules are the answer's, where the
engine's power is known; else energy is relative to the untransformed service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qmodel.answer import PolicyAnswer
from qmodel.scenario import Scenario, ServedClass


@dataclass(frozen=True)
class Costs:
    """Mean quality (1: full), energy relative to the full service, and joules a request (None: not known)."""

    quality: float
    relative_energy: float
    energy_j: float | None = None


def costs(scenario: Scenario, answer: PolicyAnswer) -> Costs:
    """Costs of all requests together.

    >>> from qmodel.predict import predict
    >>> from qmodel.service.transform import FewerSteps
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> one = RequestClass("a", arrivals=Poisson(rate=0.5), service=Exponential(mean=1.0))
    >>> scenario = Scenario([one], transforms=[FewerSteps(fraction=0.5, quality=0.9)])
    >>> costs(scenario, predict(scenario).results[0])
    Costs(quality=0.9, relative_energy=0.5, energy_j=None)
    """
    if scenario.system.batching == "continuous":
        return Costs(_of_transforms(scenario), 1.0, answer["all"].metrics.get("energy_j_per_request"))
    shares = [served.rate / scenario.rate for served in scenario.served]
    taken = [_reduced_share(served, answer) for served in scenario.served]
    quality = energy = 0.0
    for share, long, served in zip(shares, taken, scenario.served, strict=True):
        reduced = served.long_queue or served.service
        quality += share * ((1.0 - long) * served.service.quality + long * reduced.quality)
        energy += share * ((1.0 - long) * served.service.energy + long * reduced.energy)
    return Costs(quality, energy, answer["all"].metrics.get("energy_j_per_request"))


def _of_transforms(scenario: Scenario) -> float:
    """Quality that transforms of a batching engine leave: they always apply."""
    return math.prod(getattr(transform, "quality", 1.0) for transform in scenario.transforms)


def _reduced_share(served: ServedClass, answer: PolicyAnswer) -> float:
    """Share of a class's services that began while the queue was long; 1 where nothing is known, as if unstable."""
    if served.long_queue is None:
        return 0.0
    told = answer[served.name].metrics.get("share_reduced")
    return 1.0 if told is None else told
