"""Control by state, part by part, against plain numbers."""

from __future__ import annotations

import pytest

from qmodel.theory.state.impatience import Memoryless
from qmodel.theory.state.offered_wait import Stream
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
