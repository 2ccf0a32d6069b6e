"""Response by size: formulas by hand, averages over sizes, classes, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest

import qmodel as qm
from qmodel.errors import InputError
from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PS,
    PSJF,
    SJF,
    SPJF,
    SRPT,
    AccumulatingPriority,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    Rank,
)
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse, response_by_size
from qmodel.workload import Hyperexponential, PredictedSize, Uniform
from tests.theory.laws import UNIT
from tests.theory.scenarios import one, request_class, several

SIZES = [0.2, 1.0, 4.0]


def test_fcfs_and_lcfs_add_the_size_to_one_wait():
    for policy in (FCFS(), LCFS()):
        found = response_by_size(one(0.5, UNIT, policy), SIZES, percentiles=(90,))
        assert found["mean_response_s"].to_numpy() == pytest.approx(1.0 + np.array(SIZES))
        assert found["mean_slowdown"].to_numpy() == pytest.approx(1.0 + 1.0 / np.array(SIZES))
        assert np.ptp(found["p90_response_s"] - SIZES) < 1e-6
    assert found.columns.tolist() == [
        "class", "size_s", "mean_response_s", "mean_slowdown", "std_response_s", "p90_response_s", "method",
    ]  # fmt: skip


@pytest.mark.parametrize("policy", [PS(), LCFSPreemptive()], ids=lambda p: p.name)
def test_fair_policies_stretch_all_sizes_alike(policy):
    found = response_by_size(one(0.75, Uniform(0.0, 2.0), policy), SIZES, percentiles=())
    assert found["mean_slowdown"].to_numpy() == pytest.approx([4.0] * 3, rel=1e-9)
    assert "std_response_s" not in found


def test_orders_by_size_by_hand():
    """M/M/1 at 0.5: rho(x) = 0.5 (1 - e^-x (1 + x))."""
    x = np.array(SIZES)
    rho = 0.5 * (1 - np.exp(-x) * (1 + x))
    square = 2 - np.exp(-x) * (2 + 2 * x + x * x)
    hand = {SJF(): 0.5 / (1 - rho) ** 2 + x, PSJF(): 0.25 * square / (1 - rho) ** 2 + x / (1 - rho)}
    limited, load = square + x * x * np.exp(-x), 0.5 * (1 - np.exp(-x))
    hand[LAS()] = 0.25 * limited / (1 - load) ** 2 + x / (1 - load)
    for policy, exact in hand.items():
        found = response_by_size(one(0.5, UNIT, policy), SIZES, percentiles=())
        assert found["mean_response_s"].to_numpy() == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("policy", [SJF(), PSJF(), SRPT(), LAS(), MLFQ((0.5, 1.5))], ids=lambda p: p.name)
def test_percentiles_of_one_size_spread_as_its_deviation_says(policy):
    found = response_by_size(one(0.6, UNIT, policy), [1.2], percentiles=(10, 50, 90, 99)).iloc[0]
    assert 1.2 <= found["p10_response_s"] <= found["p50_response_s"] <= found["p90_response_s"]
    # Cantelli: P(T > mean + k sd) <= 1/(1 + k^2)
    assert found["p99_response_s"] <= found["mean_response_s"] + math.sqrt(99) * found["std_response_s"]
    assert found["p50_response_s"] <= found["mean_response_s"] + found["std_response_s"]


def test_averages_over_sizes_are_the_answer():
    nodes, weights = np.polynomial.legendre.leggauss(12)
    law = Uniform(0.5, 1.5)
    for policy in (SRPT(), MLFQ((3.0,))):
        found = response_by_size(one(0.7, law, policy), 1.0 + 0.5 * nodes, percentiles=())
        whole = analyse(one(0.7, law, policy), percentiles=())["a"].mean_response_s
        assert 0.5 * weights @ found["mean_response_s"] == pytest.approx(whole, rel=1e-6)


def test_classes_where_they_matter():
    classes = [(0.3, UNIT), (0.2, UNIT)]
    for policy in (NonPreemptivePriority(), PreemptivePriority()):
        found = response_by_size(several(classes, policy), [1.0], percentiles=(95,))
        assert found["class"].tolist() == ["c0", "c1"]
        first, second = found["mean_response_s"]
        answer = analyse(several(classes, policy))
        # the mean is linear in the size, and the size's mean is 1
        assert (first, second) == pytest.approx((answer["c0"].mean_response_s, answer["c1"].mean_response_s))
        assert found["p95_response_s"].is_monotonic_increasing
    assert response_by_size(several(classes, SRPT()), [1.0], percentiles=())["class"].tolist() == ["all"]


class ClassThenAge(Rank):
    preemptive = True

    def rank(self, request, attained):
        return 10.0 * (request.class_name == "c1") + attained


def test_a_users_own_rank():
    found = response_by_size(several([(0.4, UNIT), (0.2, UNIT)], ClassThenAge()), [0.5, 2.0], percentiles=())
    first = found[found["class"] == "c0"]["mean_response_s"]
    alone = response_by_size(one(0.4, UNIT, LAS()), [0.5, 2.0], percentiles=())["mean_response_s"]
    assert first.to_numpy() == pytest.approx(alone.to_numpy(), rel=1e-6)


def test_gittins_keeps_the_ranks_of_the_classes():
    law = Hyperexponential(1.0, 4.0)
    gittins, las = (response_by_size(one(0.5, law, policy), SIZES, percentiles=()) for policy in (Gittins(), LAS()))
    assert gittins["mean_response_s"].to_numpy() == pytest.approx(las["mean_response_s"].to_numpy(), rel=1e-5)


def test_predictions():
    guess = PredictedSize(error="exponential")
    found = response_by_size(one(0.5, UNIT, SPJF(), predicted_size=guess), [0.5, 2.0], percentiles=())
    assert found["class"].tolist() == ["all"] * 2
    wait = (found["mean_response_s"] - found["size_s"]).tolist()
    assert 0.5 < wait[0] < wait[1] < 2.0
    mixed = Scenario(
        [
            request_class("a", 0.2, UNIT, predicted_size=guess),
            request_class("b", 0.2, UNIT, predicted_size=PredictedSize(error="lognormal", scv=0.5)),
        ],
        policy=SPJF(),
    )
    assert response_by_size(mixed, [1.0], percentiles=())["class"].tolist() == ["a", "b"]


def test_from_the_package():
    scenario = Scenario([request_class("a", 0.5, UNIT)], system=System(batching="processor-sharing"))
    assert qm.response_by_size(scenario, [1.0], percentiles=())["mean_response_s"].tolist() == pytest.approx([2.0])


@pytest.mark.parametrize(
    ("scenario", "sizes", "fault"),
    [
        (one(0.5, UNIT, SRPT()), [1.0, -1.0], "size"),
        (one(1.5, UNIT, SRPT()), [1.0], "unstable"),
        (
            Scenario([replace(request_class("t", 0.5, UNIT), service=None, factors={"n": UNIT})]),
            [1.0],
            "service law",
        ),
        (one(0.5, UNIT, DPS()), [1.0], "dps"),
        (several([(0.2, UNIT), (0.2, UNIT)], AccumulatingPriority()), [1.0], "by size"),
    ],
)
def test_refusals(scenario, sizes, fault):
    with pytest.raises(InputError, match=fault):
        response_by_size(scenario, sizes)
