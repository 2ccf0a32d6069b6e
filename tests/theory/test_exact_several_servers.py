"""M/D/k and M/PH/k against chains built another way, against one server, and against each other."""

import math

import numpy as np
import pytest

from qmodel.theory.numerics.inversion import InvertedLaw
from qmodel.theory.servers.m_d_k import ConstantServers, mean_wait
from qmodel.theory.servers.m_g_k import exponential_wait, wait_of
from qmodel.theory.servers.m_ph_k import Phases, PhaseServers, phases_of, states
from qmodel.workload import Deterministic, Erlang, Exponential, Gamma, Hyperexponential, Mixture, Uniform


def constant_chain(servers, offered, most):
    """E[W], P(W = 0) and E[W^2] from the chain of numbers present, one service time apart (service 1)."""
    arrivals = np.exp([n * math.log(offered) - offered - math.lgamma(n + 1) for n in range(most)])
    moves = np.zeros((most, most))
    for i in range(most):
        left = max(i - servers, 0)
        moves[i, left:] = arrivals[: most - left]
    equations = moves.T - np.eye(most)
    equations[-1] = 1.0
    law = np.linalg.solve(equations, np.eye(most)[-1])
    waiting = np.maximum(np.arange(most) - servers, 0)
    return waiting @ law / offered, law[:servers].sum(), (waiting * (waiting - 1)) @ law / offered**2


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (2, 0.5), (5, 0.7), (10, 0.9)])
def test_constant_services(servers, load):
    queue = ConstantServers(servers, servers * load, 1.0)
    mean, none, second = constant_chain(servers, servers * load, 400)
    assert queue.mean_wait == pytest.approx(mean, rel=1e-8)
    assert queue.no_wait == pytest.approx(none, rel=1e-8)
    assert queue.second_moment == pytest.approx(second, rel=1e-7)


def test_constant_services_scale():
    assert mean_wait(3, 0.25, 10.0) == pytest.approx(10 * mean_wait(3, 2.5, 1.0), rel=1e-12)
    assert mean_wait(3, 0.3, 10.0) == math.inf
    assert mean_wait(200, 190.0, 1.0) == pytest.approx(0.5 * exponential_wait(200, 190.0, 1.0), rel=0.1)


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.8), (3, 2.4), (40, 36.0)])
def test_constant_services_transform(servers, rate):
    """Its value and slope at 0 are the mass and the mean; far out, and near the origin, nothing overflows."""
    queue = ConstantServers(servers, rate, 1.0)
    near = np.array([1e-7, 2e-7])
    at = queue.positive_wait(near).real
    assert at[0] == pytest.approx(1 - queue.no_wait, rel=1e-5)
    assert (at[0] - at[1]) / 1e-7 == pytest.approx(queue.mean_wait, rel=1e-5)
    far = queue.positive_wait(np.array([1e6, 1e6j + 10.0, rate + 1e-9]))
    assert np.isfinite(far).all() and abs(far[:2]).max() < 1e-3


def test_constant_services_law_of_one_server():
    """Erlang's closed form for M/D/1: P(W <= t) is a finite sum."""
    rate = 0.8
    law = InvertedLaw(ConstantServers(1, rate, 1.0).positive_wait, 0.8, lambda t: 0.2, scale=1.0)
    for t in (0.5, 1.5, 3.2):
        terms = (
            (-rate * (t - n)) ** n / math.factorial(n) * math.exp(rate * (t - n)) for n in range(math.floor(t) + 1)
        )
        assert law.cdf(t) == pytest.approx(0.2 * sum(terms), abs=1e-6)


def phase_chain(servers, rate, law, most):
    """E[W] from the whole truncated chain (number present, servers in the first of two phases)."""
    index = {}
    for n in range(most + 1):
        for first in range(min(n, servers) + 1):
            index[n, first] = len(index)
    generator = np.zeros((len(index), len(index)))

    def move(a, b, speed):
        generator[index[a], index[b]] += speed
        generator[index[a], index[a]] -= speed

    for n, first in index:
        busy = min(n, servers)
        for phase, count in ((0, first), (1, busy - first)):
            speed = count * law.rates[phase]
            if not speed:
                continue
            left = first - (phase == 0)
            if law.onward[phase] is not None:
                move((n, first), (n, left + (law.onward[phase] == 0)), speed)
            elif n > servers:
                for new, p in enumerate(law.start):
                    if p:
                        move((n, first), (n - 1, left + (new == 0)), speed * p)
            else:
                move((n, first), (n - 1, left), speed)
        if n < most:
            for new, p in enumerate(law.start):
                if p:
                    move((n, first), (n + 1, first + (new == 0 if n < servers else 0)), rate * p)
    equations = generator.T.copy()
    equations[-1] = 1.0
    found = np.linalg.solve(equations, np.eye(len(index))[-1])
    waiting = sum(max(n - servers, 0) * found[i] for (n, _), i in index.items())
    delayed = sum(found[i] for (n, _), i in index.items() if n >= servers)
    return waiting / rate, delayed


@pytest.mark.parametrize("law", [Hyperexponential(1.0, 4.0), Erlang(2, 1.0)], ids=str)
@pytest.mark.parametrize("servers", [1, 2, 4])
def test_phase_services(law, servers):
    phases = phases_of(law)
    queue = PhaseServers(servers, 0.7 * servers, phases)
    mean, delayed = phase_chain(servers, 0.7 * servers, phases, 160)
    assert queue.mean_wait == pytest.approx(mean, rel=1e-6)
    assert queue.delayed == pytest.approx(delayed, rel=1e-6)


@pytest.mark.parametrize("servers", [1, 3, 20])
def test_phases_alike_are_one_exponential(servers):
    queue = PhaseServers(servers, 0.8 * servers, Phases((1.0,), (1.0,), (None,)))
    assert queue.mean_wait == pytest.approx(exponential_wait(servers, 0.8 * servers, 1.0), rel=1e-10)
    drain = 0.2 * servers
    s = np.array([0.1, 1.0 + 2.0j, 30.0])
    assert queue.positive_wait(s) == pytest.approx(queue.delayed * drain / (drain + s), rel=1e-9)
    assert queue.second_moment == pytest.approx(2 * queue.delayed / drain**2, rel=1e-9)


def test_phase_services_of_one_server_have_the_transform_of_pollaczek_and_khinchine():
    law = Hyperexponential(1.0, 4.0)
    queue = PhaseServers(1, 0.8, phases_of(law))
    s = np.array([0.01, 0.5 + 1.0j, 7.0])
    exact = 0.2 * s / (s - 0.8 * (1 - law.lst(s))) - 0.2
    assert queue.positive_wait(s) == pytest.approx(exact, rel=1e-9)
    assert queue.diagonal


def test_many_phases_near_constant():
    """Erlang laws of more and more phases lead from M/M/k to M/D/k."""
    waits = [wait_of(2, 1.6, Erlang(k, 1.0)).mean for k in (1, 2, 4, 8, 13)]
    assert waits == sorted(waits, reverse=True)
    limit = wait_of(2, 1.6, Deterministic(1.0)).mean
    assert waits[-1] - limit == pytest.approx((waits[0] - limit) / 13, rel=0.05)


def test_which_laws_have_phases():
    assert phases_of(Exponential(2.0)) == Phases((1.0,), (0.5,), (None,))
    assert phases_of(Erlang(3, 2.0).scaled(0.5)).rates == pytest.approx((3.0,) * 3)
    assert phases_of(Mixture((0.5, 0.5), (Exponential(1.0), Exponential(1.0)))).start == (1.0,)
    for law in (Uniform(0.0, 1.0), Gamma(1.0, 0.4), Mixture((0.5, 0.5), (Erlang(2, 1.0), Exponential(1.0)))):
        assert phases_of(law) is None
    assert phases_of(Erlang(3, 2.0)).mean == pytest.approx(2.0) and states(4, 3) == 15
