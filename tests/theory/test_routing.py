"""Queues of their own: random, in turn, to the shortest, to the least work."""

import itertools
import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.policy import FCFS, LCFS, PS, SRPT, NonPreemptivePriority, RandomOrder
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.transform import Cache, ModelSwap, QueueCondition
from qmodel.theory import analyse
from qmodel.theory.arrivals.e_k_g_1 import DealtQueue
from qmodel.theory.servers.m_d_k import ConstantServers
from qmodel.theory.servers.shortest_queue import chain, found_by_arrivals, mean_field, refined, states, widest
from qmodel.workload import Deterministic, Exponential, Hyperexponential, Lognormal, Pareto, Uniform
from tests.theory.queues import Estimate
from tests.theory.scenarios import request_class, several


def routed(kind, servers, classes, policy=None, **options):
    made = [request_class(f"c{k}", rate, law, k) for k, (rate, law) in enumerate(classes)]
    system = System(servers=servers, routing=Routing.parse(kind))
    return Scenario(made, policy=policy or FCFS(), system=system, **options)


class TestRandom:
    @pytest.mark.parametrize("policy", [FCFS(), PS(), SRPT(), NonPreemptivePriority()], ids=lambda p: p.name)
    def test_each_server_on_its_own(self, policy):
        classes = [(0.9, Exponential(1.0)), (1.2, Uniform(0.0, 2.0))]
        whole = analyse(routed("random", 3, classes, policy))
        one = analyse(several([(rate / 3, law) for rate, law in classes], policy))
        assert whole.utilisation == pytest.approx(0.7) and whole["all"].arrival_rate == pytest.approx(2.1)
        for name in ("all", "c0", "c1"):
            for metric in ("mean_response_s", "p95_response_s"):
                got, expected = (answer[name].metrics[metric] for answer in (whole, one))
                near = 1e-9 if metric.startswith("mean") else 1e-7  # percentiles by inversion
                assert got == (None if expected is None else pytest.approx(expected, rel=near))

    def test_unstable_and_refused(self):
        assert not analyse(routed("random", 2, [(2.5, Exponential(1.0))])).stable
        own = routed(
            "random",
            2,
            [(1.0, Exponential(1.0))],
            NonPreemptivePriority(),
            transforms=[ModelSwap(when=QueueCondition(2), service_factor=0.5)],
        )
        assert analyse(own, percentiles=()).method == "exact"


class TestRoundRobin:
    @pytest.mark.parametrize(("queues", "rate"), [(2, 1.6), (5, 4.5), (33, 30.0)])
    def test_constant_services_are_m_d_k(self, queues, rate):
        dealt, shared = DealtQueue(queues, rate, Deterministic(1.0)), ConstantServers(queues, rate, 1.0)
        assert dealt.mean_wait == pytest.approx(shared.mean_wait, rel=1e-9)
        assert dealt.no_wait == pytest.approx(shared.no_wait, rel=1e-9)
        s = np.array([0.1, 1.0 + 3.0j, 1e3, 1e7])
        assert dealt.positive_wait(s) == pytest.approx(shared.positive_wait(s), rel=1e-6, abs=1e-12)

    @pytest.mark.parametrize(("queues", "load"), [(1, 0.7), (2, 0.8), (32, 0.95)])
    def test_exponential_services(self, queues, load):
        """G/M/1: an arrival waits with probability sigma, the root of sigma = A~(mu (1 - sigma))."""
        dealt = DealtQueue(queues, load * queues, Exponential(1.0))
        sigma = 0.5
        for _ in range(20_000):
            sigma = (1 + (1 - sigma) / (load * queues)) ** -queues
        assert dealt.mean_wait == pytest.approx(sigma / (1 - sigma), rel=1e-8)
        assert dealt.no_wait == pytest.approx(1 - sigma, rel=1e-8)
        s = np.array([0.3, 1.0 + 1.0j])
        assert dealt.positive_wait(s) == pytest.approx(sigma * (1 - sigma) / (1 - sigma + s), rel=1e-7)

    @pytest.mark.parametrize("law", [Lognormal(1.0, 2.0), Uniform(0.0, 2.0)], ids=str)
    def test_against_lindley(self, law):
        rng = np.random.default_rng(4)
        n, queues, rate = 400_000, 4, 2.8
        steps = law.sample(rng, n) - rng.gamma(queues, 1 / rate, n)
        walk = np.concatenate(([0.0], np.cumsum(steps)))
        waits = (walk - np.minimum.accumulate(walk))[1000:]
        estimate = Estimate.of(waits)
        assert estimate.error < 0.03 * (1 + estimate.mean)
        assert DealtQueue(queues, rate, law).mean_wait == pytest.approx(estimate.mean, abs=4 * estimate.error)
        answer = analyse(routed("round-robin", queues, [(rate, law)]), percentiles=(50.0, 95.0))
        assert answer.method == "exact"
        sizes = law.sample(rng, len(waits))
        for percent in (50.0, 95.0):
            got = answer["c0"].metrics[f"p{percent:g}_response_s"]
            assert ((waits + sizes) <= got).mean() == pytest.approx(percent / 100, abs=0.005)

    def test_orders(self):
        classes = [(1.0, Uniform(0.0, 2.0)), (0.5, Exponential(1.0))]
        plain = analyse(routed("round-robin", 2, classes))
        for policy in (LCFS(), RandomOrder()):
            answer = analyse(routed("round-robin", 2, classes, policy))
            assert answer["c1"].mean_response_s == plain["c1"].mean_response_s
            assert answer["c1"].p95_response_s is None
        assert isinstance(analyse(routed("round-robin", 2, classes, PS())), NotAnalysable)

    def test_better_than_random_worse_than_shared(self):
        law, kinds = Hyperexponential(1.0, 4.0), ("shared", "round-robin", "random")
        waits = [analyse(routed(kind, 4, [(3.2, law)]), percentiles=())["c0"].mean_wait_s for kind in kinds]
        assert waits == sorted(waits) and waits[0] < 0.5 * waits[1]

    def test_infinite_second_moment(self):
        assert (
            analyse(routed("round-robin", 2, [(1.0, Pareto(1.0, 1.8))]), percentiles=())["c0"].mean_wait_s is None
        )

    def test_roots_that_cannot_be_found_are_refused(self, monkeypatch):
        monkeypatch.setattr(DealtQueue, "_solved", lambda self, s: False)
        with pytest.raises(InputError, match="cannot be computed"):
            _ = DealtQueue(2, 1.0, Exponential(1.0)).roots


def simulated_shortest(servers, load, choices, events, seed):
    """E[T] of JSQ(d) with exponential services, by uniformisation."""
    rng = np.random.default_rng(seed)
    queues, area, arrivals = [0] * servers, 0, load * servers
    coin, place = rng.random(events) * (arrivals + servers), rng.integers(servers, size=events)
    picks = rng.random((events, servers)).argsort(axis=1)[:, :choices].tolist()
    total, areas = 0, []
    for at, where, drawn in zip(coin.tolist(), place.tolist(), picks, strict=True):
        area += total
        if at < arrivals:
            best = min(drawn, key=queues.__getitem__)
            queues[best] += 1
            total += 1
        elif queues[where]:
            queues[where] -= 1
            total -= 1
        areas.append(total)
    return Estimate.of(np.array(areas[1000:]) / arrivals)


def unmoved(servers, load, choices, longest):
    """E[T] in services from the balance of the unsorted numbers at the servers, cut at `longest`."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    shape = (longest + 1,) * servers
    numbers = np.indices(shape).reshape(servers, -1)
    index = np.arange(numbers.shape[1])
    rows, columns, rates = [], [], []
    for own in range(servers):
        step = int(np.prod(shape[own + 1 :]))
        busy = numbers[own] > 0
        rows.append(index[busy] - step), columns.append(index[busy]), rates.append(np.ones(busy.sum()))
        for drawn in itertools.combinations(range(servers), choices):
            if own in drawn:
                shortest = numbers[list(drawn)].min(axis=0)
                ties = (numbers[list(drawn)] == shortest).sum(axis=0)
                joined = (numbers[own] == shortest) & (numbers[own] < longest)
                rate = load * servers / math.comb(servers, choices) / ties[joined]
                rows.append(index[joined] + step), columns.append(index[joined]), rates.append(rate)
    rows, columns, rates = (np.concatenate(part) for part in (rows, columns, rates))
    flow = coo_matrix((rates, (rows, columns)), (len(index),) * 2).tocsc()
    balance = (flow - coo_matrix((np.asarray(flow.sum(axis=0)).ravel(), (index, index)))).tocsc()
    law = np.concatenate(([1.0], spsolve(balance[1:, 1:], -balance[1:, [0]].toarray().ravel())))
    return float(law @ numbers.sum(axis=0) / law.sum()) / (servers * load)


class TestShortestQueue:
    @pytest.mark.parametrize(("servers", "choices"), [(2, 2), (4, 2), (4, 4)])
    def test_the_chain_against_a_simulation(self, servers, choices):
        estimate = simulated_shortest(servers, 0.7, choices, 300_000, 7)
        found = found_by_arrivals(servers, 0.7, choices)
        assert estimate.error < 0.02 * estimate.mean and found.error < 1e-3
        assert found.mean_response == pytest.approx(estimate.mean, abs=4 * estimate.error)

    @pytest.mark.parametrize(
        ("servers", "load", "choices", "near"),
        [(2, 0.5, 2, 1e-11), (2, 0.8, 2, 1e-9), (3, 0.6, 3, 1e-9), (3, 0.5, 2, 1e-8), (3, 0.7, 2, 1e-8)],
    )
    def test_the_chain_is_that_of_queues_no_one_leaves(self, servers, load, choices, near):
        """Against all states up to a length that is never seen, without moves from queue to queue."""
        found = found_by_arrivals(servers, load, choices)
        exact = unmoved(servers, load, choices, 60 if servers == 2 else 22)
        assert found.error < 1e-6 and found.mean_response == pytest.approx(exact, rel=near)

    @pytest.mark.parametrize(
        ("servers", "load", "width"), [(2, 0.999, 8), (4, 0.99, 8), (8, 0.9, 4), (16, 0.95, 3), (32, 0.8, 2)]
    )
    def test_moves_make_hardly_a_difference(self, servers, load, width):
        """Two widths differ by no more than the gap of the narrower one."""
        (narrow, gap), (wide, smaller) = (chain(servers, load, servers, w) for w in (width - 1, width))
        first, second = (float(law @ (1 + np.arange(len(law)))) for law in (narrow, wide))
        assert abs(first - second) < gap * second and smaller < 0.5 * gap < 0.06
        assert narrow.sum() == pytest.approx(1.0, abs=1e-12) and narrow.min() >= 0
        assert states(servers, servers, width) <= 1_800 and widest(servers, load, servers) >= width

    @pytest.mark.parametrize(
        ("servers", "load", "choices", "simulated"),
        [
            (8, 0.8, 2, 2.1110),
            (16, 0.95, 2, 3.9369),
            (32, 0.9, 2, 2.7172),
            (16, 0.9, 3, 2.2686),
            (64, 0.95, 3, 2.6649),
        ],
    )
    def test_the_refined_mean_field_within_its_stated_error(self, servers, load, choices, simulated):
        """Simulations of 6e7 events, each good to three digits."""
        found = found_by_arrivals(servers, load, choices)
        assert found.name == "refined mean field"
        assert found.mean_response == pytest.approx(simulated, rel=found.error)

    @pytest.mark.parametrize(("servers", "load", "simulated"), [(16, 0.9, 1.5822), (32, 0.95, 1.6638)])
    def test_the_shortest_of_many(self, servers, load, simulated):
        found = found_by_arrivals(servers, load, servers)
        assert found.mean_response == pytest.approx(simulated, rel=0.01) and 0.0005 < found.error < 0.05

    def test_limits(self):
        assert found_by_arrivals(4, 1e-3, 2).mean_response == pytest.approx(1.0, abs=1e-4)
        one = np.array(chain(1, 0.8, 1, 1)[0])
        assert one[:20] == pytest.approx(0.2 * 0.8 ** np.arange(20), rel=1e-8)
        assert mean_field(0.8, 1) @ (1 + np.arange(len(mean_field(0.8, 1)))) == pytest.approx(5.0, rel=1e-8)
        far = refined(100_000, 0.9, 2)
        assert far @ (1 + np.arange(len(far))) == pytest.approx(
            sum(0.9 ** (2**n - 2) for n in range(1, 12)), rel=1e-3
        )

    def test_random_choice_of_one_is_random_routing(self):
        classes = [(1.6, Exponential(1.0))]
        one = analyse(routed("jsq:1", 2, classes), percentiles=())
        assert one["c0"].mean_response_s == pytest.approx(5.0, rel=1e-9)

    def test_law_of_the_response(self):
        """Who finds n has n + 1 exponential services; the law's mean by its tail is the mean."""
        answer = analyse(routed("jsq", 2, [(1.2, Exponential(1.0)), (0.2, Exponential(1.0))]), percentiles=(95.0,))
        assert answer.method == "exact" and answer.result == "JSQ(2) of 2 queues: finite chain"
        probabilities = found_by_arrivals(2, 0.7, 2).probabilities
        t = answer["c1"].p95_response_s
        tail = 0.0
        for n, p in enumerate(probabilities[:80]):
            tail += p * sum(math.exp(-t + j * math.log(t) - math.lgamma(j + 1)) for j in range(n + 1))
        assert tail == pytest.approx(0.05, rel=1e-5)

    def test_sharing(self):
        answer = analyse(routed("jsq", 3, [(1.8, Uniform(0.0, 2.0))], PS()))
        same = analyse(routed("jsq", 3, [(1.8, Exponential(1.0))], PS()))
        assert answer.method == "approximation" and "3.0%" in answer.notes[0]
        assert answer["c0"].mean_response_s == pytest.approx(same["c0"].mean_response_s, rel=1e-12)
        assert same.method == "exact" and answer["c0"].p95_response_s is None

    def test_refused(self):
        for scenario in (
            routed("jsq", 2, [(1.0, Uniform(0.0, 2.0))]),
            routed("jsq", 2, [(1.0, Exponential(1.0))], SRPT()),
            routed("jsq:5", 40, [(38.0, Exponential(1.0))]),
        ):
            assert isinstance(analyse(scenario), NotAnalysable)
        assert found_by_arrivals(60, 0.99, 60) is None and widest(2, 0.9999, 2) == 0
        assert found_by_arrivals(2, 0.9999, 2) is None


def test_hits_of_a_cache_are_labelled():
    """Che's approximation makes the answer one; a hit ratio that is given leaves it exact."""
    cache = Cache(items=1000, capacity=100, zipf=0.8, saved_fraction=0.5)
    found = analyse(Scenario([request_class("a", 0.5, Exponential(1.0))], transforms=[cache]), percentiles=())
    given = Cache(hit_ratio=cache.hits, saved_fraction=0.5)
    plain = analyse(Scenario([request_class("a", 0.5, Exponential(1.0))], transforms=[given]), percentiles=())
    assert (found.method, plain.method) == ("approximation", "exact")
    assert found["a"].mean_response_s == plain["a"].mean_response_s and any("Che" in note for note in found.notes)


class TestLeastWork:
    def test_one_queue_shared(self):
        classes = [(1.0, Lognormal(1.0, 2.0)), (0.6, Exponential(1.0))]
        own, shared = analyse(routed("least-work", 2, classes)), analyse(routed("shared", 2, classes))
        for name in ("all", "c0", "c1"):
            assert own[name].metrics == shared[name].metrics
        assert any("router" in line for line in own.assumptions)

    def test_refused(self):
        assert isinstance(analyse(routed("least-work", 2, [(1.0, Exponential(1.0))], PS())), NotAnalysable)
        assert not analyse(routed("least-work", 2, [(2.1, Exponential(1.0))])).stable
        swap = ModelSwap(when=QueueCondition(2), service_factor=0.5)
        refusal = analyse(routed("least-work", 2, [(1.0, Exponential(1.0))], transforms=[swap]))
        assert isinstance(refusal, NotAnalysable) and "least-work" in refusal.reason
