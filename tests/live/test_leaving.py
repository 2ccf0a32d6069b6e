"""Requests that leave when the engine says so: what they take, measured offline, and the transforms it becomes."""

from __future__ import annotations

import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.live import leaving
from qmodel.live.engine import ENGINES
from qmodel.live.leaving import leaving_transforms, measure_leaving
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit, ModelSwap
from qmodel.theory import analyse
from qmodel.workload import Deterministic, Discrete, Poisson, RequestClass


def scenario():
    one = RequestClass("one", Poisson(3.0), factors={"steps": Discrete((4.0, 8.0), (0.5, 0.5))})
    return Scenario((one, RequestClass("two", Poisson(1.0), factors={"steps": Deterministic(4)})), FCFS(), System())


class Clocked:
    """An engine on a clock of its own: a step is a second; with `early` a request is done at its half."""

    now = 0.0
    emulated, factors, device = True, ("steps",), "a clock"

    def __init__(self, kind, threads=1, early="", cost=0.0):
        self.name, self.early, self.cost, self.leaves_early = kind, early, cost, bool(early)

    def start(self, work):
        return Steps(self, work.levels["steps"])

    def quality(self, jobs):
        return {"agreement": sum(job.stopped for job in jobs) / len(jobs)}

    def close(self):
        pass


class Steps:
    def __init__(self, engine, steps):
        self.engine, self.steps, self.remaining, self.tokens, self.stopped = engine, steps, steps, 0, 0
        self.released = engine.early == "release"

    def step(self):
        Clocked.now += 1.0 + self.engine.cost
        self.remaining -= 1
        if self.engine.early and self.remaining == self.steps // 2:
            self.tokens += 1
            if self.engine.early == "stop":
                self.remaining, self.stopped = 0, 1


@pytest.fixture
def clocked(monkeypatch):
    monkeypatch.setitem(ENGINES, "clocked", f"{__name__}:Clocked")
    monkeypatch.setattr(leaving.time, "perf_counter", lambda: Clocked.now)
    return {"kind": "clocked"}


def test_half_the_steps_are_half_the_occupancy(clocked):
    rows, early, full = measure_leaving(scenario(), clocked, {"early": "stop"}, requests=40)
    assert len(rows) == 40
    assert set(rows["class"]) == {"one", "two"}
    assert (rows.full_s == rows.steps).all()
    assert (rows.occupied_share == 0.5).all() and (rows.delivered_share == 1.0).all()
    assert (early, full) == ({"agreement": 1.0}, {"agreement": 0.0})
    (law,) = leaving_transforms(rows)
    assert isinstance(law, EarlyExit)
    assert law.delivery == "stop"
    assert set(law.fractions) == {0.5}


def test_released_at_the_half_and_computed_to_the_end_with_what_judging_costs(clocked):
    rows, _, _ = measure_leaving(scenario(), clocked, {"early": "release", "cost": 0.25}, requests=30)
    assert (rows.occupied_share == 1.25).all() and (rows.delivered_share == 0.5).all()
    swap, law = leaving_transforms(rows)
    assert isinstance(swap, ModelSwap)
    assert swap.service_factor == pytest.approx(1.25)
    assert (law.delivery, set(law.fractions)) == ("release", {0.5})


def test_stops_and_releases():
    """A law of occupancy and one of delivery: the theory of M/G/1 with both, by hand."""
    rows = pd.DataFrame({"occupied_share": [0.4, 0.8] * 20, "delivered_share": [0.9, 0.7] * 20})
    stop, release = leaving_transforms(rows)
    assert (stop.delivery, release.delivery) == ("stop", "release")
    plain = Scenario((RequestClass("a", Poisson(0.5), Deterministic(1.0)),), FCFS())
    found = analyse(plain.with_transforms(stop, release))["all"].mean_response_s
    mean, second = 0.6, (0.16 + 0.64) / 2
    assert found == pytest.approx(0.5 * second / (2 * (1 - 0.5 * mean)) + mean * 0.8, rel=1e-9)


def test_many_shares_become_few_and_keep_their_mean():
    shares = [0.3 + 0.001 * i for i in range(301)]
    (law,) = leaving_transforms(pd.DataFrame({"occupied_share": shares, "delivered_share": [1.0] * 301}))
    assert len(law.fractions) == leaving.MOST_SHARES
    mean = sum(f * p for f, p in zip(law.fractions, law.probabilities, strict=True))
    assert mean == pytest.approx(sum(shares) / 301, rel=1e-9)


def test_an_engine_that_lets_nobody_leave(clocked):
    with pytest.raises(InputError, match="lets no request leave"):
        measure_leaving(scenario(), clocked, {})


def test_digits_that_converge():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("sklearn")
    factors = {"steps": Deterministic(8), "batch_size": Deterministic(1)}
    asked = Scenario((RequestClass("a", Poisson(1.0), factors=factors),))
    seen = []
    rows, early, full = measure_leaving(
        asked, {"kind": "digits-diffusion"}, {"tolerance": 10.0}, requests=12, progress=lambda *at: seen.append(at)
    )
    assert (rows.delivered_share == 1.0).all()
    assert seen[-1] == (12, 12)
    assert set(early) == set(full) == {"agreement", "frechet_distance"}
    assert full["agreement"] > early["agreement"]  # a picture after two steps is none
