"""One study from start to end. A finished stage is never run again; inside a stage nothing finished is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qmodel.errors import InputError
from qmodel.study import evaluate, leaving, live_runs, prepare
from qmodel.study.plan import StudyPlan
from qmodel.study.results import Results
from qmodel.study.watch import Watcher


@dataclass(frozen=True)
class Stage:
    """A part of a study: its name, what it does, and about how long it takes (s)."""

    name: str
    work: Callable[[StudyPlan, Results, Watcher], None]
    seconds: Callable[[StudyPlan], float]


def _profile_seconds(plan: StudyPlan) -> float:
    spec = plan.profile_spec
    return 0.0 if spec is None else float(spec.measurement.budget_s or 60.0)


PROFILE = Stage("profile", prepare.profile, _profile_seconds)
FIT = Stage("fit", prepare.fit, lambda plan: 10.0)
QUALITY = Stage("quality", prepare.quality, prepare.quality_seconds)
LEAVING = Stage("early exits", leaving.measure, leaving.seconds)
PREDICTIONS = Stage("predictions", prepare.predictions, lambda plan: 10.0 + 0.3 * len(plan.settings))
LIVE = Stage("live runs", live_runs.run_all, live_runs.seconds)
COMPARISON = Stage("comparison", evaluate.evaluate, lambda plan: 20.0)
STUDY = (PROFILE, FIT, QUALITY, LEAVING, PREDICTIONS, LIVE, COMPARISON)
VALIDATION = (LEAVING, PREDICTIONS, LIVE, COMPARISON)


def open_results(plan: StudyPlan, results: Results, fresh: bool = False) -> None:
    """Make the results folder ready for this plan.

    `fresh` moves what an earlier run left to a folder with its date. Raises InputError when the results there
    belong to another plan: resuming would mix two studies.
    """
    if fresh and results.folder.exists():
        results.folder.rename(results.folder.with_name(f"{results.folder.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
    state = results.read_state()
    if state.get("plan", plan.fingerprint) != plan.fingerprint:
        raise InputError(
            str(results.folder), "holds results of another version of this plan", "start again with --fresh"
        )
    if not state:
        results.write_state({"plan": plan.fingerprint, "name": plan.name, "stages": {}})


def run_study(
    plan: StudyPlan, results: Results, watcher: Watcher | None = None, stages: Sequence[Stage] = STUDY
) -> bool:
    """Run every stage that is not done yet; returns whether anything was left to do.

    Raises InputError from any stage; what was finished stays.
    """
    watcher = watcher or Watcher()
    worked = False
    for stage in stages:
        state = results.read_state()
        if stage.name in state["stages"]:
            watcher.skip(stage.name)
            continue
        watcher.stage(stage.name, stage.seconds(plan))
        stage.work(plan, results, watcher)
        state["stages"][stage.name] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        results.write_state(state)
        worked = True
    return worked


def remaining_seconds(plan: StudyPlan, results: Results, stages: Sequence[Stage] = STUDY) -> float:
    """About how long the stages still take."""
    done = results.read_state().get("stages", {})
    return sum(stage.seconds(plan) for stage in stages if stage.name not in done)
