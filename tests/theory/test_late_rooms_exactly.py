"""Single steps of engines, predictions, environments and networks against numbers from a second route."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtr

from qmodel.policy import PS, SPRPT, TRAIL
from qmodel.scenario import Scenario, System
from qmodel.service.batch_time import BatchTime
from qmodel.service.environment import Environment
from qmodel.service.iteration_time import IterationTime
from qmodel.service.station import Station
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.arrivals.random_environment import DRIVEN, in_environment
from qmodel.theory.batch import engine_answer
from qmodel.theory.batch.bulk_service import BulkService
from qmodel.theory.batch.continuous_batching import BatchingEngine
from qmodel.theory.batch.engine_answer import batching_engine, outside_range
from qmodel.theory.batch.engine_fluctuations import _arrivals
from qmodel.theory.batch.token_demand import Points, together
from qmodel.theory.batch.token_times import Decoding
from qmodel.theory.network.mva import Queue, throughput_bound
from qmodel.theory.network.tandem import tandem
from qmodel.theory.one_server.m_g_1 import POISSON
from qmodel.theory.prediction.prediction_copula import _gauss
from qmodel.theory.prediction.prediction_levels import _scores
from qmodel.theory.prediction.prediction_sample import guesser
from qmodel.theory.result import Unstable
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Hyperexponential,
    Lognormal,
    Mmpp,
    Pareto,
    Poisson,
    PredictedSize,
    RequestClass,
)
from tests.theory.scenarios import one, request_class

PROMPT, OUTPUT, RATE, CAP = 100.0, 50.0, 6.0, 8
TAKEN = IterationTime(base=0.02, per_sequence=0.001, per_context_token=2e-6, per_prefill_token=1e-5)


def engine(cap=CAP, taken=TAKEN):
    prompt, output = Points.of(Deterministic(PROMPT)), Points.of(Deterministic(OUTPUT))
    return BatchingEngine(taken, together([RATE], [(prompt, prompt, output)]), cap=cap)


def tokens_engine(**given):
    factors = {"input_tokens": Deterministic(PROMPT), "output_tokens": Deterministic(OUTPUT)}
    system = System(batching="continuous", max_batch=CAP, iteration_time=TAKEN, **given)
    return Scenario([RequestClass("chat", Poisson(0.1), factors=factors)], system=system)


class TestEngine:
    def test_who_waited_starts_at_a_full_engine_and_forgets_it(self):
        """Extra seconds of k tokens: (t(cap) - E[t]) (1 - exp(-theta k)) / theta, summed here token by token."""
        made = engine()
        decoding, k = Decoding(made), np.array([1.0, 30.0])
        assert made.at_cap > 0.01
        full = (TAKEN.base + CAP * (0.001 + 2e-6 * made.demand.context)) / (1.0 - made.pausing)
        usual = float(made.seen @ made.iteration)
        lost = (full - usual) * np.array(
            [np.exp(-decoding.memory * np.linspace(0, n, 20001)).mean() * n for n in k]
        )
        assert decoding.mean(k, True) - k * made.per_token == pytest.approx(lost, rel=1e-3)
        other = -made.at_cap / (1.0 - made.at_cap) * lost
        assert decoding.mean(k, False) - k * made.per_token == pytest.approx(other, rel=1e-3)

    def test_arrivals_brought_by_contexts(self):
        """Lambda = lambda a / (1 - lambda (b + c E[context]) L - lambda p I), the context 100 + 51/2."""
        demand = engine().demand
        assert demand.context == pytest.approx(125.5, rel=1e-12)
        brought = RATE * (0.001 + 2e-6 * 125.5) * OUTPUT + RATE * 1e-5 * PROMPT
        assert _arrivals(TAKEN, demand, demand.outputs.moment(1)) == pytest.approx(
            RATE * 0.02 / (1.0 - brought), rel=1e-12
        )

    @pytest.mark.parametrize("cap", [1, 2, 30])
    def test_the_wait_for_constant_lengths_is_kimuras(self, cap):
        """f = min(1, (1 + (1 - rho) (c - 1) (sqrt(4 + 5 c) - 2) / (16 rho c)) / 2) for constant lengths."""
        made = engine(cap)
        rho = made.load
        kimura = 0.5 * (1.0 + (1.0 - rho) * (cap - 1) * ((4 + 5 * cap) ** 0.5 - 2.0) / (16.0 * rho * cap))
        assert made.length_factor == pytest.approx(min(1.0, kimura), rel=1e-12)

    def test_prompts_of_the_iteration_under_way_are_ahead(self):
        """Poisson arrivals in what is left of it: mean lambda r E[I], variance lambda r E[I^2]; no backlog here."""
        prompts = Points(np.array([50.0, 150.0]), np.array([0.5, 0.5]))
        output = Points.of(Deterministic(OUTPUT))
        made = BatchingEngine(TAKEN, together([0.01], [(prompts, prompts, output)]), cap=CAP, budget=10**7)
        mean, variance = made.prompts._tokens_ahead
        assert mean == pytest.approx(0.01 * made.residuals * 100.0, rel=1e-9)
        assert variance == pytest.approx(0.01 * made.residuals * (50.0**2 + 150.0**2) / 2.0, rel=1e-9)

    @pytest.mark.parametrize(("capacity", "cap"), [(140, 1), (90, 1), (270, 2)])
    def test_memory_for_one_request_is_a_cap_of_one(self, capacity, cap):
        assert batching_engine(tokens_engine(kv_capacity_tokens=capacity)).cap == cap


def asked(scv=1.0, mean=200.0):
    """Outputs of this law, one request a second."""
    return SimpleNamespace(rate=1.0, outputs=SimpleNamespace(scv=scv, moment=lambda k: mean))


def seen(**given):
    """An engine by what `outside_range` looks at, well inside the range but for what is given."""
    usual = {
        "load": 0.5, "prompts": SimpleNamespace(budget_load=0.01, scale=0.1), "wait": 0.0,
        "occupancy": np.array([1.0]),
        "ttft": 1.0, "at_cap": 0.5, "cap": 64, "packed": False, "pausing": 0.2, "seen": np.ones(1),
        "iteration": np.ones(1), "demand": asked(),
    }  # fmt: skip
    return SimpleNamespace(**usual | given)


def asking(scale):
    """Prompts that fill a fifth of the budget, of so large a share of an iteration each."""
    return SimpleNamespace(budget_load=0.2, scale=scale)


FIXED = asked(scv=0.1)


@pytest.mark.parametrize(
    ("inside", "outside", "said"),
    [
        ({"load": 0.955}, {"load": 0.956}, "load"),
        ({"prompts": asking(0.66)}, {"prompts": asking(0.67)}, "budget"),
        ({"cap": 12, "demand": FIXED}, {"cap": 11, "demand": FIXED}, "11 places"),
        ({"at_cap": 0.1, "wait": 0.06}, {"at_cap": 0.09, "wait": 0.06}, "few requests"),
        ({"pausing": 0.45}, {"pausing": 0.46}, "prompts take 46%"),
        ({"pausing": 0.3, "demand": FIXED}, {"pausing": 0.31, "demand": FIXED}, "prompts take 31%"),
        ({"demand": asked(mean=10.1)}, {"demand": asked(mean=9.9)}, "a prompt takes"),
        ({"wait": 0.11, "pausing": 0.25}, {"wait": 0.11, "pausing": 0.26}, "prompts take 26%"),
        ({"wait": 0.11, "demand": asked(mean=20.0)}, {"wait": 0.11, "demand": asked(mean=19.9)}, "few tokens"),
        ({"wait": 0.10, "demand": asked(mean=19.9)}, {"wait": 0.11, "demand": asked(mean=19.9)}, "few tokens"),
        ({"occupancy": np.array([0.999, 0.001])}, {"occupancy": np.array([0.998, 0.002])}, "memory"),
    ],
)
def test_the_edge_of_the_range_that_was_checked(inside, outside, said):
    """By single conditions: just inside, and just outside."""
    holds = 1 if said == "memory" else 10**9
    assert outside_range(seen(**inside), holds) is None
    assert said in outside_range(seen(**outside), holds)
    assert engine_answer.MOST_LOAD == 0.955


def test_batches_start_with_probabilities_that_sum_to_one():
    queue = BulkService(40.0, BatchTime.of_size(lambda size: 0.01 + 0.01 * size), 1, 4)
    law, counts = queue.chain
    assert law.sum() == pytest.approx(1.0, rel=1e-12)
    moved = np.zeros(len(law))
    for i, during in enumerate(counts):  # the balance of every state, from the definition
        after = np.maximum(i + 1 - min(i + 1, 4) + np.arange(during.size), 1) - 1
        np.add.at(moved, np.minimum(after, len(law) - 1), law[i] * during)
    assert moved == pytest.approx(law, abs=1e-13)


class TestEnvironment:
    def asked(self, arrivals, speeds=(2.0, 0.0)):
        process = Environment(speeds, ((-1.0, 1.0), (1.0, -1.0)))
        return Scenario([RequestClass("a", arrivals, service=Exponential(1.0))], system=System(environment=process))

    def test_load_of_exactly_one_has_no_queue(self):
        """Mean speed 1, one request of mean work 1 a second."""
        assert isinstance(in_environment(self.asked(Poisson(1.0))), Unstable)
        assert not isinstance(in_environment(self.asked(Poisson(1.0 - 1e-6))), Unstable)

    def test_poisson_arrivals_are_called_so(self):
        bursty = Mmpp((0.5, 0.1), ((-0.2, 0.2), (0.2, -0.2)))
        assert in_environment(self.asked(Poisson(0.3))).assumptions[0] == POISSON
        assert in_environment(self.asked(bursty)).assumptions[0] == DRIVEN


class TestPredictions:
    def test_gauss_nodes_on_the_unit_interval(self):
        x, w = _gauss(8)
        assert [float(w @ x**k) for k in range(16)] == pytest.approx([1 / (k + 1) for k in range(16)], rel=1e-13)

    @pytest.mark.parametrize(("low", "high", "widest"), [(0.0, 0.1, 0.5), (-0.3, 0.2, 0.5), (-8.0, 8.0, 0.5)])
    def test_scores_sum_to_the_normal_law(self, low, high, widest):
        z, weights = _scores(low, high, widest)
        assert weights.sum() == pytest.approx(ndtr(high) - ndtr(low), rel=1e-12)
        assert low < z.min() < z.max() < high

    def guesses(self, law, guess, size):
        served = Scenario([request_class("a", 0.1, law, predicted_size=guess)], policy=SPRPT()).served[0]
        return guesser(served, True, 1.0)(size)

    def test_a_prediction_that_knows_all_is_the_size(self):
        found = self.guesses(Lognormal(1.0, 2.0), PredictedSize("correlated", correlation=1.0), 0.7)
        assert found == [(1.0, 0.7, False)]

    def test_a_bit_that_is_never_wrong_is_one_guess(self):
        guess = PredictedSize("one-bit", threshold=1.0, accuracy=1.0)
        ((p, short, _),) = self.guesses(Exponential(1.0), guess, 0.7)
        assert (p, short) == (1.0, pytest.approx(1.0 - 1.0 / (math.e - 1.0), rel=1e-9))  # E[S | S <= 1]

    def test_what_is_never_predicted_is_no_guess(self):
        """Two sizes at the far ends of the scores: at a rank correlation next to 1 they are never mistaken."""
        law = Discrete((1.0, 2.0, 3.0), (0.3, 0.4, 0.3))
        found = self.guesses(law, PredictedSize("correlated", correlation=0.999999), 1.0)
        assert all(p > 0 for p, *_ in found) and [y for _, y, _ in found] == [1.0, 2.0]

    @pytest.mark.parametrize("limit", [1.0, 1.5])
    def test_a_limit_past_the_predicted_size_of_exact_ones_never_binds(self, limit):
        """TRAIL is SPRPT then, and finite though sizes have no second moment."""
        law = Pareto(1.0, 1.5)
        trail, sprpt = (
            analyse(one(0.5, law, policy, predicted_size=PredictedSize("exact")), percentiles=())["all"]
            for policy in (TRAIL(limit=limit), SPRPT())
        )
        assert trail.mean_response_s == pytest.approx(sprpt.mean_response_s, rel=1e-9)

    @pytest.mark.parametrize("law", [Exponential(1.0), Discrete((0.5, 2.0), (0.6, 0.4))], ids=["smooth", "steps"])
    def test_a_limit_between_one_and_two_only_binds_late(self, law):
        """A request past its prediction goes before all others: TRAIL with a limit above 1 preempts as SPRPT."""
        trail, sprpt = (
            analyse(one(0.6, law, policy, predicted_size=PredictedSize("exponential")), percentiles=())["all"]
            for policy in (TRAIL(limit=1.5), SPRPT())
        )
        assert trail.mean_response_s == pytest.approx(sprpt.mean_response_s, rel=1e-9)


class TestNetworks:
    def test_the_slowest_queue_bounds_the_throughput(self):
        queues = [Queue((0.5,)), Queue((1.0,), servers=4)]
        assert throughput_bound(10, 0.0, queues) == 2.0
        assert throughput_bound(1, 0.5, queues) == 0.5

    def test_a_station_that_shares_sends_on_a_poisson_stream(self):
        """Product form at the first; the second, of constant services, is M/D/1 whatever the first one's law."""
        stations = [Station("first", policy=PS()), Station("second")]
        laws = {"first": Hyperexponential(1.0, 4.0), "second": Deterministic(1.0)}
        answer = analyse(Scenario([RequestClass("a", Poisson(0.6), services=laws)], stations=stations))
        assert answer["a"].mean_at_first_s == pytest.approx(1.0 / 0.4, rel=1e-12)
        assert answer["a"].mean_at_second_s == pytest.approx(1.0 + 0.6 / (2.0 * 0.4), rel=1e-12)

    @pytest.mark.parametrize("t", [2.0, 5.0, 10.0])
    def test_the_law_of_two_stations_is_that_of_two_exponentials(self, t):
        """M/M/1 twice at rate 1/2: the sum of two exponentials of mean 2, to the last digits of the inversion."""
        laws = {"first": Exponential(1.0), "second": Exponential(1.0)}
        classes = [RequestClass("a", Poisson(0.5), services=laws)]
        found = tandem(Scenario(classes, stations=[Station("first"), Station("second")])).classes[0]
        assert found.law.cdf(t) == pytest.approx(1.0 - math.exp(-t / 2.0) * (1.0 + t / 2.0), abs=3e-12)

    def test_early_results_at_several_shared_servers(self):
        """Released at a share of the work, 0.4 0.3 + 0.6 on average: that much of M/M/2's response."""
        early = EarlyExit(fractions=(0.3, 1.0), probabilities=(0.4, 0.6), delivery="release")
        scenario = Scenario(
            [request_class("a", 1.2, Exponential(1.0))], policy=PS(), system=System(servers=2), transforms=(early,)
        )
        stretch = 1.0 / (1.0 - 0.6**2)  # E[T] of M/M/2 at load 0.6, per unit of size
        answer = analyse(scenario, percentiles=())["all"]
        assert answer.mean_slowdown == pytest.approx(stretch * 0.72, rel=1e-9)
        assert answer.mean_response_s == pytest.approx(stretch * 0.72, rel=1e-9)
