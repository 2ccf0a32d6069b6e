"""Every invariant on random scenarios at the edges of what an engine can be asked; strides change nothing."""

from __future__ import annotations

import pytest

from qmodel.simulation.iterations.pools import collected
from tests.simulation.iterations.test_invariants import check
from tests.simulation.iterations.wild import wild

FAST, ALL = range(30), range(30, 300)


@pytest.mark.parametrize("seed", FAST)
def test_thirty_wild_scenarios(seed: int) -> None:
    check(*wild(seed), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL)
def test_hundreds_of_wild_scenarios(seed: int) -> None:
    check(*wild(seed), seed)


def test_the_scenarios_are_as_wild_as_they_should_be() -> None:
    made = [wild(seed) for seed in FAST]
    done = [collected(*each, seed=seed) for seed, each in enumerate(made)]
    assert sum(totals.preemptions > 0 for _, totals in done) > 5
    assert sum(totals.swapped > 0 for _, totals in done) > 1
    assert sum((outcome.ended == 1).any() for outcome, _ in done) > 3
    assert sum(len(rules.engine.pipeline) > 1 for *_, rules in made) > 3
    assert sum(rules.servers > 1 for *_, rules in made) > 1
    assert len({policy.name for _, policy, _ in made}) > 10
