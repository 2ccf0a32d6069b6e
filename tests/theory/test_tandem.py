"""Stations in line: product form, constant services, two moments."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.answer import NotAnalysable
from qmodel.policy import PS, LCFSPreemptive, NonPreemptivePriority, RoundRobin
from qmodel.scenario import Scenario, System
from qmodel.service.station import Station
from qmodel.service.transform import ModelSwap
from qmodel.theory import analyse
from qmodel.theory.network.qna import Flow, departures, mean_wait, merged_flow
from qmodel.theory.servers.m_g_k import erlang_c
from qmodel.workload import (
    Deterministic,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Poisson,
    Renewal,
    RequestClass,
    Trace,
)
from tests.theory.queues import Estimate


def line(services, *stations, rate=1.0, arrivals=None):
    """One class through stations s0, s1, ..."""
    made = stations or tuple(Station(f"s{i}") for i in range(len(services)))
    laws = {station.name: law for station, law in zip(made, services, strict=True)}
    return Scenario([RequestClass("a", arrivals or Poisson(rate), services=laws)], stations=made)


def walk(services, rate, n, seed, servers=None, gaps=None):
    """Response times of requests through FCFS stations, by following each departure."""
    rng = np.random.default_rng(seed)
    arrived = times = np.cumsum(rng.exponential(1 / rate, n) if gaps is None else gaps(rng, n))
    for law, k in zip(services, servers or [1] * len(services), strict=True):
        order = np.argsort(times, kind="stable")
        free, done = np.zeros(k), np.empty(n)
        sizes = law.sample(rng, n)
        for i in order:
            j = int(free.argmin())
            free[j] = done[i] = max(times[i], free[j]) + sizes[i]
        times = done
    return (times - arrived)[n // 20 :]


class TestProductForm:
    def test_two_exponential_stations(self):
        answer = analyse(line([Exponential(0.5), Exponential(0.8)]))
        assert answer.method == "exact" and answer.utilisation == pytest.approx(0.8)
        assert answer["a"].mean_response_s == pytest.approx(1.0 + 4.0, rel=1e-12)
        assert (answer["a"].mean_at_s0_s, answer["all"].mean_at_s1_s) == (pytest.approx(1.0), pytest.approx(4.0))
        # a sum of exponentials of means 1 and 4
        t = answer["a"].p95_response_s
        assert (4 * math.exp(-t / 4) - math.exp(-t)) / 3 == pytest.approx(0.05, rel=1e-6)

    def test_the_way_between(self):
        made = (Station("s0", transfer_s=0.25), Station("s1", transfer_s=7.0))
        answer = analyse(line([Exponential(0.5), Exponential(0.8)], *made))
        plain = analyse(line([Exponential(0.5), Exponential(0.8)]))
        assert answer["a"].mean_response_s == pytest.approx(5.25, rel=1e-12)
        assert answer["a"].mean_wait_s == pytest.approx(5.0 - 1.3, rel=1e-12)
        assert answer["a"].p99_response_s == pytest.approx(plain["a"].p99_response_s + 0.25, rel=1e-9)

    def test_several_servers_at_the_ends(self):
        made = (Station("s0", servers=2), Station("s1"), Station("s2", servers=3))
        answer = analyse(line([Exponential(1.5), Exponential(0.5), Exponential(2.0)], *made))
        waits = [erlang_c(2, 1.5) * 1.5 / 0.5, 0.5 * 0.5 / 0.5, erlang_c(3, 2.0) * 2.0 / 1.0]
        assert answer["a"].mean_response_s == pytest.approx(sum(waits) + 4.0, rel=1e-12)
        assert answer["a"].p95_response_s is not None
        inside = (Station("s0"), Station("s1", servers=2), Station("s2"))
        assert analyse(line([Exponential(0.5)] * 3, *inside))["a"].p95_response_s is None

    def test_sharing_stations_are_insensitive(self):
        made = (Station("s0", policy=PS()), Station("s1", policy=LCFSPreemptive()), Station("s2"))
        answer = analyse(line([Deterministic(0.5), Lognormal(0.6, 9.0), Exponential(0.8)], *made))
        assert answer.method == "exact" and answer["a"].p95_response_s is None
        assert answer["a"].mean_response_s == pytest.approx(0.5 / 0.5 + 0.6 / 0.4 + 0.8 / 0.2, rel=1e-12)

    def test_a_short_cut_makes_times_dependent(self):
        made = tuple(Station(f"s{i}") for i in range(3))
        laws = {f"s{i}": Exponential(0.5) for i in range(3)}
        short = {name: laws[name] for name in ("s0", "s2")}
        classes = [
            RequestClass("whole", Poisson(0.5), services=laws),
            RequestClass("cut", Poisson(0.5), services=short),
        ]
        answer = analyse(Scenario(classes, stations=made))
        assert answer.method == "exact" and answer["whole"].p95_response_s is None
        assert answer["whole"].mean_response_s == pytest.approx(1.0 + 0.5 / 0.75 + 1.0, rel=1e-12)

    def test_classes_that_skip_a_station(self):
        made = (Station("front"), Station("back"))
        classes = [
            RequestClass("both", Poisson(0.3), services={"front": Exponential(1.0), "back": Exponential(2.0)}),
            RequestClass("front only", Poisson(0.4), services={"front": Exponential(1.0)}),
        ]
        answer = analyse(Scenario(classes, stations=made))
        assert answer.method == "exact"
        assert answer["both"].mean_response_s == pytest.approx(1 / 0.3 + 2 / 0.4, rel=1e-12)
        assert answer["front only"].mean_response_s == pytest.approx(1 / 0.3, rel=1e-12)
        assert answer["front only"].mean_at_back_s == 0.0
        t = answer["front only"].p95_response_s
        assert t == pytest.approx(math.log(20) / 0.3, rel=1e-6)


class TestConstantServices:
    @pytest.mark.parametrize("means", [(0.8, 0.5), (0.5, 0.8), (0.4, 0.8, 0.8)])
    def test_all_waiting_is_that_of_the_slowest(self, means):
        answer = analyse(line([Deterministic(mean) for mean in means]))
        assert answer.method == "exact"
        assert answer["a"].mean_response_s == pytest.approx(sum(means) + 0.8**2 / (2 * 0.2), rel=1e-12)
        times = walk([Deterministic(mean) for mean in means], 1.0, 100_000, 3)
        assert answer["a"].mean_response_s == pytest.approx(times.mean(), rel=0.05)
        assert answer["a"].p95_response_s == pytest.approx(np.quantile(times, 0.95), rel=0.05)

    def test_the_way(self):
        made = (Station("s0", transfer_s=2.0), Station("s1"))
        plain = analyse(line([Deterministic(0.5), Deterministic(0.8)]))["a"]
        answer = analyse(line([Deterministic(0.5), Deterministic(0.8)], *made))["a"]
        assert answer.mean_response_s == pytest.approx(plain.mean_response_s + 2.0)
        assert answer.p50_response_s == pytest.approx(plain.p50_response_s + 2.0)


class TestTwoMoments:
    @pytest.mark.parametrize(
        ("services", "stated"),
        [
            ([Deterministic(0.8), Exponential(0.8)], 0.08),
            ([Hyperexponential(0.8, 4.0), Deterministic(0.8)], 0.08),
            ([Hyperexponential(0.6, 4.0), Exponential(0.9)], 0.15),
            ([Gamma(0.7, 0.3), Gamma(0.7, 0.3), Exponential(0.5)], 0.08),
        ],
        ids=str,
    )
    def test_stated_error(self, services, stated):
        estimate = Estimate.of(walk(services, 1.0, 200_000, 1))
        answer = analyse(line(services), percentiles=())
        assert answer.method == "approximation" and "stated error" in answer.notes[0]
        assert estimate.error < 0.04 * estimate.mean
        assert answer["a"].mean_response_s == pytest.approx(estimate.mean, rel=stated, abs=3 * estimate.error)

    def test_renewal_arrivals(self):
        """E2/M/1 and a second station; the first alone has the root of its kernel."""
        answer = analyse(line([Exponential(0.8), Exponential(0.5)], arrivals=Renewal(1.0, 0.5)), percentiles=())
        times = walk([Exponential(0.8), Exponential(0.5)], 1.0, 200_000, 2, gaps=lambda r, n: r.gamma(2, 0.5, n))
        assert answer["a"].mean_response_s == pytest.approx(times.mean(), rel=0.08)
        assert answer.method == "approximation"

    def test_priorities_at_a_station(self):
        made = (Station("s0"), Station("s1", policy=NonPreemptivePriority()))
        laws = {"s0": Gamma(0.5, 0.5), "s1": Gamma(0.7, 0.5)}
        classes = [RequestClass(f"c{i}", Poisson(0.5), services=laws, priority=i) for i in (0, 1)]
        answer = analyse(Scenario(classes, stations=made), percentiles=())
        assert answer["c0"].mean_at_s1_s < answer["c1"].mean_at_s1_s
        assert answer["c0"].mean_at_s0_s == pytest.approx(answer["c1"].mean_at_s0_s)

    def test_infinite_variance(self):
        answer = analyse(line([Pareto(0.5, 1.5), Exponential(0.5)]), percentiles=())
        assert answer["a"].mean_response_s is None

    @given(st.floats(0.05, 0.95), st.floats(0.0, 9.0))
    def test_a_single_queue_is_pollaczek_khinchine(self, load, scv):
        expected = load * (1 + scv) / (2 * (1 - load))
        assert mean_wait(1, Flow(load, 1.0), 1.0, scv) == pytest.approx(expected, rel=1e-12)

    @given(st.integers(1, 20), st.floats(0.05, 0.95))
    def test_poisson_in_poisson_out(self, servers, load):
        """Burke's theorem, for splitting and merging as well."""
        out = departures(servers, Flow(load * servers, 1.0), 1.0, 1.0)
        assert (out.rate, out.scv) == (load * servers, pytest.approx(1.0))
        assert out.share(0.3 * out.rate).scv == pytest.approx(1.0)
        assert merged_flow([out, Flow(3.0, 1.0)], load).scv == pytest.approx(1.0)

    def test_limits_of_flows(self):
        assert departures(1, Flow(0.999999, 1.0), 1.0, 0.5).scv == pytest.approx(0.5, abs=1e-5)
        assert departures(1, Flow(1e-6, 3.0), 1.0, 0.5).scv == pytest.approx(3.0, abs=1e-5)
        many = merged_flow([Flow(0.01, 4.0)] * 1000, 0.5)
        assert many.scv == pytest.approx(1.0, abs=0.01)
        assert mean_wait(1, Flow(0.5, 0.0), 1.0, 0.0) == 0.0


class TestRefused:
    def test_why(self):
        plain = line([Exponential(0.5), Exponential(0.5)])
        cases = {
            "transforms": plain.with_transforms(ModelSwap(service_factor=0.5)),
            r"\[system\]": Scenario(plain.classes, stations=plain.stations, system=System(servers=2)),
            "renewal": line([Exponential(0.5)], arrivals=Trace((0.0, 1.0, 2.0))),
            "round-robin": line([Exponential(0.5)], Station("s0", policy=RoundRobin())),
        }
        for word, scenario in cases.items():
            refusal = analyse(scenario)
            assert isinstance(refusal, NotAnalysable)
            assert word.strip("\\[]") in str(refusal)

    def test_unstable(self):
        answer = analyse(line([Exponential(0.5), Exponential(1.1)]))
        assert not answer.stable and answer.utilisation == pytest.approx(1.1)

    def test_a_station_nobody_visits(self):
        made = (Station("s0"), Station("idle"))
        scenario = Scenario([RequestClass("a", Poisson(0.5), services={"s0": Exponential(1.0)})], stations=made)
        answer = analyse(scenario)
        assert answer["a"].mean_response_s == pytest.approx(2.0) and "mean_at_idle_s" not in answer["a"].metrics
