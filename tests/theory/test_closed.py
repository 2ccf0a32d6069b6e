"""Closed networks: mean value analysis against chains solved another way, and its laws."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.policy import LCFS, PS, SRPT, LCFSPreemptive
from qmodel.scenario import Scenario, System
from qmodel.service.station import Station
from qmodel.service.transform import EarlyExit, ModelSwap
from qmodel.theory import analyse
from qmodel.theory.network.mva import Queue, _fixed_point, closed_network, throughput_bound
from qmodel.workload import Closed, Deterministic, Exponential, Lognormal, Poisson, RequestClass


def repair(population, delay, service, servers):
    """Throughput and response of M/M/k//N by its birth and death chain."""
    weight = [1.0]
    for n in range(1, population + 1):
        weight.append(weight[-1] * (population - n + 1) / delay * service / min(n, servers))
    law = np.array(weight) / sum(weight)
    rate = sum(law[n] * min(n, servers) / service for n in range(population + 1))
    return rate, law @ np.arange(population + 1) / rate


def by_states(populations, delays, queues):
    """Throughputs from the product-form probabilities of every state, summed one by one."""

    def weight(rows):
        # rows[r] = numbers of class r at the delay and at each queue
        out = 1.0
        for r, row in enumerate(rows):
            out *= delays[r] ** row[0] / math.factorial(row[0])
        for k, queue in enumerate(queues):
            here = [row[k + 1] for row in rows]
            out *= math.factorial(sum(here))
            for r, n in enumerate(here):
                out *= queue.demands[r] ** n / math.factorial(n)
            for j in range(1, sum(here) + 1):
                out /= min(j, queue.servers)
        return out

    def constant(vector):
        placings = [[p for p in product(range(n + 1), repeat=len(queues) + 1) if sum(p) == n] for n in vector]
        return sum(weight(rows) for rows in product(*placings))

    whole = constant(populations)
    less = (tuple(n - (i == r) for i, n in enumerate(populations)) for r in range(len(populations)))
    return [constant(vector) / whole for vector in less]


class TestMeanValueAnalysis:
    @pytest.mark.parametrize(
        ("population", "delay", "service", "servers"), [(10, 5.0, 1.0, 1), (10, 5.0, 1.0, 3), (64, 3.0, 1.0, 8)]
    )
    def test_one_queue(self, population, delay, service, servers):
        found = closed_network([population], [delay], [Queue((service,), servers)])
        rate, response = repair(population, delay, service, servers)
        assert found.exact and found.throughput[0] == pytest.approx(rate, rel=1e-10)
        assert found.response(0) == pytest.approx(response, rel=1e-10)

    @pytest.mark.parametrize(
        ("populations", "delays", "queues"),
        [
            ((3, 2), (1.0, 0.5), [Queue((0.3, 0.7)), Queue((0.5, 0.1), 2)]),
            ((2, 3), (0.0, 2.0), [Queue((0.3, 0.0)), Queue((0.5, 0.1), 3)]),
            ((4,), (0.0,), [Queue((0.4,), 2), Queue((0.6,), 2)]),
        ],
    )
    def test_several_classes_and_queues(self, populations, delays, queues):
        found = closed_network(populations, delays, queues)
        assert found.throughput == pytest.approx(by_states(populations, delays, queues), rel=1e-10)

    def test_all_users_at_one_queue(self):
        found = closed_network([5], [0.0], [Queue((2.0,), 2)])
        assert found.throughput[0] == pytest.approx(1.0) and found.response(0) == pytest.approx(5.0)

    @given(
        st.integers(1, 12),
        st.floats(0.0, 5.0),
        st.lists(st.floats(0.05, 2.0), min_size=1, max_size=3),
        st.integers(1, 3),
    )
    @settings(max_examples=40, deadline=None)
    def test_laws(self, population, delay, services, servers):
        """Little; the asymptotic bounds; more users, more throughput; one user alone waits for nobody."""
        queues = [Queue((service,), servers) for service in services]
        found = closed_network([population], [delay], queues)
        rate = found.throughput[0]
        assert rate * (delay + found.response(0)) == pytest.approx(population, rel=1e-9)
        assert rate <= throughput_bound(population, delay, queues) * (1 + 1e-12)
        assert rate >= population / (delay + population * sum(services)) * (1 - 1e-12)
        assert closed_network([population + 1], [delay], queues).throughput[0] >= rate * (1 - 1e-12)
        alone = closed_network([1], [delay], queues)
        assert alone.response(0) == pytest.approx(sum(services), rel=1e-12)

    def test_many_users(self):
        """The bottleneck fills."""
        found = closed_network([5000], [10.0], [Queue((0.1,)), Queue((0.04,))])
        assert found.exact and found.throughput[0] == pytest.approx(10.0, rel=1e-9)

    def test_schweitzer_within_its_stated_error(self):
        queues = [Queue((0.1, 0.2)), Queue((0.2, 0.1))]
        near = _fixed_point([20, 30], [1.0, 2.0], queues)
        exact = closed_network([20, 30], [1.0, 2.0], queues)
        assert not near.exact and exact.exact
        for r in (0, 1):
            assert near.response(r) == pytest.approx(exact.response(r), rel=0.05)
            assert near.response(r) != pytest.approx(exact.response(r), rel=1e-5)
        several = _fixed_point([10], [5.0], [Queue((1.0,), 3)])
        assert several.response(0) == pytest.approx(repair(10, 5.0, 1.0, 3)[1], rel=0.2)
        assert _fixed_point([1], [5.0], [Queue((1.0,), 3)]).response(0) == pytest.approx(1.0, rel=1e-9)

    def test_large_populations_of_several_classes(self):
        found = closed_network([500, 500], [10.0, 20.0], [Queue((0.01, 0.02))])
        assert not found.exact and sum(found.throughput) * 0.01 < 1.0
        for r, delay in enumerate((10.0, 20.0)):
            assert found.throughput[r] * (delay + found.response(r)) == pytest.approx(500, rel=1e-9)

    def test_refused(self):
        for given_ in (([1], [1.0], []), ([1, 1], [1.0, 1.0], [Queue((1.0,))]), ([1], [0.0], [Queue((0.0,))])):
            with pytest.raises(InputError, match="closed network"):
                closed_network(*given_)


def users(population, think, law, policy=None, servers=1, **options):
    one = RequestClass("users", Closed(population, think), service=law)
    more = {} if policy is None else {"policy": policy}
    return Scenario([one], system=System(servers=servers), **more, **options)


class TestScenario:
    def test_one_system(self):
        answer = analyse(users(10, 5.0, Exponential(1.0), servers=3))
        rate, response = repair(10, 5.0, 1.0, 3)
        assert answer.method == "exact" and answer.rate == pytest.approx(rate)
        assert answer["users"].arrival_rate == pytest.approx(rate)
        assert answer["all"].mean_response_s == pytest.approx(response)
        assert answer.utilisation == pytest.approx(rate / 3) and answer.stable

    @pytest.mark.parametrize("policy", [PS(), LCFSPreemptive()], ids=lambda p: p.name)
    def test_insensitive(self, policy):
        plain = analyse(users(10, 5.0, Exponential(1.0)))["users"].mean_response_s
        assert analyse(users(10, 5.0, Lognormal(1.0, 9.0), policy))["users"].mean_response_s == pytest.approx(plain)
        assert analyse(users(10, 5.0, Exponential(1.0), LCFS()))["users"].mean_response_s == pytest.approx(plain)

    def test_stations(self):
        made = (Station("gateway", policy=PS(), transfer_s=0.5), Station("engine", servers=2))
        laws = {"gateway": Deterministic(0.2), "engine": Exponential(1.0)}
        scenario = Scenario([RequestClass("users", Closed(8, 3.0), services=laws)], stations=made)
        answer = analyse(scenario)
        expected = closed_network([8], [3.5], [Queue((0.2,)), Queue((1.0,), 2)])
        assert answer["users"].mean_response_s == pytest.approx(expected.response(0) + 0.5, rel=1e-12)
        assert answer["users"].mean_at_engine_s == pytest.approx(expected.times[0][1], rel=1e-12)

    def test_one_user_is_never_in_the_way(self):
        answer = analyse(users(1, 2.0, Exponential(0.7)))
        assert answer["users"].mean_wait_s == pytest.approx(0.0, abs=1e-12)

    def test_approximate_answers_say_so(self):
        classes = [RequestClass(f"c{i}", Closed(400, 10.0), service=Exponential(0.01)) for i in (0, 1)]
        answer = analyse(Scenario(classes))
        assert answer.method == "approximation" and any("stated error" in note for note in answer.notes)

    def test_refused(self):
        made = (Station("s"), Station("unvisited"))
        laws = {"s": Lognormal(1.0, 2.0)}
        closed = RequestClass("users", Closed(2, 1.0), service=Exponential(1.0))
        release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
        cases = {
            "open and closed": Scenario([closed, RequestClass("open", Poisson(0.1), service=Exponential(1.0))]),
            "'srpt'": users(3, 1.0, Exponential(1.0), SRPT()),
            "no product form": users(3, 1.0, Deterministic(1.0)),
            "station 's'": Scenario([RequestClass("u", Closed(2, 1.0), services=laws)], stations=made),
            "transforms": Scenario(
                [RequestClass("u", Closed(2, 1.0), services=laws)], stations=made, transforms=[ModelSwap()]
            ),
            "servers alone": Scenario([closed], system=System(batching="processor-sharing", max_batch=2)),
            "before their service": Scenario([closed], transforms=[release]),
        }
        for word, scenario in cases.items():
            refusal = analyse(scenario)
            assert isinstance(refusal, NotAnalysable), word
            assert word in str(refusal)
