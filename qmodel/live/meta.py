"""`<name>.meta.toml` beside a request log: which question the run answered, on what, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.live.log import OK
from qmodel.live.schedule import digest
from qmodel.live.session import lags
from qmodel.measure import machine
from qmodel.workload.arrival_tests import test_arrivals

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.scenario import Scenario

SCHEMA = "qmodel.live_meta/1"


def meta_path(log_path: Path) -> Path:
    """Where the metadata of a log stand.

    >>> meta_path(Path("live/fcfs.csv")).name
    'fcfs.meta.toml'
    """
    return log_path.with_name(log_path.stem + ".meta.toml")


def identity(scenario: Scenario, schedule: pd.DataFrame, target: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """What decides about a run: two runs with equal identities answer the same question on the same requests."""
    return {
        "scenario": scenario.fingerprint,
        "policy": scenario.policy.name,
        "rate": scenario.rate,
        **{name: schedule.attrs[name] for name in ("seed", "horizon_s") if name in schedule.attrs},
        "schedule_sha256": digest(schedule),
        "target": dict(target),
        "threads": threads,
    }


def before_run(asked: Mapping[str, Any], engine: Mapping[str, Any], log_path: Path) -> dict[str, Any]:
    """What is known before the first request: the question, the engine and the machine."""
    return {
        "schema": SCHEMA,
        "log": log_path.name,
        **asked,
        "engine": {name: engine[name] for name in ("name", "device", "emulated", "versions")},
        "clock": "time.monotonic, one clock for load generator and server; times count from the start of the run",
        "machine": machine.describe_machine(int(asked["threads"])),
        "load_before": machine.load_average(),
        "load_warning": machine.load_warning(),
    }


def after_run(
    log: pd.DataFrame, schedule: pd.DataFrame, statistics: Mapping[str, Any], begun: float, ended: float
) -> dict[str, Any]:
    """What is known after the last: requests, the client's lag, the serving loop's own account, the arrivals."""
    scheduled = schedule["scheduled_s"].to_numpy(dtype=float)
    late = lags(log["sent_s"].to_numpy(dtype=float), scheduled)
    finished = int((log["status"] == OK).sum())
    return {
        "begun_at": _stamp(begun),
        "ended_at": _stamp(ended),
        "load_after": machine.load_average(),
        "requests": {"scheduled": len(log), "finished": finished, "failed": len(log) - finished},
        "lag": {
            "p50_s": float(np.quantile(late, 0.5)),
            "p99_s": float(np.quantile(late, 0.99)),
            "max_s": float(late.max()),
        },
        "loop": dict(statistics),
        "arrivals": test_arrivals(
            scheduled, schedule.attrs.get("rate"), horizon_s=schedule.attrs.get("horizon_s")
        ).to_dict(),
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def check_meta(meta: Mapping[str, Any], path: Path) -> None:
    """Raise InputError unless these are metadata of the log at `path`."""
    if meta.get("schema") != SCHEMA:
        fault = f"schema {meta.get('schema')!r} is not {SCHEMA}"
        raise InputError(str(meta_path(path)), fault, "give a log written by a live run")
