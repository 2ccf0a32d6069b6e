"""The live stage: every setting run on the real target, in random order, each run kept as soon as it is done."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.study.host import AS_PROFILED, CHANGED, HostSpeed, HostWatch
from qmodel.study.host import SECONDS as LOOK_S
from qmodel.study.leaving import asked, target_of
from qmodel.study.plan import LiveTable, Setting, StudyPlan
from qmodel.study.prepare import fitted_scenario, predicted
from qmodel.study.results import Results, digest_of
from qmodel.study.run_prediction import RunPrediction
from qmodel.study.watch import Watcher

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

SET_UP_S = 0.6
"""Hand-over of a schedule and draining, beside the seconds of arrivals."""
DRAIN_S, DRAIN_TIMES = 60.0, 3.0
"""A server has this long after the last arrival, and so many times the work that overload leaves it by design."""

AT_ONCE_S = 2.0
AGAIN = 1
"""How many times a run is made again during which the host changed."""


def seconds(plan: StudyPlan) -> float:
    """About how long all runs take."""
    return sum(run_seconds(plan, setting) for setting, _ in plan.live_runs)


def run_seconds(plan: StudyPlan, setting: Setting) -> float:
    """About how long one run takes; what overload has left in the queue is served after the last arrival."""
    live, overload = plan.tables.live, plan.overloads.get(setting)
    assert live is not None
    beside = SET_UP_S + LOOK_S * plan.watches_host
    if overload is None:
        return live.seconds + beside
    return (overload.seconds or live.seconds) * setting.load + beside


def planned(plan: StudyPlan) -> list[tuple[Setting, int]]:
    """Settings and seeds in the order they are run: shuffled, so that drift of the machine favours no policy."""
    if plan.tables.live is None:
        return []
    runs = plan.live_runs
    order = np.random.default_rng(plan.tables.live.seeds[0]).permutation(len(runs))
    return [runs[i] for i in order]


def run_all(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Run what is not there yet; a killed study loses the run it was in, nothing else."""
    runs = planned(plan)
    if not runs:
        return
    with Runner(plan, results, watcher) as runner:
        for i, (setting, seed) in enumerate(runs):
            if not results.log(setting, seed).exists():
                runner.run(setting, seed, i)
            left = sum(run_seconds(plan, setting) for setting, _ in runs[i + 1 :])
            watcher.update(i + 1, len(runs), setting.label, left)


class Runner:
    """Servers that stay up from run to run, and what looks at the host between them. A context manager."""

    def __init__(self, plan: StudyPlan, results: Results, watcher: Watcher) -> None:
        self._plan, self._results, self._watcher = plan, results, watcher
        self._base, self._digest = fitted_scenario(plan, results), results.predictions_hash()
        self._servers: dict[str, Any] = {}  # one for each way of leaving early
        self._seen = AS_PROFILED, -math.inf
        self._stack = ExitStack()
        self._host = self._stack.enter_context(HostWatch(plan, results)) if plan.watches_host else None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(self, setting: Setting, seed: int, order: int) -> None:
        """One live run, kept when it is complete; at the host's speed where that is looked at."""
        about = {"predictions_sha256": self._digest, "order": order, "load": setting.load, "exit": setting.exit}
        if self._host is None:
            self._serve(self._plan.scenario(self._base, setting), setting, seed, about)
            return
        path = self._results.run_prediction(setting, seed)
        for attempt in range(1 + AGAIN):
            expected = self._expected(self._speed_before(self._host), setting)
            expected.save(path)
            scenario = self._plan.scenario(expected.before.slowed(self._base), setting)
            own = {"run_prediction_sha256": digest_of(path), "host_before": expected.before.typical}
            self._serve(scenario, setting, seed, about | own)
            expected = replace(expected, after=self._looked(self._host))
            expected.save(path)
            if abs(expected.changed) <= CHANGED or attempt == AGAIN:
                return
            change = f"{setting.label}: the host's times changed by {expected.changed:+.0%} meanwhile"
            self._watcher.say(f"{change}; it is run again")
            self._results.set_aside(setting, seed)

    def _speed_before(self, host: HostWatch) -> HostSpeed:
        """What was seen at the end of the run before, where this one follows it at once."""
        speed, at = self._seen
        return speed if time.monotonic() - at <= AT_ONCE_S else self._looked(host)

    def _looked(self, host: HostWatch) -> HostSpeed:
        self._seen = host.look(), time.monotonic()
        return self._seen[0]

    def _expected(self, speed: HostSpeed, setting: Setting) -> RunPrediction:
        """What the setting is predicted to give on the host as it is now."""
        scenario = asked(self._plan, self._results, speed.slowed(self._base), setting)
        return RunPrediction(speed, predicted(self._plan, setting, scenario, self._horizon_s(setting, scenario)))

    def _horizon_s(self, setting: Setting, scenario: Scenario) -> float:
        """Seconds of arrivals: at a lower rate, on a slower host, longer in proportion, for the same requests."""
        plan = self._plan
        seconds = plan.horizon_s(setting, scenario)
        if (table := plan.overloads.get(setting)) is not None and table.requests is not None:
            return float(seconds or 0.0)
        return (seconds or self._live.seconds) * plan.scenario(self._base, setting).rate / scenario.rate

    def _serve(self, scenario: Scenario, setting: Setting, seed: int, about: Mapping[str, Any]) -> None:
        from qmodel.live import draw_schedule

        horizon_s = self._horizon_s(setting, scenario)
        schedule = draw_schedule(scenario, horizon_s, seed)
        drain_s = DRAIN_S + DRAIN_TIMES * max(0.0, setting.load - 1.0) * horizon_s
        path = self._results.log(setting, seed)
        self._server(setting).run(scenario, schedule, log_path=path, about=about, drain_timeout_s=drain_s)

    @property
    def _live(self) -> LiveTable:
        assert self._plan.tables.live is not None
        return self._plan.tables.live

    def _server(self, setting: Setting) -> Any:
        from qmodel.live import server_of

        target = target_of(self._plan, setting)
        if repr(target) not in self._servers:
            self._servers[repr(target)] = self._stack.enter_context(
                server_of(target, self._plan.threads, self._plan.cores)
            )
        return self._servers[repr(target)]
