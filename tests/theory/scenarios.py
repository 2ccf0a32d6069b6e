"""Short ways to say scenarios in the tests."""

from __future__ import annotations

import json
from pathlib import Path

from qmodel.scenario import Scenario
from qmodel.theory import analyse
from qmodel.workload import Poisson, RequestClass


def request_class(name, rate, law, priority=0, **options):
    return RequestClass(name, arrivals=Poisson(rate=rate), service=law, priority=priority, **options)


def one(rate, law, policy, transforms=(), **options):
    return Scenario([request_class("a", rate, law, **options)], policy=policy, transforms=transforms)


def several(classes, policy, transforms=()):
    """Classes as (rate, law), priorities in order."""
    made = [request_class(f"c{i}", rate, law, i) for i, (rate, law) in enumerate(classes)]
    return Scenario(made, policy=policy, transforms=transforms)


def means(scenario):
    """Mean responses, class by class."""
    return [part.mean_response_s for part in analyse(scenario, percentiles=()).classes[1:]]


ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text(encoding="utf-8"))
