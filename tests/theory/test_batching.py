"""Dynamic, static and multi-bin batching: exact chains against oracles, closed forms and plain simulations."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.policy import LCFS, SJF
from qmodel.scenario import Scenario, System
from qmodel.service.batch_time import BatchTime, batch_time, padded, variance
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ModelSwap
from qmodel.theory import analyse
from qmodel.theory.batch import multi_bin
from qmodel.theory.batch.bulk_service import BulkService, TooManyStates, closed_bound
from qmodel.theory.batch.bulk_wait import CELLS, BulkLaw
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Geometric,
    Lognormal,
    Poisson,
    RequestClass,
    Uniform,
)
from tests.theory.queues import Estimate

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())
AFFINE = IterationTime(base=0.01, per_sequence=0.001)


class TestBatchesAsLongAsTheirLongest:
    """`padded`: what is exact, and what the inputs of a whole batch cost."""

    VARIED = Discrete((10.0, 30.0), (0.5, 0.5))

    @pytest.mark.parametrize("cost", ["per_prefill_token", "per_context_token", "per_query_key"])
    def test_inputs_that_vary_and_cost_time_are_not_exact(self, cost):
        taken = IterationTime(base=1.0, **{cost: 1e-3})
        assert not padded(taken, self.VARIED, Deterministic(2.0)).is_exact
        assert padded(taken, Deterministic(20.0), Deterministic(2.0)).is_exact
        assert padded(taken, None, Deterministic(2.0)).is_exact

    def test_costs_do_not_cancel_out(self):
        for costs in (("per_prefill_token", "per_context_token"), ("per_context_token", "per_query_key")):
            taken = IterationTime(base=1.0, **dict.fromkeys(costs, 1e-3))
            assert not padded(taken, self.VARIED, Deterministic(2.0)).is_exact
        assert padded(AFFINE, self.VARIED, Deterministic(2.0)).is_exact

    def test_outputs_that_vary(self):
        assert padded(AFFINE, None, Deterministic(3.0)).is_fixed
        assert not padded(AFFINE, None, Geometric(3.0)).is_fixed

    def test_iteration_after_iteration(self):
        """Three requests of 20 in and 4 out: queries times keys of the prefill, then of every decode."""
        taken = IterationTime(base=1.0, per_context_token=1e-2, per_prefill_token=2e-2, per_query_key=1e-3)
        expected = 1.0 + 2e-2 * 60.0 + 1e-3 * 60.0**2
        for made in (1.0, 2.0, 3.0):
            context = 3.0 * (20.0 + made)
            expected += 1.0 + 1e-2 * context + 1e-3 * 3.0 * context
        found = padded(taken, Deterministic(20.0), Deterministic(4.0)).mean(3)
        assert found == pytest.approx(expected, rel=1e-12)

    def test_inputs_of_no_length_do_not_vary(self):
        assert variance(SimpleNamespace(mean=0.0, scv=math.nan)) == 0.0
        assert variance(self.VARIED) == pytest.approx(100.0, rel=1e-12)

    def test_a_packed_prefill_by_every_batch_of_three(self):
        """Queries times keys go with the square of all the inputs together: its mean over all 2^3 batches."""
        taken = IterationTime(base=1.0, per_prefill_token=1e-2, per_query_key=1e-3)
        inputs = [sum(each) for each in itertools.product((10.0, 30.0), repeat=3)]
        expected = np.mean([1.0 + 1e-2 * x + 1e-3 * x**2 for x in inputs])
        assert padded(taken, self.VARIED, Deterministic(1.0)).mean(3) == pytest.approx(expected, rel=1e-12)


def queue(load, largest, smallest=1, taken=AFFINE):
    rate = load * largest / taken.seconds(largest) if largest else load / taken.per_sequence
    return BulkService(rate, BatchTime.of_size(taken.seconds), smallest, largest)


def batches(rate, seconds, smallest, largest, n=200_000, seed=1):
    """Response times of a plain loop over batches; `seconds(rng, size)`."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    responses, first, now = [], 0, 0.0
    while first + smallest <= n:
        now = max(now, arrivals[first + smallest - 1])
        last = min(int(np.searchsorted(arrivals, now, side="right")), first + (largest or n))
        now += seconds(rng, last - first)
        responses.append(now - arrivals[first:last])
        first = last
    return np.concatenate(responses)


class TestChain:
    @pytest.mark.parametrize("load", [0.5, 0.8])
    def test_take_all_oracle(self, load):
        found = next(v for k, v in ORACLES.items() if k.startswith("take-all batching"))
        made = queue(load, None, taken=IterationTime(1.8874, 0.1438))
        assert made.mean_response == pytest.approx(found[str(load)], rel=1e-9)

    @pytest.mark.parametrize("load", [0.1, 0.5, 0.9, 0.99])
    def test_batches_of_one_are_the_m_d_1_queue(self, load):
        one = AFFINE.seconds(1)
        assert queue(load, 1).mean_response == pytest.approx(one * (1 + load / (2 * (1 - load))), rel=1e-9)
        assert queue(load, 1).utilisation == pytest.approx(load, rel=1e-9)

    def test_batches_of_one_with_a_law_are_the_m_g_1_queue(self):
        taken = BatchTime(lambda size: (np.array([0.5, 2.0]), np.array([0.75, 0.25])), is_fixed=False)
        mean, square = 0.875, 0.75 * 0.25 + 0.25 * 4
        made = BulkService(0.8 / mean, taken, 1, 1)
        expected = mean + made.rate * square / (2 * (1 - 0.8))
        assert made.mean_response == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize(("smallest", "largest"), [(1, 8), (4, 8), (8, 8), (3, None)])
    @pytest.mark.parametrize("load", [0.3, 0.9])
    def test_against_a_plain_loop(self, smallest, largest, load):
        made = queue(load, largest, smallest)
        estimate = Estimate.of(batches(made.rate, lambda _, n: AFFINE.seconds(n), smallest, largest))
        assert estimate.agrees(made.mean_response)

    def test_a_full_batch_of_poisson_arrivals_waits_half_its_filling(self):
        rate, size = 1e-3, 6
        made = BulkService(rate, BatchTime.of_size(AFFINE.seconds), size, size)
        assert made.mean_response == pytest.approx((size - 1) / (2 * rate) + AFFINE.seconds(size), rel=1e-6)

    @given(st.floats(0.05, 0.97), st.integers(1, 40))
    def test_flow_is_conserved(self, load, largest):
        made = queue(load, largest)
        time, idle, _, size = made._cycle
        assert made.rate * (time + idle) == pytest.approx(size, rel=1e-8)

    def test_a_tail_too_long_is_refused(self):
        with pytest.raises(TooManyStates):
            _ = queue(1 - 1e-9, 64).mean_response

    @given(st.floats(0.05, 0.95), st.floats(0.1, 50.0))
    def test_inoue_bounds_it(self, load, base):
        made = queue(load, None, taken=IterationTime(base, 1.0))
        assert made.mean_response <= closed_bound(made.rate, 1.0, base) * (1 + 1e-9)

    @pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
    def test_inoues_bound_is_tight_for_large_batches(self, load):
        made = queue(load, None, taken=IterationTime(13.0, 1.0))
        assert closed_bound(made.rate, 1.0, 13.0) == pytest.approx(made.mean_response, rel=1e-3)


class TestLaw:
    @pytest.mark.parametrize(("load", "largest"), [(0.8, 1), (0.7, 4), (0.3, 32), (0.95, 16), (0.5, None)])
    def test_its_mean_is_that_of_the_chain(self, load, largest):
        made = queue(load, largest)
        assert BulkLaw(made).mean == pytest.approx(made.mean_response, rel=3e-5)

    @pytest.mark.parametrize(("load", "largest"), [(0.6, 3), (0.95, 16)])
    def test_its_error_is_as_stated(self, load, largest):
        law, finer = (BulkLaw(queue(load, largest), cells) for cells in (CELLS, 4 * CELLS))
        at = np.linspace(0.5, 2.0, 60) * law.percentile(95)
        assert max(abs(law.cdf(t) - finer.cdf(t)) for t in at) < 2.5 * law.error

    @pytest.mark.parametrize(("load", "largest"), [(0.6, 3), (0.9, 8), (0.5, None)])
    def test_against_a_plain_loop(self, load, largest):
        made = queue(load, largest)
        law = BulkLaw(made)
        found = batches(made.rate, lambda _, n: AFFINE.seconds(n), 1, largest)[10_000:]
        for percent in (10, 50, 95):
            inside = (
                (found <= law.percentile(percent)).reshape(-1)[: found.size // 50 * 50].reshape(50, -1).mean(axis=1)
            )
            assert abs(inside.mean() - percent / 100) < 4 * inside.std(ddof=1) / math.sqrt(50)

    def test_m_d_1_exactly(self):
        """P(W <= t) of M/D/1 by Erlang's series."""
        made, load = queue(0.5, 1), 0.5
        law, d = BulkLaw(made), AFFINE.seconds(1)
        for t in (0.4, 1.3, 2.7):
            terms = (
                (load * (k - t)) ** k / math.factorial(k) * math.exp(-load * (k - t)) for k in range(int(t) + 1)
            )
            assert law.cdf(d * (1 + t)) == pytest.approx((1 - load) * sum(terms), abs=2e-5)

    def test_percentile_and_cdf_are_inverse(self):
        law = BulkLaw(queue(0.7, 4))
        assert [law.cdf(law.percentile(p)) for p in (30, 77, 99.9)] == pytest.approx([0.3, 0.77, 0.999], abs=1e-9)
        assert law.cdf(0.0) == 0.0 and law.cdf(1e9) == pytest.approx(1.0)
        assert law.percentile(1e-9) == pytest.approx(AFFINE.seconds(1))


def tokens(rate=2.0, outputs=Uniform(10, 400), inputs=Deterministic(50), name="chat"):
    return RequestClass(name, Poisson(rate), factors={"input_tokens": inputs, "output_tokens": outputs})


def batched(classes, taken=AFFINE, **system):
    return Scenario(classes, system=System(batching="dynamic", iteration_time=taken, **system))


class TestPadded:
    def test_time_of_a_batch_by_hand(self):
        """Three requests of 10 tokens in and 4 out: prefill, then decodes over contexts 33, 36, 39."""
        taken = padded(IterationTime(1.0, 0.1, 0.01, 0.001), Deterministic(10), Deterministic(4))
        assert taken.mean(3) == pytest.approx(4 * 1.3 + 0.001 * 30 + 0.01 * (33 + 36 + 39))

    def test_the_longest_of_geometric_lengths(self):
        taken = padded(IterationTime(base=1.0), None, Geometric(20.0))
        lengths = np.arange(1, 3000)
        expected = float(np.sum(1 - (1 - 0.95 ** (lengths - 1.0)) ** 8))
        assert taken.mean(8) == pytest.approx(expected, rel=4e-3)

    @pytest.mark.parametrize("smallest", [1, 4])
    def test_against_a_plain_loop(self, smallest):
        scenario = batched([tokens(rate=0.7)], max_batch=4, min_batch=smallest)
        answer = analyse(scenario, percentiles=())

        def seconds(rng, size):
            return AFFINE.seconds(size) * np.ceil(rng.uniform(10, 400, size)).max()

        assert answer.method == "exact"
        assert Estimate.of(batches(0.7, seconds, smallest, 4, n=120_000)).agrees(
            answer["all"].mean_response_s, 0.03
        )

    def test_inputs_that_vary_make_it_an_approximation(self):
        taken = IterationTime(0.01, 0.001, per_prefill_token=1e-4)
        answer = analyse(batched([tokens(0.5, inputs=Exponential(100))], taken, max_batch=4), percentiles=())
        assert answer.method == "approximation"
        assert "input tokens count by their mean" in answer.assumptions


class TestMultiBin:
    def test_capacity_as_published(self):
        """Uniform lengths on [l, u], k bins, batches of B: B / ((l+u)/2 + (u-l)/k (B/(B+1) - 1/2)) iterations."""
        taken, low, high, batch = IterationTime(base=1.0), 1000.0, 9000.0, 8
        for k in (1, 2, 16):
            lengths = Uniform(low, high)
            bins = multi_bin.make_bins(taken, 0.0, lengths, multi_bin.edges_of(lengths, k), batch)
            published = batch / ((low + high) / 2 + (high - low) / k * (batch / (batch + 1) - 0.5))
            assert multi_bin.capacity(bins, batch) == pytest.approx(published, rel=3e-4)

    @pytest.mark.parametrize("bins", [2, 4])
    @pytest.mark.parametrize("load", [0.5, 0.8])
    def test_against_a_plain_loop(self, bins, load):
        scenario = batched([tokens()], max_batch=8, min_batch=8, bins=bins)
        scenario = scenario.at_rate(load * 2.0 / analyse(scenario, percentiles=()).utilisation)
        answer = analyse(scenario, percentiles=())
        simulated = np.mean(binned(scenario.rate, bins, 8)[5000:])
        assert answer.method == "approximation"
        assert 0.99 * simulated < answer["all"].mean_response_s < 1.08 * simulated

    def test_one_bin_is_static_batching(self):
        bins, plain = (batched([tokens(0.8)], max_batch=8, min_batch=8, bins=k) for k in (1, None))
        assert (
            analyse(bins, percentiles=())["all"].mean_response_s
            == analyse(plain, percentiles=())["all"].mean_response_s
        )

    def test_a_bin_without_requests_changes_nothing(self):
        one, two = (batched([tokens(0.8)], max_batch=8, min_batch=8, bins=b) for b in ((200.0,), (200.0, 500.0)))
        means = [analyse(scenario, percentiles=())["all"].mean_response_s for scenario in (one, two)]
        assert means[0] == pytest.approx(means[1], rel=1e-12)

    def test_classes_meet_their_own_bins(self):
        short, long = tokens(4.0, Deterministic(20), name="short"), tokens(1.0, Deterministic(300), name="long")
        answer = analyse(batched([short, long], max_batch=8, min_batch=8, bins=(100.0,)), percentiles=())
        assert answer["short"].mean_service_s == pytest.approx(20 * AFFINE.seconds(8))
        assert answer["long"].mean_service_s == pytest.approx(300 * AFFINE.seconds(8))
        fill_gap = 7 / (2 * 1.0) - 7 / (2 * 4.0)
        gap = answer["long"].mean_wait_s - answer["short"].mean_wait_s
        assert gap == pytest.approx(fill_gap)

    def test_poisson_like_batches_have_the_full_variability(self):
        by_pollaczek_khinchine = 0.5 * 1.5 / (2 * 0.5)
        assert multi_bin.batch_wait([multi_bin.Bin(1.0, 1.0, 1.5)], 1, 0.5) == pytest.approx(
            by_pollaczek_khinchine, rel=2e-5
        )

    @pytest.mark.parametrize("came", [0.3, 4.0, 60.0])
    def test_batches_that_fill_by_counting_them(self, came):
        rng = np.random.default_rng(5)
        filled = (rng.poisson(came, 400_000) + rng.integers(0, 8, 400_000)) // 8
        assert multi_bin._variance(came, 8) == pytest.approx(filled.var(), rel=0.02)


def binned(rate, bins, batch, n=120_000):
    """Response times of equally likely bins of uniform lengths, full batches served in the order they fill."""
    rng = np.random.default_rng(3)
    arrivals, lengths = np.cumsum(rng.exponential(1 / rate, n)), rng.uniform(10, 400, n)
    which = np.minimum(((lengths - 10) / 390 * bins).astype(int), bins - 1)
    waiting, full = [[] for _ in range(bins)], []
    for i in range(n):
        waiting[which[i]].append(i)
        if len(waiting[which[i]]) == batch:
            full.append((arrivals[i], waiting[which[i]]))
            waiting[which[i]] = []
    now, responses = 0.0, np.full(n, np.nan)
    for ready, members in full:
        now = max(now, ready) + AFFINE.seconds(batch) * math.ceil(lengths[members].max())
        responses[members] = now - arrivals[members]
    return responses[~np.isnan(responses)]


class TestAnswer:
    def fixed(self, rate=200.0, **system):
        return batched([RequestClass("a", Poisson(rate), Deterministic(0.011))], **system)

    def test_closed_bound_stands_beside_it(self):
        answer = analyse(self.fixed())
        assert any("closed bound" in note for note in answer.notes)
        assert answer.method == "exact" and answer["a"].p99_response_s > answer["a"].mean_response_s

    def test_too_much_traffic(self):
        assert not analyse(self.fixed(rate=700.0, max_batch=8)).stable
        assert not analyse(batched([tokens(rate=50.0)], max_batch=8, min_batch=8, bins=2)).stable

    def test_an_order_blind_to_size_keeps_the_mean(self):
        plain = self.fixed(max_batch=8)
        other = analyse(plain.with_policy(LCFS()))
        assert other["a"].mean_response_s == analyse(plain)["a"].mean_response_s
        assert other["a"].p99_response_s is None

    @pytest.mark.parametrize(
        ("scenario", "reason"),
        [
            (lambda self: self.fixed(servers=2), "one server"),
            (lambda self: self.fixed().with_transforms(ModelSwap(service_factor=0.5)), "untransformed"),
            (lambda self: self.fixed().with_policy(SJF()), "formed by 'sjf'"),
            (lambda self: self.fixed(max_batch=8, min_batch=8, bins=2), "made by output_tokens"),
            (lambda self: batched([tokens()], max_batch=8, bins=2), "full batches"),
            (lambda self: batched([tokens()]), "has no limit"),
            (lambda self: self.fixed(rate=8 / 0.018 * (1 - 1e-9), max_batch=8), "too long"),
        ],
    )
    def test_what_is_not_analysed(self, scenario, reason):
        refusal = analyse(scenario(self))
        assert isinstance(refusal, NotAnalysable)
        assert reason in refusal.reason

    def test_what_makes_no_batch_time(self):
        with pytest.raises(InputError, match="is missing"):
            batch_time(Scenario([RequestClass("a", Poisson(1.0), Exponential(1.0))]))
        with pytest.raises(InputError, match="no class brings"):
            taken = IterationTime(0.01, per_prefill_token=1e-5)
            batch_time(batched([RequestClass("a", Poisson(1.0), Exponential(1.0))], taken))
        with pytest.raises(InputError, match="only some classes"):
            batch_time(batched([tokens(), RequestClass("a", Poisson(1.0), Lognormal(1.0, 1.0))]))
