from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qmodel.answer import Answer
from qmodel.errors import InputError
from qmodel.live import LiveRun, measured_answer, steady_part
from qmodel.service.transform import FewerSteps, QueueCondition

HORIZON_S = 100.0


def made_run(scenario, rows, seed=1, **meta):
    """A run as if it had been made: `rows` is a frame with scheduled_s, service_s, wait_s and perhaps more."""
    n = len(rows)
    log = pd.DataFrame(
        {
            "request_id": np.arange(n),
            "class": rows.get("class", pd.Series(["one"] * n)),
            "scheduled_s": rows["scheduled_s"],
            "sent_s": rows["scheduled_s"] + rows.get("lag_s", 1e-6),
            "first_token_s": rows.get("first_token_s", pd.Series([math.nan] * n)),
            "output_tokens": rows.get("output_tokens", pd.Series([math.nan] * n)),
            "done_s": rows["scheduled_s"] + rows["service_s"] + rows["wait_s"],
            "status": rows.get("status", pd.Series(["ok"] * n)),
            "service_s": rows["service_s"],
            "reduced": rows.get("reduced", pd.Series([0] * n)),
            "delivered_at": rows.get("delivered_at", pd.Series([1.0] * n)),
        }
    )
    engine = {"name": "digits-diffusion", "device": "a CPU", "emulated": False, "versions": {"onnxruntime": "1"}}
    found = {
        "scenario": scenario.fingerprint,
        "seed": seed,
        "horizon_s": HORIZON_S,
        "threads": 1,
        "engine": engine,
        "machine": {"qmodel": "0"},
        "load_after": 0.5,
        "loop": {"overhead_per_step_s": 3e-6},
        "arrivals": {"poisson": True, "verdict": "consistent with a Poisson process"},
    }
    return LiveRun(log, found | meta, Path("run.csv"))


def rows(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "scheduled_s": np.sort(rng.uniform(0, HORIZON_S, n)),
            "service_s": rng.exponential(0.02, n),
            "wait_s": rng.exponential(0.03, n),
        }
    )


def test_the_figures_are_those_of_the_log_after_its_warm_up(in_seconds):
    scenario, data = in_seconds(rate=20.0), rows()
    answer = measured_answer(made_run(scenario, data), scenario, percentiles=(50, 90))
    kept = data[data["scheduled_s"] >= 10.0]
    response = kept["service_s"] + kept["wait_s"]
    one, everyone = answer["one"], answer["all"]
    assert answer.method == "measured"
    assert answer.result == "live run"
    assert answer.source == "digits-diffusion on a CPU"
    for found in (one, everyone):
        assert found.mean_service_s == pytest.approx(kept["service_s"].mean(), rel=1e-9)
        assert found.mean_wait_s == pytest.approx(kept["wait_s"].mean(), rel=1e-9)
        assert found.mean_response_s == pytest.approx(response.mean(), rel=1e-9)
        assert found.p90_response_s == pytest.approx(np.quantile(response, 0.9), rel=1e-9)
        assert found.mean_slowdown == pytest.approx((response / kept["service_s"]).mean(), rel=1e-9)
        assert found.throughput == pytest.approx(len(kept) / 90.0)
        low, high = found.ci95["mean_response_s"]
        assert low < found.mean_response_s < high
        assert (high - low) / found.mean_response_s < 0.1
        assert "throughput" not in found.ci95
        assert "p99_response_s" not in found.metrics
        assert "share_reduced" not in found.metrics
        assert found.attainment is None
    assert answer.utilisation == pytest.approx(kept["service_s"].sum() / 90.0)
    assert answer.stable
    assert answer.notes == []
    assert answer.run["requests"] == len(kept)
    assert answer.run["rejected"] is None
    assert answer.run["versions"] == {"onnxruntime": "1", "qmodel": "0"}
    json.dumps(Answer(scenario.fingerprint, [answer]).to_dict(), allow_nan=False)


def test_several_seeds_are_pooled(in_seconds):
    scenario = in_seconds(rate=20.0)
    runs = [made_run(scenario, rows(seed=s), seed=s) for s in (1, 2)]
    answer = measured_answer(runs, scenario, warmup_share=0.0)
    both = pd.concat([rows(seed=1), rows(seed=2)])
    assert answer["all"].mean_response_s == pytest.approx((both["service_s"] + both["wait_s"]).mean())
    assert answer["all"].throughput == pytest.approx(20.0)
    assert answer.run["seeds"] == [1, 2]


def test_classes_apart_and_a_class_that_never_came(in_steps):
    data = rows()
    data["class"] = np.where(np.arange(len(data)) % 2, "short", "other")
    scenario = in_steps()
    answer = measured_answer(made_run(scenario, data), scenario)
    assert [found.name for found in answer.classes] == ["all", "short", "long"]
    assert answer["short"].throughput == pytest.approx(answer["all"].throughput / 2, rel=0.01)
    assert answer["long"].mean_response_s is None
    assert answer["long"].arrival_rate == scenario.served[1].rate


def test_failures_stay_in_the_denominator(in_steps):
    """5 % failed: the 99th percentile falls among them and is not known; attainment counts them as missed."""
    scenario = in_steps(slo={"response_p99_s": 10.0})
    data = rows()
    data["class"] = "short"
    data["status"] = np.where(np.arange(len(data)) % 20 == 0, "failed: x", "ok")
    answer = measured_answer(made_run(scenario, data), scenario, percentiles=(50, 99))
    found = answer["short"]
    kept = data[data["scheduled_s"] >= 10.0]
    failed = (kept["status"] != "ok").mean()
    assert found.attainment == pytest.approx(1 - failed, rel=1e-9)
    assert found.goodput == pytest.approx((kept["status"] == "ok").sum() / 90.0)
    assert found.p99_response_s is None
    response = np.where(kept["status"] == "ok", kept["service_s"] + kept["wait_s"], np.inf)
    assert found.p50_response_s == pytest.approx(np.quantile(response, 0.5), rel=1e-9)
    assert answer.run["failed"] == (kept["status"] != "ok").sum()
    assert "requests failed" in answer.notes[0]
    ninety = measured_answer(made_run(scenario, data), scenario, percentiles=(94.9,))["short"]
    assert ninety.ci95["p94.9_response_s"][1] == math.inf


def test_when_everything_failed(in_seconds):
    scenario, data = in_seconds(), rows()
    data["status"] = "failed: x"
    answer = measured_answer(made_run(scenario, data), scenario)
    assert answer["all"].mean_response_s is None
    assert answer["all"].p50_response_s is None


def test_share_reduced(in_steps):
    scenario = in_steps(transforms=[FewerSteps(fraction=0.5, when=QueueCondition(4))])
    data = rows()
    data["reduced"] = (np.arange(len(data)) % 4 == 0).astype(int)
    share = measured_answer(made_run(scenario, data), scenario)["all"].share_reduced
    assert share == pytest.approx(0.25, abs=0.01)


def test_released_results_wait_less(in_seconds):
    scenario, data = in_seconds(rate=20.0), rows()
    data["delivered_at"] = 0.5
    data["wait_s"] -= 0.5 * data["service_s"]
    found = measured_answer(made_run(scenario, data), scenario, warmup_share=0.0)["all"]
    plain = rows()
    assert found.mean_wait_s == pytest.approx(plain["wait_s"].mean() - 0.0 * 1, rel=1e-9)
    assert found.mean_service_s == pytest.approx(0.5 * plain["service_s"].mean(), rel=1e-9)


def test_token_metrics(in_seconds):
    scenario, data = in_seconds(rate=20.0), rows()
    data["first_token_s"] = data["scheduled_s"] + data["wait_s"] + 0.001
    data["output_tokens"] = 11.0
    found = measured_answer(made_run(scenario, data), scenario, warmup_share=0.0)["all"]
    assert found.mean_ttft_s == pytest.approx(data["wait_s"].mean() + 0.001)
    assert found.p99_ttft_s == pytest.approx(np.quantile(data["wait_s"], 0.99) + 0.001)
    assert found.mean_tpot_s == pytest.approx((data["service_s"].mean() - 0.001) / 10)


def test_overload_has_no_steady_state(in_seconds):
    scenario, data = in_seconds(rate=20.0), rows()
    data["service_s"] *= 4
    answer = measured_answer(made_run(scenario, data), scenario)
    assert not answer.stable
    assert answer.utilisation > 1
    assert answer["all"].ci95 == {}
    assert answer["all"].mean_response_s > 0
    assert "no steady state" in answer.notes[-1]


def test_a_slow_client_gets_its_run_rejected(in_seconds):
    scenario, data = in_seconds(rate=20.0), rows()
    data["lag_s"] = np.where(np.arange(len(data)) % 50 == 0, 5e-3, 1e-6)
    answer = measured_answer(made_run(scenario, data), scenario)
    assert answer.run["rejected"].startswith("the client's lag, 99th percentile 5 ms, exceeds 5 % of the median")
    assert answer["all"].mean_response_s > 0  # kept, but marked


def test_an_emulated_run_is_no_measurement(in_seconds):
    scenario = in_seconds(rate=20.0)
    engine = {"name": "emulated", "device": "emulated", "emulated": True, "versions": {}}
    answer = measured_answer(made_run(scenario, rows(), engine=engine), scenario)
    assert answer.method == "simulation"
    assert "emulated" in answer.result
    assert answer.run["emulated"] is True


def test_arrivals_that_are_not_poisson_are_told(in_seconds):
    scenario = in_seconds(rate=20.0)
    bad = {"poisson": False, "verdict": "not Poisson (gaps): 9 arrivals"}
    answer = measured_answer([made_run(scenario, rows()), made_run(scenario, rows(), arrivals=bad)], scenario)
    assert answer.run["arrivals"] == bad["verdict"]
    assert answer.run["arrivals_poisson"] is False


def test_short_runs_say_so(in_seconds):
    scenario = in_seconds(rate=20.0)
    answer = measured_answer(made_run(scenario, rows(n=30)), scenario)
    assert "too short" in answer.notes[0]
    assert "p99_response_s of all" in answer.notes[0]


def test_what_is_refused(in_seconds):
    scenario = in_seconds(rate=20.0)
    run = made_run(scenario, rows())
    with pytest.raises(InputError, match="another scenario"):
        measured_answer(run, in_seconds(rate=21.0))
    with pytest.raises(InputError, match="warmup_share"):
        measured_answer(run, scenario, warmup_share=1.0)
    early = replace(run, log=run.log[run.log["scheduled_s"] < 5.0])
    with pytest.raises(InputError, match="no request after the warm-up"):
        measured_answer(early, scenario)


def test_the_steady_part_keeps_the_order_and_the_failures(in_seconds):
    data = rows()
    data["status"] = np.where(np.arange(len(data)) % 2, "failed: x", "ok")
    part = steady_part(made_run(in_seconds(), data), 0.5)
    assert part["scheduled_s"].min() >= 50.0
    assert part["scheduled_s"].is_monotonic_increasing
    assert np.isinf(part.loc[part["status"] != "ok", "response_s"]).all()
