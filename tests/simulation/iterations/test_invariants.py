"""The named invariants, on random requests under random policies and engines; and that each can fail."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from qmodel.metrics.one_stream import qoe
from qmodel.policy import FCFS, Policy
from qmodel.simulation.iterations import invariants
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.pools import collected
from qmodel.simulation.iterations.replaying import Replay, replay_run
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.serving import Totals, serve
from qmodel.simulation.iterations.token_requests import TokenRequests, given
from tests.simulation.iterations.cases import SLO, TIME, case, classes

SEEDS = range(150)


def same(ours: TokenOutcome, theirs: TokenOutcome) -> None:
    for name, column in vars(ours).items():
        np.testing.assert_allclose(column, getattr(theirs, name), rtol=1e-9, err_msg=name)


def check(requests: TokenRequests, policy: Policy, rules: Rules, seed: int) -> Totals:
    """Every invariant, and that strides change nothing; the totals."""
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
    return totals


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_and_strides_change_nothing(seed: int) -> None:
    requests, policy, rules = case(seed)
    totals = check(requests, policy, rules, seed)
    if rules.engine.lookahead != "none" and not policy.preemptive and not requests.later.number.any():
        assert totals.preemptions == 0


def listened(requests: TokenRequests, seed: int) -> tuple[TokenOutcome, Totals, np.ndarray, np.ndarray]:
    _, policy, rules = case(seed)
    parts, spoken = [], []
    rules = replace(
        rules, engine=replace(rules.engine, prefill="mixed", prefill_servers=1, transfer_tokens_per_s=None)
    )
    totals = serve(
        requests, policy, rules, lambda r: parts.append(type(r)(*(c.copy() for c in r))), seed=seed,
        hear=lambda *told: spoken.append(told),
    )  # fmt: skip
    owner, times = (np.concatenate(each) for each in zip(*spoken, strict=True))
    return TokenOutcome.joined(parts), totals, owner, times


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_tokens_come_in_order_and_make_the_quality_of_experience(seed: int) -> None:
    requests = case(seed)[0]
    outcome, totals, owner, times = listened(requests, seed)
    assert not invariants.order_of_tokens(outcome, owner, times)
    gaps = int(totals.gaps.sum())
    assert gaps == totals.tokens - np.count_nonzero(outcome.output)
    if requests.later.number.any():
        return
    for request in np.flatnonzero(outcome.served)[:20]:
        told = qoe(
            times[owner == request], awaited_s=outcome.arrival_s[request] + SLO["ttft_s"],
            tokens_per_s=1 / SLO["tpot_s"],
        )  # fmt: skip
        assert outcome.qoe[request] == pytest.approx(told, abs=1e-9)


def test_equal_seeds_give_equal_bits() -> None:
    requests, policy, rules = case(3)
    (first, _), (second, _) = (collected(requests, policy, rules, seed=5) for _ in range(2))
    for name, column in vars(first).items():
        np.testing.assert_array_equal(column, getattr(second, name))


def test_chunks_of_arrivals_give_the_bits_of_one_piece() -> None:
    rng = np.random.default_rng(1)
    n = 3000
    arrival, prompt, output = np.cumsum(rng.exponential(0.05, n)), rng.geometric(0.01, n), rng.geometric(0.05, n)
    made, rules = classes(False, "keep"), Rules(TIME, max_batch=8)
    whole, pieces = [], []
    cuts = [0, 1, 700, 701, 2500, n]
    chunks = (given(made, arrival[a:b], prompt[a:b], output[a:b], first=a) for a, b in itertools.pairwise(cuts))
    serve(given(made, arrival, prompt, output), FCFS(), rules, lambda r: whole.append(r.done_s.copy()))
    serve(chunks, FCFS(), rules, lambda r: pieces.append(r.done_s.copy()))
    np.testing.assert_array_equal(np.concatenate(whole), np.concatenate(pieces))


@pytest.fixture(scope="module")
def sampled() -> Replay:
    rng = np.random.default_rng(2)
    arrival, prompt, output = (
        np.cumsum(rng.exponential(0.1, 400)),
        rng.geometric(0.01, 400),
        rng.geometric(0.02, 400),
    )
    return replay_run(TIME, arrival, prompt, output, max_batch=6, sample_s=0.01, tell=None)


def test_littles_law(sampled: Replay) -> None:
    present = sampled.samples[:, 1] + sampled.samples[:, 2]
    assert not invariants.littles_law(sampled.outcome, present, 0.01)
    assert invariants.littles_law(sampled.outcome, 1.1 * present, 0.01)
    assert sampled.samples[:, 1].max() == 6


def test_each_invariant_can_fail(sampled: Replay) -> None:
    requests, policy, rules = case(1)
    outcome, totals = collected(requests, policy, rules, seed=1)
    assert invariants.conservation_of_requests(requests, outcome.of(slice(1, None)))
    assert invariants.conservation_of_requests(requests, replace(outcome, ended=outcome.ended + 7))
    lost = replace(outcome, output=outcome.output + 1)
    assert len(invariants.conservation_of_tokens(requests, lost, totals)) >= 2
    assert len(invariants.conservation_of_tokens(requests, replace(outcome, ended=outcome.ended + 1), totals)) >= 1
    assert invariants.conservation_of_work(requests, outcome, replace(totals, computed=totals.computed + 1))
    assert invariants.causality(replace(sampled.outcome, first_s=sampled.outcome.done_s + 1.0))
    tight = Rules(TIME, max_batch=1, kv_capacity_tokens=16)
    assert len(invariants.caps(tight, Totals(peak_running=2, peak_tokens=9999, peak_blocks=2, used=1))) == 4
    owner, times = np.array([0, 0]), np.array([2.0, 1.0])
    one = sampled.outcome.of(slice(0, 1))
    assert len(invariants.order_of_tokens(replace(one, arrival_s=one.arrival_s + 5.0), owner, times)) == 3
