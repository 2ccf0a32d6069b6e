"""Seconds or milliseconds: queues out of the ordinary answer the same question the same way."""

import pytest

from qmodel.policy import FCFS, NonPreemptivePriority
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.theory import analyse
from qmodel.workload import (
    Deterministic,
    Exponential,
    Gamma,
    Hyperexponential,
    Mixture,
    Mmpp,
    Poisson,
    Renewal,
    RequestClass,
)

BURSTY = Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.3, -0.3)))
H2, STEP, UNIT = Hyperexponential(1.0, 4.0), Deterministic(0.7), Exponential(1.0)
EITHER = Mixture((0.5, 0.5), (Deterministic(0.5), Exponential(2.0)))


def environment(unit):
    return Environment((1.0, 0.0, 2.0), tuple(tuple(r / unit for r in row) for row in SPEEDS))


SPEEDS = ((-1.0, 0.5, 0.5), (0.2, -0.3, 0.1), (1.0, 0.5, -1.5))
CASES = {
    "MAP/G/1": ([(BURSTY, 0.3, H2, None), (Poisson(1.0), 0.4, STEP, None)], {}, FCFS()),
    "GI/G/1": ([(Renewal(1.0, 3.0), 0.6, H2, None)], {}, FCFS()),
    "phases": ([(Renewal(1.0, 3.0), 0.3, STEP, None), (Renewal(1.0, 0.3), 0.3, H2, None)], {}, FCFS()),
    "one stream": ([(Renewal(1.0, 3.0), 0.3, STEP, None), (Renewal(1.0, 0.0077), 0.3, H2, None)], {}, FCFS()),
    "MAP/M/3": ([(BURSTY, 1.5, UNIT, None), (Poisson(1.0), 0.6, UNIT, None)], {"servers": 3}, FCFS()),
    "environment": ([(BURSTY, 0.3, H2, None)], {"environment": environment}, FCFS()),
    "vacations": ([(Poisson(1.0), 0.4, H2, None)], {"vacation_s": EITHER}, FCFS()),
    "setup": ([(Poisson(1.0), 0.4, H2, None)], {"setup_s": EITHER}, FCFS()),
    "vacations, priority": (
        [(Poisson(1.0), 0.4, H2, None), (Poisson(1.0), 0.3, STEP, None)],
        {"vacation_s": EITHER},
        NonPreemptivePriority(),
    ),
    "setup, priority": (
        [(Poisson(1.0), 0.4, H2, None), (Poisson(1.0), 0.3, STEP, None)],
        {"setup_s": EITHER},
        NonPreemptivePriority(),
    ),
    "patience": ([(Poisson(1.0), 0.9, H2, EITHER), (Poisson(1.0), 0.3, STEP, None)], {}, FCFS()),
    "patience, two servers": ([(Poisson(1.0), 2.2, UNIT, Gamma(1.0, 0.5))], {"servers": 2}, FCFS()),
    "buffer": ([(Poisson(1.0), 0.9, H2, None), (Poisson(1.0), 0.4, STEP, None)], {"buffer": 4}, FCFS()),
    "buffer, two servers": ([(Poisson(1.0), 2.2, UNIT, None)], {"buffer": 4, "servers": 2}, FCFS()),
}


def asked(name, unit):
    """The case with all times in another unit."""
    classes, system, policy = CASES[name]
    made = [
        RequestClass(
            f"c{i}",
            arrivals=process.at_rate(rate / unit),
            service=law.scaled(unit),
            patience=None if patience is None else patience.scaled(unit),
            priority=i,
        )
        for i, (process, rate, law, patience) in enumerate(classes)
    ]
    laws = {key: value.scaled(unit) for key, value in system.items() if key.endswith("_s")}
    others = {key: value(unit) if callable(value) else value for key, value in system.items() if key not in laws}
    return Scenario(made, policy=policy, system=System(**laws, **others))


@pytest.mark.parametrize("name", CASES)
def test_unit(name, unit=1e-3):
    here, there = (analyse(asked(name, each), percentiles=(90,)) for each in (1.0, unit))
    assert there.utilisation == pytest.approx(here.utilisation, rel=1e-9)
    for ours, theirs in zip(here.classes, there.classes, strict=True):
        for metric, value in ours.metrics.items():
            scale = unit if metric.endswith("_s") else 1.0
            expected = None if value is None else pytest.approx(scale * value, rel=1e-5)
            assert theirs.metrics[metric] == expected, metric
