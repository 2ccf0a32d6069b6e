from __future__ import annotations

import pytest

from qmodel.policy import FCFS
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.token_service import TokenService
from qmodel.workload import Deterministic, Discrete, Exponential, Poisson, RequestClass

STEP_S = 1e-3


@pytest.fixture
def model():
    """1 ms a step."""
    return ServiceModel.affine({"steps": STEP_S})


@pytest.fixture
def in_steps(model):
    """Two classes whose requests take 2 or 4, and 10 steps; 40 requests/s, load 0.2."""

    def build(policy=None, transforms=(), rate=40.0, **extra):
        short = RequestClass(
            "short", arrivals=Poisson(3.0), factors={"steps": Discrete((2.0, 4.0), (0.5, 0.5))}, priority=0, **extra
        )
        long = RequestClass(
            "long", arrivals=Poisson(1.0), factors={"steps": Deterministic(10)}, priority=1, **extra
        )
        made = Scenario((short, long), policy or FCFS(), System(model=model), tuple(transforms))
        return made.at_rate(rate)

    return build


@pytest.fixture
def in_tokens():
    """A class of prompts: prefill 1 ms + 10 us a token, decode 1 ms a token; 5 tokens out, 100 in."""

    def build(policy=None, rate=20.0, **extra):
        model = TokenService(
            ServiceModel.affine({"1": 1e-3, "input_tokens": 1e-5}),
            ServiceModel.affine({"1": 1e-3, "context_tokens": 1e-9}),
        )
        factors = {"input_tokens": Deterministic(100), "output_tokens": Deterministic(5)}
        chat = RequestClass("chat", Poisson(rate), factors=factors, **extra)
        return Scenario((chat,), policy or FCFS(), System(model=model))

    return build


@pytest.fixture
def in_seconds():
    """One class with exponential service, mean 2 ms, load 0.4."""

    def build(policy=None, transforms=(), rate=200.0, service=None):
        one = RequestClass("one", arrivals=Poisson(rate), service=service or Exponential(mean=2e-3))
        return Scenario((one,), policy or FCFS(), transforms=tuple(transforms))

    return build


@pytest.fixture
def in_lengths():
    """Continuous batching of at most 4, iterations of 1 ms and more; 20 tokens in, 6 out."""

    def build(policy=None, transforms=(), rate=40.0, system=None, engine=None, **extra):
        factors = {"input_tokens": Deterministic(20), "output_tokens": Deterministic(6)}
        chat = RequestClass("chat", Poisson(rate), factors=factors, **extra)
        taken = IterationTime(base=1e-3, per_sequence=1e-4, per_context_token=1e-6, per_prefill_token=2e-5)
        given = {"batching": "continuous", "max_batch": 4, "iteration_time": taken} | (system or {})
        engine = engine or Engine(max_batched_tokens=64)
        return Scenario((chat,), policy or FCFS(), System(**given, engine=engine), tuple(transforms))

    return build
