"""The loops of the batching engine without the compiler: every index is checked; the results are the same bits."""

from __future__ import annotations

from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import LAS, Policy, make_policy
from qmodel.policy.routing import Routing
from qmodel.service.composed import AttentionTable, ComposedTime, Curve
from qmodel.service.engine import Engine
from qmodel.simulation.iterations import serving
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.pools import collected
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.serving import Totals
from qmodel.simulation.iterations.token_requests import Later, TokenRequests, given
from tests.simulation.iterations.cases import TIME, case, classes
from tests.simulation.iterations.wild import wild
from tests.simulation.rare import Wavy
from tests.simulation.uncompiled import uncompiled

SEEDS, WILD = range(60), range(100, 160)
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")  # the random words wrap around on purpose


@pytest.fixture(scope="module")
def plain() -> dict[str, ModuleType]:
    names = ("pools", "serving", "token_requests")
    return dict(zip(names, uncompiled(*(f"iterations.{name}" for name in names)), strict=True))


def seen_by(plain: dict[str, ModuleType], requests: TokenRequests) -> Any:
    """The same requests as the plain modules know them."""
    names = [each.name for each in fields(requests)]
    return plain["token_requests"].TokenRequests(**{name: getattr(requests, name) for name in names})


def same(ours: tuple[TokenOutcome, Totals], theirs: tuple[Any, Any]) -> None:
    for compiled, python in zip(ours, theirs, strict=True):
        for name, value in vars(compiled).items():
            if name != "gaps_so_far":
                np.testing.assert_array_equal(value, getattr(python, name), err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_plain_and_compiled_engines_give_the_same_bits(plain: dict[str, ModuleType], seed: int) -> None:
    requests, policy, rules = case(seed, most=25)
    ours = collected(requests, policy, rules, seed=seed)
    same(ours, plain["pools"].collected(seen_by(plain, requests), policy, rules, seed=seed))


@pytest.mark.parametrize("seed", WILD)
def test_plain_and_compiled_engines_at_the_edges(plain: dict[str, ModuleType], seed: int) -> None:
    requests, policy, rules = wild(seed, most=20)
    ours = collected(requests, policy, rules, seed=seed)
    same(ours, plain["pools"].collected(seen_by(plain, requests), policy, rules, seed=seed))


def tables() -> ComposedTime:
    """An iteration time by tables, some cells of which were not measured."""
    axes = ([0.0, 64.0, 512.0], [0.0, 256.0], [0.0, 4.0, 16.0], [16.0, 64.0, 256.0])
    grid = np.add.outer(np.add.outer(np.add.outer(*map(np.sqrt, axes[:2])), axes[2]), np.sqrt(axes[3])) * 1e-4
    grid[2, 1, 2, 2] = np.nan
    dense, head = (Curve(np.array([1.0, 64.0, 128.0]), np.array([0.01, 0.011, 0.02])) for _ in range(2))
    return ComposedTime(dense, head, AttentionTable(*map(np.array, axes), grid))


ROUTED = {"jsq": "jsq", "two": "jsq:2", "work": "least-work"}


@pytest.mark.parametrize("policy", [Wavy(), make_policy("srpt"), make_policy("fcfs")], ids=["own", "srpt", "fcfs"])
def test_plain_tables_and_ranks(plain: dict[str, ModuleType], policy: Policy) -> None:
    requests, _, rules = case(4, most=25)
    rules = Rules(tables(), Engine(max_batched_tokens=64), 8, rules.kv_capacity_tokens)
    ours = collected(requests, policy, rules, seed=1)
    same(ours, plain["pools"].collected(seen_by(plain, requests), policy, rules, seed=1))
    assert 0 < ours[1].outside < ours[1].iterations


@pytest.mark.parametrize("routing", ROUTED.values(), ids=ROUTED)
def test_plain_engines_behind_a_router(plain: dict[str, ModuleType], routing: str) -> None:
    requests, policy, rules = case(4, most=25)
    requests = replace(requests, patience_s=np.full(len(requests), np.inf))
    rules = Rules(rules.time, Engine(), 2, rules.kv_capacity_tokens, servers=3, routing=Routing.parse(routing))
    ours = collected(requests, policy, rules, seed=1)
    same(ours, plain["pools"].collected(seen_by(plain, requests), policy, rules, seed=1))


def heard(module: Any, parts: list[Any], policy: Policy, rules: Rules) -> tuple[list[Any], Any]:
    """Token times of a run that is given its requests in pieces, with little room at the start."""
    told: list[Any] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "ROWS", 2)
        patched.setattr(module, "SPOKEN", 1)
        totals = module.serve(
            iter(parts), policy, rules, lambda _: None, hear=lambda *each: told.append(each), sample_s=0.1
        )
    return [np.concatenate(each) for each in zip(*told, strict=True)], totals


def test_plain_tokens_one_by_one_in_pieces_and_with_little_room(plain: dict[str, ModuleType]) -> None:
    requests, _, rules = case(7, most=60)
    cuts = [slice(0, 9), slice(9, 10), slice(10, None)]
    pieces = [replace(requests.of(cut), first=cut.start) for cut in cuts]
    rules = Rules(rules.time, Engine(kv_block_tokens=4), 6, int((requests.prompt + requests.output).max()) + 300)
    ours = heard(serving, pieces, LAS(), rules)
    theirs = heard(plain["serving"], [seen_by(plain, each) for each in pieces], LAS(), rules)
    for mine, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(ours[1].samples, theirs[1].samples)
    assert ours[1].preemptions == theirs[1].preemptions > 0
    assert len(ours[1].samples) > 5


def falling() -> ComposedTime:
    """An iteration time that is the same for any history, and falls where contexts are long."""
    axes = ([0.0, 64.0], [0.0], [0.0, 8.0], [16.0, 32.0, 48.0])
    grid = np.array([0.01, 0.02, 0.015])[None, None, None, :] * np.ones((2, 1, 2, 1))
    return ComposedTime(Curve(np.array([8.0]), np.array([0.01])), None, AttentionTable(*map(np.array, axes), grid))


def test_plain_tables_of_one_level_and_times_that_fall(plain: dict[str, ModuleType]) -> None:
    requests, _, _ = case(4, most=25)
    requests = replace(requests, classes=tuple(replace(each, slo={}) for each in requests.classes))
    rules = Rules(falling(), Engine(max_batched_tokens=64), 4)
    ours = collected(requests, make_policy("fcfs"), rules, seed=1)
    same(ours, plain["pools"].collected(seen_by(plain, requests), make_policy("fcfs"), rules, seed=1))


def test_nobody_hangs_where_memory_is_refused_for_good(
    plain: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A net for what should not be: who can never be admitted is rejected, and what they held is given back."""
    requests = given(classes(True, "keep"), [0.0, 0.1], [40, 40], [3, 3])
    once = Later(np.array([0, 1]), np.array([1, 1]), np.array([0.5, 0.5]), np.array([9, 9]), np.array([2, 2]))
    rules = Rules(TIME, Engine(), 4, 1600)
    loop = plain["serving"].loop  # type: ignore[attr-defined]
    fits = loop.has_memory

    def new_ones_only(engine: Any, limits: Any, row: int, chunk: int) -> bool:
        return engine.live[row].generated == 0 and fits(engine, limits, row, chunk)

    monkeypatch.setattr(loop, "has_memory", new_ones_only)
    seen = seen_by(plain, replace(requests, later=once))
    outcome, totals = plain["pools"].collected(seen, make_policy("fcfs"), rules)
    assert outcome.ended.tolist() == [1, 1] and outcome.output.tolist() == [3, 3]
    assert totals.used == 0


def test_plain_engines_that_thrash_are_stopped(
    plain: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plain["serving"].limits_of.__globals__, "MOST_ANEW", 500)
    monkeypatch.setattr(plain["serving"].loop, "THRASH", 1)  # type: ignore[attr-defined]
    requests = given(classes(False, "keep"), [0.0, 0.0], [60, 60], [20, 20])
    rules = Rules(TIME, Engine(max_batched_tokens=8, prefix_caching=False, kv_block_tokens=1), 4, 80)
    with pytest.raises(InputError, match="evicted and computed again"):
        plain["pools"].collected(seen_by(plain, requests), LAS(), rules)
