"""Result frames of a study that never ran: M/M/1-like latencies with noise, in the shapes the figures take."""

from __future__ import annotations

import numpy as np
import pandas as pd

LOADS = (0.3, 0.5, 0.7, 0.85)
POLICIES = ("fcfs", "np-priority", "pr-priority", "ps")
RUNS = (
    [("none", policy, load) for policy in POLICIES for load in LOADS]
    + [("fewer-steps", "fcfs", load) for load in LOADS[1:]]
    + [("queue-threshold", "fcfs", load) for load in LOADS[1:]]
    + [("queue-threshold", "pr-priority", load) for load in LOADS[2:]]
)
METRICS = {"mean_response_s": 1.0, "p50_response_s": 0.7, "p95_response_s": 3.0, "p99_response_s": 4.6}
CLASS_TIMES = {"all": 0.0046, "preview": 0.0031, "gallery": 0.0135}
POLICY_FACTORS = {
    "fcfs": {"all": 1.0, "preview": 1.5, "gallery": 0.8},
    "np-priority": {"all": 0.8, "preview": 0.6, "gallery": 1.0},
    "pr-priority": {"all": 0.7, "preview": 0.35, "gallery": 1.1},
    "ps": {"all": 0.9, "preview": 0.6, "gallery": 1.3},
}
EXIT_FACTORS = {"none": 1.0, "fewer-steps": 0.4, "queue-threshold": 0.75}


def comparison(seed: int = 1) -> pd.DataFrame:
    """Predicted beside measured."""
    rng = np.random.default_rng(seed)
    rows = []
    for setting, policy, load in RUNS:
        for kind, base in CLASS_TIMES.items():
            for metric, factor in METRICS.items():
                response = base * POLICY_FACTORS[policy][kind] * EXIT_FACTORS[setting] * factor / (1 - load)
                half = (0.02 + 0.12 * load**3) * (1 + (factor > 2))
                measured = response * (1 + rng.normal(0, half / 1.5))
                low, high = measured * (1 - half), measured * (1 + half)
                rows.append(
                    {
                        "policy": policy,
                        "exit": setting,
                        "load": load,
                        "rate": 200 * load,
                        "class": kind,
                        "metric": metric,
                        "predicted": response,
                        "predicted_method": "exact" if policy != "ps" or factor == 1.0 else "simulation",
                        "measured": measured,
                        "low": low,
                        "high": high,
                        "relative_error": response / measured - 1,
                        "inside": bool(low <= response <= high),
                        "requests": int(2600 * load),
                    }
                )
    return pd.DataFrame(rows)


def ladder() -> pd.DataFrame:
    """The gap ladder of two policies."""
    steps = {
        "live": 1.0,
        "measured services": 0.975,
        "fitted services": 0.95,
        "poisson arrivals": 1.04,
        "theory": 1.035,
    }
    rows = []
    for policy in ("fcfs", "ps"):
        for kind, base in CLASS_TIMES.items():
            for load in LOADS:
                for i, (rung, factor) in enumerate(steps.items()):
                    value = base / (1 - load) * (1 + (factor - 1) * (1 + load))
                    half = value * (0.02 + 0.1 * load**3) if i < 3 else value * 0.004 if i == 3 else np.nan
                    rows.append(
                        (policy, "none", load, kind, rung, value, value - half, value + half, f"about {rung}")
                    )
    columns = ["policy", "exit", "load", "class", "rung", "mean_response_s", "low", "high", "explains"]
    return pd.DataFrame(rows, columns=columns)


def improvement(seed: int = 2) -> pd.DataFrame:
    """Improvements over fcfs at equal load, and the load that an SLO allows."""
    rng = np.random.default_rng(seed)
    quality = {"none": 0.962, "fewer-steps": 0.897, "queue-threshold": 0.951}
    rows = []
    for setting, policy, load in RUNS:
        if (setting, policy) == ("none", "fcfs"):
            continue
        for kind in CLASS_TIMES:
            gain = 100 * (1 - POLICY_FACTORS[policy][kind] / POLICY_FACTORS["fcfs"][kind] * EXIT_FACTORS[setting])
            half = rng.uniform(2, 9) * (1 + 2 * load**2)
            seen = gain + rng.normal(0, half / 2)
            cost = quality[setting] - (0.03 * load if setting == "queue-threshold" else 0.0)
            rows.append(
                (
                    policy,
                    setting,
                    load,
                    kind,
                    "mean_response_s",
                    "fcfs",
                    seen,
                    seen - half,
                    seen + half,
                    "equal load",
                    cost,
                )
            )
    for setting, policy in dict.fromkeys((s, p) for s, p, _ in RUNS if (s, p) != ("none", "fcfs")):
        rows.append(
            (
                policy,
                setting,
                np.nan,
                "all",
                "capacity",
                "fcfs",
                12.0,
                -np.inf,
                np.inf,
                "equal SLO",
                quality[setting],
            )
        )
    columns = [
        "policy",
        "exit",
        "load",
        "class",
        "metric",
        "baseline",
        "improvement_percent",
        "low",
        "high",
        "basis",
        "quality",
    ]
    return pd.DataFrame(rows, columns=columns).assign(baseline_quality=quality["none"])


def quality() -> pd.DataFrame:
    """Quality of images by steps."""
    steps = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
    agreement = 0.975 - 0.75 * np.exp(-steps / 2.2)
    half = 1.96 * np.sqrt(agreement * (1 - agreement) / 500)
    return pd.DataFrame(
        {
            "steps": steps,
            "images": 500,
            "agreement": agreement,
            "agreement_low": agreement - half,
            "agreement_high": agreement + half,
            "classifier_accuracy": 0.9866,
            "frechet_distance": 0.15 + 6 * np.exp(-steps / 2.0),
            "real_frechet_distance": 0.08,
        }
    )


def latency_by_steps() -> pd.DataFrame:
    """Service time of one image by steps."""
    steps = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
    latency = 0.0001 + 0.00035 * steps
    return pd.DataFrame({"steps": steps, "latency_s": latency, "low": 0.98 * latency, "high": 1.02 * latency})


def responses(seed: int = 3) -> dict[str, np.ndarray]:
    """Measured response times of one run by class."""
    rng = np.random.default_rng(seed)
    return {"preview": rng.exponential(0.0155, 1500), "gallery": 0.004 + rng.exponential(0.032, 400)}


def arrivals(seed: int = 4, n: int = 1500) -> np.ndarray:
    """Arrival times of a Poisson process of 140 a second."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / 140, n))


def profile(seed: int = 5) -> pd.DataFrame:
    """Timed repetitions over steps and batch sizes."""
    rng = np.random.default_rng(seed)
    rows = []
    for steps in (5, 10, 20, 40):
        for batch in (1, 2, 4, 8, 16):
            mean = fitted(pd.DataFrame({"steps": [steps], "batch_size": [batch]}))[0]
            for latency in mean * rng.lognormal(0.004 * np.log(steps), 0.025, 40):
                rows.append((steps, batch, latency))
    return pd.DataFrame(rows, columns=["steps", "batch_size", "latency_s"])


def fitted(rows: pd.DataFrame) -> np.ndarray:
    """The service function behind `profile`."""
    steps, batch = rows.steps.to_numpy(float), rows.batch_size.to_numpy(float)
    return 2e-4 + steps * (2.2e-4 + 1.3e-4 * batch)
