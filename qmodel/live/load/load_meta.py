"""`<name>.meta.toml` beside the log of a load test: what was asked of whom, from where, and how it went."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qmodel.live.load.answering import lag_facts
from qmodel.live.log import OK
from qmodel.live.schedule import digest
from qmodel.measure import machine
from qmodel.workload.arrival_tests import test_arrivals

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.live.load.running import LoadRun
    from qmodel.scenario import Scenario

SCHEMA = "qmodel.load_meta/1"


def load_meta(run: LoadRun, scenario: Scenario, plan: pd.DataFrame) -> dict[str, Any]:
    """The metadata of a run."""
    finished = int((run.log["status"] == OK).sum())
    meta: dict[str, Any] = {
        "schema": SCHEMA,
        "log": run.path.name,
        "scenario": scenario.fingerprint,
        "policy": str(run.server.card.get("policy", scenario.policy.name)),
        "rate": plan.attrs["rate"] if math.isfinite(plan.attrs["rate"]) else "inf",
        "seed": plan.attrs["seed"],
        "horizon_s": plan.attrs["horizon_s"],
        "schedule_sha256": digest(plan),
        "url": run.server.target.base,
        "endpoint": run.server.path,
        "server": run.server.software,
        "emulated": bool(run.server.card.get("emulated")),
        "models": run.server.models,
        "prompts": vars(run.server.words),
        "begun_at": datetime.fromtimestamp(run.began, UTC).isoformat(timespec="milliseconds"),
        "ended_at": datetime.fromtimestamp(run.ended, UTC).isoformat(timespec="milliseconds"),
        "clock": "time.monotonic of the client; times count from the start of the run",
        "client": {"waking": run.waking},
        "machine": machine.describe_machine(1),
        "load_after": machine.load_average(),
        "requests": {"scheduled": len(run.log), "finished": finished, "failed": len(run.log) - finished},
        "lag": {name: value for name, value in lag_facts(run.log).items() if value is not None},
        "server_metrics": run.measured,
    }
    if run.server.card:
        meta["card"] = run.server.card
    times = run.log["scheduled_s"].to_numpy(dtype=float)
    if times[-1] > 0:
        meta["arrivals"] = test_arrivals(times, plan.attrs["rate"], horizon_s=plan.attrs["horizon_s"]).to_dict()
    return meta
