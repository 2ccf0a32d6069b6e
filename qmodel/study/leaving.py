"""Exits that the target itself decides about: measured before the predictions, which then use the law found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.study.plan import Setting, SettingTable, StudyPlan
from qmodel.study.prepare import fitted_scenario
from qmodel.study.results import Results
from qmodel.study.watch import Watcher

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.live import LiveRun
    from qmodel.scenario import Scenario

REQUESTS = 200
QUALITY = "leaving_quality"


def own_exits(plan: StudyPlan) -> list[SettingTable]:
    """The settings in which the target decides."""
    return [table for table in plan.tables.exit if table.target is not None]


def seconds(plan: StudyPlan) -> float:
    """About how long measuring takes: a tenth of a second a request."""
    return sum(0.1 * (table.requests or REQUESTS) + 5.0 for table in own_exits(plan))


def measure(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Measure each of these settings, and the quality of what it delivers."""
    import pandas as pd

    from qmodel.live.leaving import measure_leaving

    if not own_exits(plan):
        return
    base, judged, whole = fitted_scenario(plan, results), [], dict[str, Any]()
    for table in own_exits(plan):
        rows, early, full = measure_leaving(
            base, plan.target, table.target or {}, requests=table.requests or REQUESTS, threads=plan.threads,
            progress=lambda done, total, name=table.name: watcher.update(done, total, name),  # type: ignore[misc]
        )  # fmt: skip
        results.write_table(results.leaving(table.name), rows)
        judged.append({"exit": table.name, "full": False, "requests": len(rows), **early})
        whole = {"exit": plan.tables.exit[0].name, "full": True, "requests": len(rows), **full}
        shares = rows.occupied_share.mean(), (rows.occupied_share * rows.delivered_share).mean()
        watcher.say(f"{table.name}: occupies {shares[0]:.0%} of the full service, delivers at {shares[1]:.0%}")
    results.write_table(QUALITY, pd.DataFrame([whole, *judged]))


def asked(plan: StudyPlan, results: Results, base: Scenario, setting: Setting) -> Scenario:
    """The question of a setting, with the measured law of the target's own exits where it has them."""
    from qmodel.live.leaving import leaving_transforms

    made = plan.scenario(base, setting)
    table = plan.exit_table(setting.exit)
    if table.target is None:
        return made
    return made.with_transforms(*leaving_transforms(results.read_table(results.leaving(table.name))))


def target_of(plan: StudyPlan, setting: Setting) -> dict[str, Any]:
    """What runs a setting live."""
    return {**plan.target, **(plan.exit_table(setting.exit).target or {})}


def as_measured(plan: StudyPlan, run: LiveRun, setting: Setting, results: Results) -> LiveRun:
    """A run of such a setting, its log telling what the engine decided.

    `size_s` becomes the size that is predicted on average, `delivered_at` the share of its service after which each
    request was delivered. Other runs are as they were.
    """
    table = plan.exit_table(setting.exit)
    if table.target is None:
        return run
    rows, log = results.read_table(results.leaving(table.name)), run.log
    share = float(rows.occupied_s.sum() / (rows.occupied_s / rows.occupied_share).sum())
    late = np.where(log.service_s > 0, (log.left_s - log.done_s) / log.service_s, 0.0)
    delivered = np.clip(np.nan_to_num(1.0 - late, nan=1.0), 1e-9, 1.0)
    return replace(run, log=log.assign(size_s=log.size_s * share, delivered_at=delivered))


def ladder_inputs(log: pd.DataFrame, schedule: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Log and schedule such that the measured services are the log's and deliveries are where they were.

    The schedule is drawn with the predicted law, so each request has a share of its own there, not the one it had.
    """
    known = log.set_index("request_id")
    found = schedule.assign(delivered_at=schedule.request_id.map(known.delivered_at).fillna(1.0))
    sizes = schedule.set_index("request_id").size_s
    return log.assign(size_s=log.request_id.map(sizes)), found
