"""The event loops without the compiler: every index is checked, and the results are the same bits."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest

from qmodel.policy import Policy
from qmodel.scenario import System
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import EarlyExit, FewerSteps, QueueCondition
from qmodel.simulation import batching, serving
from qmodel.simulation.kernels import caches
from qmodel.simulation.network import serving as network
from qmodel.workload import Exponential
from tests.simulation.cases import QUICK, drawn, preset, two_classes
from tests.simulation.rare import NETWORK, Wavy

PACKAGE = "qmodel.simulation"
SEED = np.random.SeedSequence(3)


@pytest.fixture(scope="module")
def plain() -> Iterator[ModuleType]:
    """`qmodel.simulation.serving` on event loops that are not compiled."""
    own = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGE)}
    for name in own:
        del sys.modules[name]
    numba.config.DISABLE_JIT = True
    try:
        importlib.import_module("qmodel.simulation.kernels.arrivals")
        uncompiled = importlib.import_module("qmodel.simulation.serving")
        for name in ("batching", "network.serving", "kernels.batched", "kernels.caches"):
            importlib.import_module(f"{PACKAGE}.{name}")
        uncompiled.own_rank.PROBED, uncompiled.own_rank.AGES = 40, 20  # slow here, and seen to rise at once
    finally:
        numba.config.DISABLE_JIT = False
    try:
        yield uncompiled
    finally:
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]
        sys.modules.update(own)
        sys.modules["qmodel"].simulation = own[PACKAGE]  # type: ignore[attr-defined]


def plain_batching(plain: ModuleType) -> ModuleType:
    """Batches on loops that are not compiled."""
    return sys.modules[f"{PACKAGE}.batching"]


def plain_network(plain: ModuleType) -> ModuleType:
    """The general loop, not compiled."""
    return sys.modules[f"{PACKAGE}.network.serving"]


def same_fates(ours: object, theirs: object) -> None:
    """Every column is the same bits."""
    for name, column in vars(ours).items():
        np.testing.assert_array_equal(column, getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("policy", [*map(preset, QUICK), Wavy()], ids=[*QUICK, "own"])
def test_plain_and_compiled_loops_give_the_same_bits(plain: ModuleType, policy: Policy, servers: int) -> None:
    if servers > 1 and policy.sharing == "weighted":
        return
    swap = 0.0 if policy.sharing or policy.name == "las" else 0.125
    transforms = (
        FewerSteps(QueueCondition(above=3, below=2, swap_time_s=swap), fraction=0.5),
        EarlyExit(fractions=(0.5, 1.0), probabilities=(0.3, 0.7), delivery="release"),
    )
    scenario = two_classes(policy, rate=1.1 * servers, system=System(servers=servers)).with_transforms(*transforms)
    requests = drawn(scenario, 120 if policy.name != "own" else 40)
    compiled, _ = serving.serve(policy, requests, serving.Rules.of(scenario))
    python, _ = plain.serve(policy, requests, plain.Rules.of(scenario))
    for ours, theirs in zip(compiled, python, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("policy", [*map(preset, QUICK), Wavy()], ids=[*QUICK, "own"])
def test_plain_and_compiled_steps_give_the_same_bits(plain: ModuleType, policy: Policy) -> None:
    condition = QueueCondition(above=3)
    scenario = two_classes(policy, rate=1.1).with_transforms(FewerSteps(condition, fraction=0.5))
    requests = drawn(scenario, 120)
    steps = np.maximum(1.0, np.rint(requests.service_s / 0.1))
    compiled, _ = serving.serve(policy, requests, serving.Rules.of(scenario).in_steps(steps, steps))
    python, _ = plain.serve(policy, requests, plain.Rules.of(scenario).in_steps(steps, steps))
    for ours, theirs in zip(compiled, python, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["lcfs", "sjf", "np-priority", "pr-priority", "srpt", "lcfs-pr", "edf"])
def test_the_plain_short_way(plain: ModuleType, name: str) -> None:
    scenario = two_classes(preset(name), rate=0.9)
    requests = drawn(scenario, 200)
    compiled, _ = serving.serve(scenario.policy, requests, serving.Rules.of(scenario))
    python, _ = plain.serve(scenario.policy, requests, plain.Rules.of(scenario))
    for ours, theirs in zip(compiled, python, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_plain_queue(plain: ModuleType) -> None:
    early = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.3, 0.7), delivery="release")
    scenario = two_classes(preset("fcfs")).with_transforms(early)
    requests = drawn(scenario, 120)
    compiled, _ = serving.serve(scenario.policy, requests, serving.Rules.of(scenario))
    python, _ = plain.serve(scenario.policy, requests, plain.Rules.of(scenario))
    np.testing.assert_array_equal(compiled.delivered_s, python.delivered_s)


@pytest.mark.parametrize("more", [{}, {"min_batch": 3, "max_batch": 3, "bins": 2, "buffer": 6}])
def test_plain_batches(plain: ModuleType, more: dict[str, Any]) -> None:
    taken = IterationTime(base=1.0, per_sequence=0.5)
    served = System(servers=2, batching="dynamic", iteration_time=taken, **more)
    scenario = two_classes(preset("sjf"), rate=2.0, system=served)
    if more:
        first, second = scenario.classes
        scenario = replace(scenario, classes=(replace(first, patience=Exponential(2.0)), second))
    requests = drawn(scenario, 200)
    same_fates(*(module.serve_batches(scenario, requests, SEED)[0] for module in (batching, plain_batching(plain))))


def test_plain_limited_sharing_and_merging(plain: ModuleType) -> None:
    from qmodel.simulation.kernels.arrivals import merged_order

    scenario = two_classes(preset("sjf"), system=System(batching="processor-sharing", max_batch=2))
    requests = drawn(scenario, 120)
    compiled, _ = serving.serve(scenario.policy, requests, serving.Rules.of(scenario))
    python, _ = plain.serve(scenario.policy, requests, plain.Rules.of(scenario))
    np.testing.assert_array_equal(compiled.done_s, python.done_s)
    times = np.array([0.0, 2.0, 4.0, 1.0, 2.0, 9.0, 2.0, 3.0])
    assert merged_order(times[:6], np.array([0, 3, 6])).tolist() == [0, 3, 1, 4, 2, 5]
    assert merged_order(times, np.array([0, 3, 6, 8])).tolist() == [0, 3, 1, 4, 6, 7, 2, 5]


def test_plain_ranks_that_are_not_numbers(plain: ModuleType) -> None:
    from qmodel.errors import InputError

    class Bad(Policy):
        name, preemptive = "bad", True

        def rank(self, request, attained):  # type: ignore[no-untyped-def]
            return float("nan")

    scenario = two_classes(Bad())
    with pytest.raises(InputError, match="not a number for request 1"):
        plain.serve(scenario.policy, drawn(scenario, 5), plain.Rules.of(scenario))


@pytest.mark.parametrize("name", NETWORK)
def test_the_plain_general_loop(plain: ModuleType, name: str) -> None:
    scenario = NETWORK[name]
    requests = drawn(scenario, 60)
    control = serving.Rules.of(scenario).control
    until = 30.0 if name == "closed" else np.inf
    ours, theirs = (
        module.serve(scenario, requests, SEED, control, until, trail=20)
        for module in (network, plain_network(plain))
    )
    same_fates(ours[0], theirs[0])
    same_fates(ours[1], theirs[1])


@pytest.mark.parametrize("name", ["oldest", "newest", "random", "least_frequent"])
def test_plain_caches(plain: ModuleType, name: str) -> None:
    rng = np.random.default_rng(1)
    items, tickets = rng.integers(0, 20, 300), rng.random(300)
    more: tuple[Any, ...] = {"oldest": (False,), "newest": (True,), "random": (tickets,)}.get(name, ())
    called = {"newest": "oldest", "random": "at_random"}.get(name, name)
    ours = getattr(caches, called)(items, 20, 4, *more)
    theirs = getattr(sys.modules[f"{PACKAGE}.kernels.caches"], called)(items, 20, 4, *more)
    np.testing.assert_array_equal(ours, theirs)
    assert 0 < ours.sum() < 300
