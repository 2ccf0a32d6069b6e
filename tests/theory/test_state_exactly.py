"""Control by state, part by part, against plain numbers."""

from __future__ import annotations

import pytest

from qmodel.errors import InputError
from qmodel.theory.state.impatience import Memoryless
from qmodel.theory.state.offered_wait import Stream
from qmodel.theory.state.state_dependent import StateDependentQueue, engine_rates
from qmodel.theory.state.threshold_clearing import BEGUN, LEFT, LONG, MEAN, SQUARE, Clearing
from qmodel.theory.state.threshold_clearing import Stream as Priority
from qmodel.workload import Exponential


@pytest.mark.parametrize("servers", [1, 3])
def test_the_patient_among_impatient_are_all_served(servers):
    unit = Exponential(1.0)
    patient, other = Stream(0.6 * servers, unit, None), Stream(0.9 * servers, unit, Exponential(2.0))
    queue = Memoryless(servers, 1.0, (patient, other))
    assert queue.served(patient) == pytest.approx(1.0, rel=1e-9)
    assert queue.cdf(patient, unit, 300.0) == pytest.approx(1.0, rel=1e-9)
    if servers == 1:
        assert 0.6 * queue.served(patient) + 0.9 * queue.served(other) == pytest.approx(1.0 - queue.idle, rel=1e-9)


@pytest.mark.parametrize("rate", [0.4, 1.0, 2.5])
def test_a_queue_with_room_for_three(rate):
    """M/M/2/3 at services of 1 s: weights 1, r, r^2/2, r^3/4."""
    queue = StateDependentQueue(rate, (1.0, 2.0, 2.0), places=2)
    weights = [1.0, rate, rate**2 / 2.0, rate**3 / 4.0]
    law = [weight / sum(weights) for weight in weights]
    assert queue.law.tolist() == pytest.approx(law, rel=1e-12)
    assert queue.throughput == pytest.approx(rate * (1.0 - law[3]), rel=1e-12)
    assert queue.served == pytest.approx(law[1] + 2.0 * (law[2] + law[3]), rel=1e-12)
    assert queue.served == pytest.approx(queue.throughput, rel=1e-12)
    assert queue.response == pytest.approx((law[1] + 2.0 * law[2] + 3.0 * law[3]) / queue.throughput, rel=1e-12)
    assert queue.wait == pytest.approx(law[3] / queue.throughput, rel=1e-12)


@pytest.mark.parametrize(
    "given",
    [
        {"rate": 0.0, "rates": (1.0,), "places": 1},
        {"rate": -1.0, "rates": (1.0,), "places": 1},
        {"rate": 1.0, "rates": (1.0, 0.0), "places": 1},
        {"rate": 1.0, "rates": (), "places": 1},
        {"rate": 1.0, "rates": (1.0,), "places": 0},
    ],
)
def test_a_queue_without_room_or_rate_is_refused(given):
    with pytest.raises(InputError):
        StateDependentQueue(**given)


def test_rates_of_an_engine():
    """Iterations of 1 + 0.1 (n + 1) s, 5 of them a request, at most 2 requests run."""
    assert engine_rates(1.0, 0.1, 5.0, 2, 3) == pytest.approx((1 / 6.0, 2 / 6.5, 2 / 6.5), rel=1e-12)
    assert engine_rates(1.0, 0.1, 5.0, 3, 3, others=0) == pytest.approx((1 / 5.5, 2 / 6.0, 3 / 6.5), rel=1e-12)


def test_above_the_threshold_each_high_request_is_a_busy_period():
    """M/M/1 of long services of 1 s at 0.5: a busy period has mean 2, variance 12 (s^2) and serves 2 requests."""
    unit = Exponential(1.0)
    clearing = Clearing(Priority(0.5, Exponential(0.2), unit), Priority(0.3, unit, unit), above=1)
    n, m = 3, 5
    found = clearing.at(n, m)
    joined, variance = 0.3 * 2.0, 0.3**2 * 12.0 + 0.3 * 2.0
    assert found[MEAN] == pytest.approx(m + n * joined, rel=1e-12)
    assert found[SQUARE] == pytest.approx((m + n * joined) ** 2 + n * variance, rel=1e-12)
    assert found[BEGUN] == found[LONG] == pytest.approx(2.0 * n, rel=1e-12)
    # M/M/1: 2 departures a busy period leave 1 of its own on average, and those whose period is yet to come
    assert found[LEFT] == pytest.approx(2.0 * n + 2.0 * (n * (n - 1) / 2.0), rel=1e-12)
