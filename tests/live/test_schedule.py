from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.schedule import digest, draw_schedule
from qmodel.policy import PS, SRPT
from qmodel.scenario import Scenario, System
from qmodel.service.model import ServiceModel
from qmodel.service.transform import Cache, EarlyExit, FewerSteps, ModelSwap, QueueCondition, Transform
from qmodel.workload import (
    Deterministic,
    Exponential,
    Lognormal,
    Poisson,
    PredictedSize,
    RequestClass,
    Trace,
)
from qmodel.workload.slo import limit_of

HORIZON_S = 50.0


def test_columns_of_a_plain_schedule(in_steps):
    rows = draw_schedule(in_steps(), HORIZON_S, seed=3)
    assert rows["request_id"].tolist() == list(range(len(rows)))
    assert rows["scheduled_s"].is_monotonic_increasing
    assert (rows["scheduled_s"] >= 0).all()
    assert (rows["scheduled_s"] < HORIZON_S).all()
    assert set(rows.loc[rows["class"] == "long", "steps"]) == {10.0}
    assert set(rows.loc[rows["class"] == "short", "steps"]) == {2.0, 4.0}
    assert rows["size_s"].tolist() == pytest.approx((1e-3 * rows["steps"]).tolist())
    assert (rows["work_s"] == rows["size_s"]).all()
    assert (rows["predicted_size_s"] == rows["size_s"]).all()
    assert (rows["delivered_at"] == 1).all()
    assert set(zip(rows["class"], rows["priority"], strict=True)) == {("short", 0), ("long", 1)}
    assert np.isinf(rows["deadline_s"]).all()
    assert rows.attrs == {"seed": 3, "horizon_s": HORIZON_S, "rate": 40.0}


def test_rates_and_shares(in_steps):
    """2,000 arrivals in 50 s: each class within 4 standard deviations of its mean."""
    rows = draw_schedule(in_steps(), HORIZON_S, seed=3)
    for name, mean in (("short", 1500), ("long", 500)):
        assert abs((rows["class"] == name).sum() - mean) < 4 * math.sqrt(mean)
    share = (rows.loc[rows["class"] == "short", "steps"] == 2).mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(1500)


def test_common_random_numbers(in_steps):
    """Policies and early exit change neither arrivals nor factors nor lotteries; another seed changes all."""
    plain = draw_schedule(in_steps(), HORIZON_S, seed=1)
    other = draw_schedule(in_steps(SRPT()), HORIZON_S, seed=1)
    assert digest(plain) == digest(other)
    fewer = draw_schedule(in_steps(PS(), [FewerSteps(fraction=0.5)]), HORIZON_S, seed=1)
    late = draw_schedule(in_steps(transforms=[FewerSteps(fraction=0.5, when=QueueCondition(4))]), HORIZON_S, seed=1)
    for rows in (fewer, late):
        for name in ("class", "scheduled_s", "lottery", "priority"):
            assert (rows[name] == plain[name]).all()
    assert (late["steps"] == plain["steps"]).all()
    assert fewer["steps"].tolist() == [max(1, round(s / 2)) for s in plain["steps"]]
    assert (late["steps_long"] == fewer["steps"]).all()
    assert (late["size_s_long"] == fewer["size_s"]).all()
    assert digest(draw_schedule(in_steps(), HORIZON_S, seed=2)) != digest(plain)


def test_a_class_is_drawn_the_same_whoever_else_is_there(in_steps):
    both = draw_schedule(in_steps(), HORIZON_S, seed=1)
    alone = draw_schedule(replace(in_steps(), classes=in_steps().classes[:1]), HORIZON_S, seed=1)
    assert both.loc[both["class"] == "short", "scheduled_s"].tolist() == alone["scheduled_s"].tolist()


def test_classes_without_each_others_factors(model):
    model = ServiceModel.affine({"steps": 1e-3})
    classes = (
        RequestClass("a", Poisson(20.0), factors={"steps": Deterministic(5)}),
        RequestClass("b", Poisson(20.0), factors={"steps": Deterministic(5), "batch_size": Deterministic(2)}),
    )
    rows = draw_schedule(Scenario(classes, system=System(model=model)), 5.0, seed=1)
    assert rows.loc[rows["class"] == "a", "batch_size"].isna().all()
    assert (rows.loc[rows["class"] == "b", "batch_size"] == 2).all()


def test_factors_are_whole_numbers(model):
    law = Lognormal(mean=8.0, scv=1.0)
    one = RequestClass("a", Poisson(200.0), factors={"steps": law})
    rows = draw_schedule(Scenario((one,), system=System(model=model)), 20.0, seed=1)
    assert (rows["steps"] == rows["steps"].round()).all()
    assert rows["steps"].min() == 1
    assert rows["steps"].mean() == pytest.approx(8.0, rel=0.1)


def test_early_exit_that_stops(in_steps):
    """Half of the requests leave after half of their steps, with half the size."""
    rows = draw_schedule(
        in_steps(transforms=[EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5))]), HORIZON_S, seed=1
    )
    long = rows[rows["class"] == "long"]
    assert set(long["steps"]) == {5.0, 10.0}
    assert long["size_s"].tolist() == pytest.approx((1e-3 * long["steps"]).tolist())
    assert abs((long["steps"] == 5).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(long))
    assert (rows["delivered_at"] == 1).all()


def test_early_exit_that_releases(in_steps):
    rows = draw_schedule(in_steps(transforms=[EarlyExit(fractions=(0.5,), delivery="release")]), HORIZON_S, seed=1)
    assert (rows.loc[rows["class"] == "long", "steps"] == 10).all()
    assert (rows["delivered_at"] == 0.5).all()


def test_transforms_of_drawn_services(in_seconds):
    """Each changes the very draws that the plain scenario makes."""
    plain = draw_schedule(in_seconds(), HORIZON_S, seed=1)["size_s"].to_numpy()
    for transform, factor in ((FewerSteps(fraction=0.5), 0.5), (ModelSwap(service_factor=0.4), 0.4)):
        rows = draw_schedule(in_seconds(transforms=[transform]), HORIZON_S, seed=1)
        assert rows["size_s"].to_numpy() == pytest.approx(factor * plain)
    cached = draw_schedule(
        in_seconds(transforms=[Cache(hit_ratio=0.3, saved_fraction=0.9, lookup_s=1e-3)]), HORIZON_S, seed=1
    )["size_s"].to_numpy()
    hit = np.isclose(cached, 1e-3 + 0.1 * plain)
    assert (hit | np.isclose(cached, 1e-3 + plain)).all()
    assert abs(hit.mean() - 0.3) < 4 * math.sqrt(0.21 / len(plain))


def test_the_same_requests_hit_the_cache_in_both_modes(in_seconds):
    transforms = [
        ModelSwap(service_factor=0.5, when=QueueCondition(3)),
        Cache(hit_ratio=0.5, saved_fraction=0.9, lookup_s=1e-3),
    ]
    rows = draw_schedule(in_seconds(transforms=transforms), HORIZON_S, seed=1)
    plain = draw_schedule(in_seconds(), HORIZON_S, seed=1)["size_s"]
    hit = np.isclose(rows["size_s"], 1e-3 + 0.1 * plain)
    assert np.isclose(rows["size_s_long"][hit], 1e-3 + 0.05 * plain[hit]).all()
    assert np.isclose(rows["size_s_long"][~hit], 1e-3 + 0.5 * plain[~hit]).all()


def test_two_transforms_of_one_kind_draw_apart(in_seconds):
    exits = [
        EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5)),
        EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5)),
    ]
    rows = draw_schedule(in_seconds(transforms=exits, service=Deterministic(1e-3)), HORIZON_S, seed=1)
    shares = rows["size_s"].round(9).value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({1e-3: 0.25, 0.5e-3: 0.5, 0.25e-3: 0.25}, abs=0.02)


def test_work_varies_by_the_models_residual():
    model = ServiceModel.affine({"steps": 1e-3}, residual_scv=0.04)
    one = RequestClass("a", Poisson(100.0), factors={"steps": Deterministic(5)})
    condition = FewerSteps(fraction=0.4, when=QueueCondition(2))
    rows = draw_schedule(Scenario((one,), system=System(model=model), transforms=(condition,)), 100.0, seed=1)
    ratio = rows["work_s"] / rows["size_s"]
    assert ratio.mean() == pytest.approx(1.0, abs=4 * 0.2 / math.sqrt(len(rows)))
    assert ratio.std() == pytest.approx(0.2, rel=0.05)
    assert (rows["work_s_long"] / rows["size_s_long"]).tolist() == pytest.approx(ratio.tolist())


@pytest.mark.parametrize(
    ("law", "mean", "std"),
    [(PredictedSize("exponential"), 1.0, 1.0), (PredictedSize("lognormal", 0.25), 1.0, 0.5)],
)
def test_predictions(law, mean, std):
    one = RequestClass("a", Poisson(200.0), service=Exponential(mean=1e-3), predicted_size=law)
    rows = draw_schedule(Scenario((one,)), HORIZON_S, seed=1)
    ratio = rows["predicted_size_s"] / rows["size_s"]
    assert ratio.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(len(rows)))
    assert ratio.std() == pytest.approx(std, rel=0.1)


def test_no_prediction():
    one = RequestClass("a", Poisson(200.0), service=Exponential(mean=1e-3), predicted_size=PredictedSize("none"))
    assert draw_schedule(Scenario((one,)), 1.0, seed=1)["predicted_size_s"].isna().all()


def test_deadlines(in_steps):
    rows = draw_schedule(in_steps(slo={"response_p99_s": 0.5, "ttft_p95_s": 0.1}), 5.0, seed=1)
    assert (rows["deadline_s"] - rows["scheduled_s"]).tolist() == pytest.approx([0.5] * len(rows))
    assert limit_of({}, "response") == math.inf


def test_a_class_that_never_arrives_is_left_out(in_seconds):
    one = in_seconds().classes[0]
    late = RequestClass("late", Trace((90.0, 95.0)), service=Exponential(mean=1e-3))
    rows = draw_schedule(Scenario((late, one)), 10.0, seed=1)
    assert set(rows["class"]) == {"one"}
    assert rows["priority"].dtype == int


def test_a_prefill_is_told_apart(in_tokens):
    rows = draw_schedule(in_tokens(), 5.0, seed=1)
    assert rows["first_s"].tolist() == pytest.approx([2e-3] * len(rows))
    assert rows["size_s"].tolist() == pytest.approx([6e-3] * len(rows), rel=1e-3)


class Unknown(Transform):
    pass


@pytest.mark.parametrize(
    ("scenario", "horizon", "words"),
    [
        (Scenario((RequestClass("a", Poisson(1e-9), service=Exponential(mean=1.0)),)), 1.0, "no request arrives"),
        (Scenario((RequestClass("a", Poisson(1.0), service=Exponential(mean=1.0)),)), math.inf, "no duration"),
        (Scenario((RequestClass("a", Poisson(9.0), factors={"steps": Deterministic(1)}),)), 9.0, "no fitted model"),
        (
            Scenario((RequestClass("a", Poisson(9.0), service=Exponential(mean=1.0)),), transforms=(Unknown(),)),
            9.0,
            "cannot be run live",
        ),
    ],
)
def test_bad_input(scenario, horizon, words):
    with pytest.raises(InputError, match=words):
        draw_schedule(scenario, horizon, seed=1)
