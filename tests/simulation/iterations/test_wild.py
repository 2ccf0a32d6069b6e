"""Every invariant on random scenarios at the edges of what an engine can be asked; strides change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.simulation.iterations import invariants
from qmodel.simulation.iterations.pools import collected
from tests.simulation.iterations.test_invariants import same
from tests.simulation.iterations.wild import wild

FAST, ALL = range(30), range(30, 300)


def check(seed: int) -> None:
    requests, policy, rules = wild(seed)
    outcome, totals = collected(requests, policy, rules, seed=seed)
    assert not invariants.conservation_of_requests(requests, outcome)
    assert not invariants.conservation_of_tokens(requests, outcome, totals)
    assert not invariants.conservation_of_work(requests, outcome, totals)
    assert not invariants.causality(outcome)
    assert not invariants.caps(rules, totals)
    one_by_one, counted = collected(requests, policy, rules, seed=seed, jumps=False)
    same(outcome, one_by_one)
    assert counted.iterations == totals.iterations
    np.testing.assert_allclose(counted.gap_s, totals.gap_s, rtol=1e-9)


@pytest.mark.parametrize("seed", FAST)
def test_thirty_wild_scenarios(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL)
def test_hundreds_of_wild_scenarios(seed: int) -> None:
    check(seed)


def test_the_scenarios_are_as_wild_as_they_should_be() -> None:
    made = [wild(seed) for seed in FAST]
    done = [collected(*each, seed=seed) for seed, each in enumerate(made)]
    assert sum(totals.preemptions > 0 for _, totals in done) > 5
    assert sum(totals.swapped > 0 for _, totals in done) > 1
    assert sum((outcome.ended == 1).any() for outcome, _ in done) > 3
    assert sum(len(rules.engine.pipeline) > 1 for *_, rules in made) > 3
    assert sum(rules.servers > 1 for *_, rules in made) > 1
    assert len({policy.name for _, policy, _ in made}) > 10
