"""The live stage: every setting run on the real target, in random order, each run kept as soon as it is done."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from qmodel.study.leaving import target_of
from qmodel.study.plan import Setting, StudyPlan
from qmodel.study.prepare import fitted_scenario
from qmodel.study.results import Results
from qmodel.study.watch import Watcher

SET_UP_S = 0.6
"""Hand-over of a schedule and draining, beside the seconds of arrivals."""
DRAIN_S, DRAIN_TIMES = 60.0, 3.0
"""A server has this long after the last arrival, and so many times the work that overload leaves it by design."""


def seconds(plan: StudyPlan) -> float:
    """About how long all runs take."""
    return sum(run_seconds(plan, setting) for setting, _ in plan.live_runs)


def run_seconds(plan: StudyPlan, setting: Setting) -> float:
    """About how long one run takes; what overload has left in the queue is served after the last arrival."""
    live, overload = plan.tables.live, plan.overloads.get(setting)
    assert live is not None
    if overload is None:
        return live.seconds + SET_UP_S
    return (overload.seconds or live.seconds) * setting.load + SET_UP_S


def planned(plan: StudyPlan) -> list[tuple[Setting, int]]:
    """Settings and seeds in the order they are run: shuffled, so that drift of the machine favours no policy."""
    if plan.tables.live is None:
        return []
    runs = plan.live_runs
    order = np.random.default_rng(plan.tables.live.seeds[0]).permutation(len(runs))
    return [runs[i] for i in order]


def run_all(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Run what is not there yet; a killed study loses the run it was in, nothing else."""
    from qmodel.live import draw_schedule, server_of

    runs = planned(plan)
    if not runs:
        return
    live = plan.tables.live
    assert live is not None
    base, digest = fitted_scenario(plan, results), results.predictions_hash()
    with ExitStack() as stack:
        servers: dict[str, Any] = {}  # one for each way of leaving early
        for i, (setting, seed) in enumerate(runs):
            path = results.log(setting, seed)
            if not path.exists():
                scenario = plan.scenario(base, setting)
                horizon_s = plan.horizon_s(setting, scenario) or live.seconds
                schedule = draw_schedule(scenario, horizon_s, seed)
                about = {"predictions_sha256": digest, "order": i, "load": setting.load, "exit": setting.exit}
                target = target_of(plan, setting)
                if repr(target) not in servers:
                    servers[repr(target)] = stack.enter_context(server_of(target, plan.threads))
                drain_s = DRAIN_S + DRAIN_TIMES * max(0.0, setting.load - 1.0) * horizon_s
                servers[repr(target)].run(scenario, schedule, log_path=path, about=about, drain_timeout_s=drain_s)
            left = sum(run_seconds(plan, setting) for setting, _ in runs[i + 1 :])
            watcher.update(i + 1, len(runs), setting.label, left)
