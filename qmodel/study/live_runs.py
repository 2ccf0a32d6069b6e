"""The live stage: every setting run on the real target, in random order, each run kept as soon as it is done."""

from __future__ import annotations

import numpy as np

from qmodel.study.plan import Setting, StudyPlan
from qmodel.study.prepare import fitted_scenario
from qmodel.study.results import Results
from qmodel.study.watch import Watcher

SET_UP_S = 0.6
"""Hand-over of a schedule and draining, beside the seconds of arrivals."""


def seconds(plan: StudyPlan) -> float:
    """About how long all runs take."""
    live = plan.tables.live
    return len(plan.live_settings) * len(live.seeds) * (live.seconds + SET_UP_S) if live else 0.0


def planned(plan: StudyPlan) -> list[tuple[Setting, int]]:
    """Settings and seeds in the order they are run: shuffled, so that drift of the machine favours no policy."""
    if plan.tables.live is None:
        return []
    runs = [(setting, seed) for setting in plan.live_settings for seed in plan.tables.live.seeds]
    order = np.random.default_rng(plan.tables.live.seeds[0]).permutation(len(runs))
    return [runs[i] for i in order]


def run_all(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Run what is not there yet; a killed study loses the run it was in, nothing else."""
    from qmodel.live import LiveServer, draw_schedule

    runs = planned(plan)
    if not runs:
        return
    live = plan.tables.live
    assert live is not None
    base, digest = fitted_scenario(plan, results), results.predictions_hash()
    with LiveServer(plan.target, threads=plan.threads) as server:
        for i, (setting, seed) in enumerate(runs):
            path = results.log(setting, seed)
            if not path.exists():
                scenario = plan.scenario(base, setting)
                schedule = draw_schedule(scenario, live.seconds, seed)
                about = {"predictions_sha256": digest, "order": i, "load": setting.load, "exit": setting.exit}
                server.run(scenario, schedule, log_path=path, about=about)
            left = (len(runs) - i - 1) * (live.seconds + SET_UP_S)
            watcher.update(i + 1, len(runs), setting.label, left)
