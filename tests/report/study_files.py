"""A study that never ran: files of a plan and results, with live numbers made from the predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from qmodel.study import Results, StudyPlan, load_plan
from qmodel.study.evaluate import capacities
from qmodel.study.prepare import fit, fitted_scenario, predictions
from qmodel.study.watch import Watcher

DEVICE = "Pretended CPU 9000"
METRICS = ("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s", "mean_wait_s", "mean_service_s")
GAP = 1.08
"""Predicted over measured, where a test does not say otherwise."""

PROFILE = """
name = "pretended"
[target]
kind = "digits-diffusion"
[factors]
batch_size = [1, 2, 4]
steps = [4, 8, 16]
[design]
blocks = 2
seed = 1
pacing = ["back-to-back", "idle-gaps"]
"""

SCENARIO = """
[[class]]
name = "small"
arrivals = { process = "poisson", rate = 100 }
factors = { batch_size = 1, steps = 8 }
SLO_SMALL
[[class]]
name = "large"
priority = 1
arrivals = { process = "poisson", rate = 20 }
factors = { batch_size = { distribution = "discrete", values = [2, 4], probabilities = [0.5, 0.5] }, steps = 16 }
"""

STUDY = """
name = "pretended"
title = "A study that never ran"
profile = "profile.toml"
scenario = "scenario.toml"
policies = POLICIES
loads = [LOADS]
baseline = "fcfs"
percentiles = [PERCENTILES]
[fit]
phases = ["denoise"]
reference_pacing = "idle-gaps"
[[exit]]
name = "none"
EXITS
"""

EXITS = """
[[exit]]
name = "fewer-steps"
kind = "steps"
fraction = 0.5
"""

LIVE = """
[live]
seconds = 20
[[live.runs]]
exit = "none"
policies = POLICIES
loads = [0.5, 0.7]
"""

LIVE_EXIT = """
[[live.runs]]
exit = "fewer-steps"
policies = ["fcfs"]
loads = [0.5, 0.7]
"""

QUALITY = """
[quality]
steps = [2]
images = 50
"""

META = """
schema = "qmodel.profile_meta/1"
run_id = "pretended"
csv = "profile.csv"
complete = true
begun_at = "2026-03-04T05:06:07Z"
threads = 1
warm_up = "each cell in each block: at least one call and 0.2 s"
stopping = "95 % interval of the median within 2 %"
timing = "perf_counter_ns around each repetition"

[target]
name = "digits-diffusion"
device = "Pretended CPU 9000"
versions = { onnxruntime = "1.2.3", digits_unet_sha256 = "0123abcd" }

[plan]
kind = "full"
cells = 18
blocks = 2
seed = 1
order = "randomised within each block"

[machine]
cpu = "Pretended CPU 9000"
cores = 4
cores_allowed = 2
threads = 1
memory_bytes = 8589934592
system = "Linux"
kernel = "6.0"
architecture = "x86_64"
python = "3.11.0"
qmodel = "0.1.0"
timer = { clock = "time.perf_counter_ns", resolution_s = 5e-8 }

[spec]
name = "pretended"
phase = []
target = { kind = "digits-diffusion" }
factors = { batch_size = [1, 2, 4], steps = [4, 8, 16] }
design = { kind = "full", blocks = 2, seed = 1, pacing = ["back-to-back", "idle-gaps"], idle_gap_s = 0.005 }
measurement = { threads = 1, trial_timeout_s = 60.0 }

[[session]]
begun_at = "2026-03-04T05:06:07Z"
load_before = 0.4
load_after = 1.0
"""


def make_study(
    folder: Path,
    *,
    policies: tuple[str, ...] = ("fcfs", "np-priority"),
    early_exit: bool = True,
    live: bool = True,
    quality: bool = True,
    slo: bool = True,
    percentiles: str = "50, 95",
    loads: str = "0.5, 0.7",
) -> tuple[StudyPlan, Results]:
    """The files of a study up to and with its comparison."""
    folder.mkdir(parents=True, exist_ok=True)
    exits = EXITS if early_exit else ""
    runs = (LIVE + (LIVE_EXIT if early_exit else "")) if live else ""
    text = (STUDY + runs + (QUALITY if quality else "")).replace("EXITS", exits)
    text = text.replace("PERCENTILES", percentiles).replace("LOADS", loads)
    (folder / "study.toml").write_text(text.replace("POLICIES", json.dumps(list(policies))))
    (folder / "profile.toml").write_text(PROFILE)
    limit = "slo = { response_p95_s = 0.05 }" if slo else ""
    (folder / "scenario.toml").write_text(SCENARIO.replace("SLO_SMALL", limit))
    plan, results = load_plan(folder / "study.toml"), Results(folder / "results")
    results.folder.mkdir(exist_ok=True)
    profile_rows().to_csv(results.profile, index=False)
    results.profile.with_suffix(".meta.toml").write_text(META)
    fit(plan, results, Watcher())
    predictions(plan, results, Watcher())
    stages = {"predictions": "2026-03-04T05:07:00+0000", "comparison": "2026-03-05T01:00:00+0000"}
    results.write_state({"plan": plan.fingerprint, "name": plan.name, "stages": stages})
    results.write_table("capacity", capacities(Measured(plan, results)))
    if quality:
        results.write_table("quality", quality_rows())
    if live:
        write_live(plan, results)
    return plan, results


class Measured:
    """What `capacities` reads of an evaluation."""

    def __init__(self, plan: StudyPlan, results: Results) -> None:
        self.plan, self.base = plan, fitted_scenario(plan, results)

    def scenario(self, setting):
        return self.plan.scenario(self.base, setting)


def profile_rows(seed: int = 1) -> pd.DataFrame:
    """Repetitions of 18 cells in two blocks: 0.1 ms + steps (0.2 ms + 0.1 ms batch), idle gaps 3 % longer."""
    rng = np.random.default_rng(seed)
    rows = []
    for block in (1, 2):
        cells = [(b, s, p) for b in (1, 2, 4) for s in (4, 8, 16) for p in ("back-to-back", "idle-gaps")]
        for batch, steps, pacing in [cells[i] for i in rng.permutation(len(cells))]:
            mean = (1e-4 + steps * (2e-4 + 1e-4 * batch)) * (1.03 if pacing == "idle-gaps" else 1.0)
            for replicate in (1, 2, 3):
                rows.append((batch, steps, pacing, replicate, len(rows) + 1, block, mean * rng.lognormal(0, 0.02)))
    names = ["batch_size", "steps", "pacing", "replicate", "run_order", "block", "latency_s"]
    frame = pd.DataFrame(rows, columns=names)
    frame = frame.assign(energy_j="", peak_memory_bytes="", status="ok", started_at="2026-03-04T05:06:07Z")
    after = ["latency_s", "energy_j", "peak_memory_bytes", "status", "started_at"]
    before = {"run_id": "pretended", "target": "digits-diffusion", "device": DEVICE, "phase": "denoise"}
    return frame.assign(**before)[[*before, *names[:6], *after]]


def quality_rows() -> pd.DataFrame:
    """Quality that grows with the steps."""
    steps = np.array([2, 4, 8, 16])
    agreement = 1 - 0.4 / steps
    return pd.DataFrame(
        {
            "steps": steps,
            "images": 50,
            "agreement": agreement,
            "agreement_low": agreement - 0.05,
            "agreement_high": np.minimum(1.0, agreement + 0.05),
            "classifier_accuracy": 0.98,
            "frechet_distance": 0.4 + 1 / steps,
            "real_frechet_distance": 0.35,
            "nearest_distance": 0.9,
            "real_nearest_distance": 0.95,
        }
    )


def write_live(plan: StudyPlan, results: Results) -> None:
    """Every table of the comparison, and the logs."""
    comparison = compared(plan, results)
    results.write_table("comparison", comparison)
    results.write_table("ladder", ladder_rows(comparison))
    results.write_table("improvement", improvement_rows(plan, comparison))
    results.write_table("runs", run_rows(plan, results))
    results.write_table("arrivals", arrival_rows(plan))
    results.write_table("services", service_rows(plan))
    for setting in plan.live_settings:
        write_log(results.log(setting, 1))


def compared(plan: StudyPlan, results: Results, gap: float = GAP, half: float = 0.1) -> pd.DataFrame:
    """Measured is predicted over `gap`, with an interval of `half` to either side."""
    rows = []
    for setting, answer in results.read_predictions().items():
        if setting not in plan.live_settings:
            continue
        for part in answer.classes:
            for metric in METRICS:
                value = part.metrics.get(metric)
                if value is None:
                    continue
                measured = value / gap
                low, high = measured * (1 - half), measured * (1 + half)
                rows.append(
                    {
                        "policy": setting.policy,
                        "exit": setting.exit,
                        "load": setting.load,
                        "rate": answer.rate,
                        "class": part.name,
                        "metric": metric,
                        "predicted": value,
                        "predicted_method": answer.method_of(part.name, metric),
                        "measured": measured,
                        "measured_method": "measured",
                        "low": low,
                        "high": high,
                        "relative_error": value / measured - 1,
                        "inside": bool(low <= value <= high),
                        "requests": 500,
                    }
                )
    return pd.DataFrame(rows)


def ladder_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Most of the gap comes with the fitted service times."""
    shares = {"live": 0.0, "measured services": 0.1, "fitted services": 0.8, "poisson arrivals": 0.9, "theory": 1.0}
    rows = []
    for row in comparison[comparison.metric == "mean_response_s"].to_dict("records"):
        for rung, share in shares.items():
            value = row["measured"] + share * (row["predicted"] - row["measured"])
            half = np.nan if rung == "theory" else 0.05 * value
            where = {name: row[name] for name in ("policy", "exit", "load")}
            rows.append(
                {**where, "seed": 1, "class": row["class"], "rung": rung, "mean_response_s": value,
                 "low": value - half, "high": value + half, "explains": ""}
            )  # fmt: skip
    return pd.DataFrame(rows)


def improvement_rows(plan: StudyPlan, comparison: pd.DataFrame, half: float = 5.0) -> pd.DataFrame:
    """Measured means against those of the baseline, with intervals of `half` points to either side."""
    kept = comparison[comparison.metric.isin(["mean_response_s", "p95_response_s"])]
    base = kept[(kept.policy == "fcfs") & (kept.exit == "none")].set_index(["load", "class", "metric"]).measured
    rows = []
    for row in kept.to_dict("records"):
        if (row["policy"], row["exit"]) == ("fcfs", "none"):
            continue
        gain = 100 * (1 - row["measured"] / base[(row["load"], row["class"], row["metric"])])
        judged = plan.tables.quality is not None
        rows.append(
            {"policy": row["policy"], "exit": row["exit"], "load": row["load"], "class": row["class"],
             "metric": row["metric"], "baseline": "fcfs", "improvement_percent": gain, "low": gain - half,
             "high": gain + half, "basis": "equal load", "method": "measured",
             "quality": (0.5 if row["exit"] == "none" else 0.6) if judged else np.nan,
             "baseline_quality": 0.5 if judged else np.nan}
        )  # fmt: skip
    columns = ["policy", "exit", "load", "class", "metric", "baseline", "improvement_percent", "low", "high",
               "basis", "method", "quality", "baseline_quality"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def run_rows(plan: StudyPlan, results: Results) -> pd.DataFrame:
    """One row a run, none rejected."""
    return pd.DataFrame(
        [
            {"policy": s.policy, "exit": s.exit, "load": s.load, "seed": 1, "rate": 100.0 * s.load,
             "requests_scheduled": 500, "requests_finished": 500, "requests_failed": 0, "lag_p50_s": 1e-5,
             "lag_p99_s": 5e-5, "lag_max_s": 1e-4, "load_average_before": 0.9, "load_average_after": 1.1,
             "horizon_s": 20.0, "device": DEVICE, "emulated": False, "begun_at": "2026-03-04T05:08:00.5Z",
             "rejected": np.nan, "overhead_per_step_s": 1e-5, "predictions_sha256": results.predictions_hash()}
            for s in plan.live_settings
        ]
    )  # fmt: skip


def arrival_rows(plan: StudyPlan) -> pd.DataFrame:
    """Streams that pass."""
    return pd.DataFrame(
        [
            {"load": load, "seed": 1, "class": name, "tested": True, "poisson": True, "verdict": "consistent",
             "n": 400, "span_s": 20.0, "rate": 20.0, "nominal_rate": 20.5, "cv": 1.01, "lag1": 0.02,
             "dispersion": 0.97,
             "p_uniformity": 0.4, "p_gaps": 0.6, "p_lag1": 0.7, "p_dispersion_short": 0.3, "p_rate": 0.5}
            for load in plan.tables.loads
            for name in ("all", "small", "large")
        ]
    )  # fmt: skip


def service_rows(plan: StudyPlan) -> pd.DataFrame:
    """Service times as the model has them."""
    return pd.DataFrame(
        [
            {"policy": s.policy, "exit": s.exit, "load": s.load, "seed": 1, "lag1": 0.01, "lag1_p": 0.8,
             "wait_correlation": -0.02, "wait_p": 0.7, "idle_per_request_s": 2e-5, "requests": 500.0,
             "mean_ratio": 1.02}
            for s in plan.live_settings
        ]
    )  # fmt: skip


def write_log(path: Path, requests: int = 200, seed: int = 3) -> None:
    """A log with Poisson arrivals and exponential response times."""
    rng = np.random.default_rng(seed)
    scheduled = np.cumsum(rng.exponential(0.1, requests))
    log = pd.DataFrame({"request_id": range(requests), "class": rng.choice(["small", "large"], requests)})
    log = log.assign(
        scheduled_s=scheduled, sent_s=scheduled + 1e-5, done_s=scheduled + rng.exponential(0.02, requests)
    )
    path.parent.mkdir(exist_ok=True)
    log.assign(status="ok").to_csv(path, index=False)
    meta = f'schema = "qmodel.live_meta/1"\n[engine]\ndevice = "{DEVICE}"\nemulated = false\n'
    meta += '[machine]\npython = "3.11.0"\n'
    path.with_name(path.stem + ".meta.toml").write_text(meta)
