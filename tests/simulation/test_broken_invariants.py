"""Each invariant notices a record that breaks it, and says its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.policy import SRPT
from qmodel.simulation import invariants, replay
from qmodel.simulation.invariants import Broken, Records
from tests.simulation.cases import drawn, two_classes


@pytest.fixture(scope="module")
def run() -> Records:
    scenario = two_classes(SRPT(), 0.9)
    requests = drawn(scenario, 300)
    outcome = replay(scenario, arrival_s=requests.arrival_s, service_s=requests.service_s, tell=None)
    return Records.of_outcome(outcome, requests.arrival_s, requests.service_s)


def changed(run: Records, name: str, row: int, value: object) -> Records:
    column = getattr(run, name).copy()
    column[row] = value
    return replace(run, **{name: column})


def area(run: Records) -> float:
    """Integral of the number in the system, swept over its changes."""
    times = np.concatenate((run.arrival_s, run.done_s))
    order = np.argsort(times, kind="stable")
    present = np.cumsum(np.repeat([1, -1], run.arrival_s.size)[order])
    return float((present[:-1] * np.diff(times[order])).sum())


def test_all_hold_on_a_run(run: Records) -> None:
    invariants.conservation(run)
    invariants.causality(run)
    invariants.work_conservation(run)
    invariants.caps(run, 300)
    invariants.no_lost_work(run, float(run.service_s.sum()))
    invariants.littles_law(run, area(run))
    invariants.determinism(vars(run), vars(run))
    invariants.live_order(np.array([0, 1]), np.array([0, 1]))


def test_conservation(run: Records) -> None:
    with pytest.raises(Broken, match="conservation: request 4 ends 2 times"):
        invariants.conservation(changed(run, "rejected", 3, True))
    with pytest.raises(Broken, match="conservation: request 4 ends 0 times"):
        invariants.conservation(changed(run, "delivered_s", 3, np.nan))


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("start_s", -1.0, "starts at -1.0, before it came"),
        ("done_s", 0.5, "is done at 0.5, before it could be"),
        ("delivered_s", 1e9, "is out at 1000000000.0, after it"),
    ],
)
def test_causality(run: Records, name: str, value: float, line: str) -> None:
    with pytest.raises(Broken, match=f"causality: request 11 {line}"):
        invariants.causality(changed(run, name, 10, value))


def test_causality_of_who_gives_up(run: Records) -> None:
    gone = changed(changed(run, "delivered_s", 5, np.nan), "abandoned", 5, True)
    with pytest.raises(Broken, match=r"causality: request 6 gives up at -1.0"):
        invariants.causality(changed(gone, "done_s", 5, -1.0))


def test_work_conservation(run: Records) -> None:
    with pytest.raises(Broken, match="work conservation: busy periods end"):
        invariants.work_conservation(changed(run, "service_s", 7, run.service_s[7] + 0.5))
    invariants.work_conservation(replace(run, delivered_s=np.full_like(run.delivered_s, np.nan)))


def test_caps(run: Records) -> None:
    with pytest.raises(Broken, match=r"caps: .* in the system, and 1 is the most"):
        invariants.caps(run, 1)
    with pytest.raises(Broken, match=r"caps: .* in service, and 1 is the most"):
        invariants.caps(run, 1, "in service")


def test_no_lost_work(run: Records) -> None:
    with pytest.raises(Broken, match="no lost work: servers were busy"):
        invariants.no_lost_work(run, float(run.service_s.sum()) + 0.1)


def test_littles_law(run: Records) -> None:
    with pytest.raises(Broken, match="Little's law: integral"):
        invariants.littles_law(run, area(run) * 1.001)


def test_determinism(run: Records) -> None:
    with pytest.raises(Broken, match="determinism: start_s differs"):
        invariants.determinism(vars(run), vars(changed(run, "start_s", 0, 1e-12)))


def test_live_order() -> None:
    with pytest.raises(Broken, match="live order: service 2 is of request 1, live of 2"):
        invariants.live_order(np.array([0, 1, 2]), np.array([0, 2, 1]))
    with pytest.raises(Broken, match="live order: 2 services against 1"):
        invariants.live_order(np.array([0, 1]), np.array([0]))
