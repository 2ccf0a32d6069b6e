"""A row run live: the engine timed, both settings predicted and the predictions saved, then each of them run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.answer import Answer, PolicyAnswer
from qmodel.catalogue.case import Case
from qmodel.catalogue.live.calibrating import iteration_time, service_model, swap_tokens_per_s
from qmodel.catalogue.live.on_engine import BLOCK, MEAN_STEPS, MEAN_TOKENS, Machine, Steps, Tokens
from qmodel.catalogue.live.readers import add_preemptions, add_qoe
from qmodel.catalogue.row import Setting
from qmodel.catalogue.running import metric_of
from qmodel.catalogue.tuned import resolved
from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.predict import Asking, answer_one
from qmodel.study.watch import Watcher

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.ladder import Rung
    from qmodel.live import LiveRun, LiveServer
    from qmodel.scenario import Scenario

REQUESTS, SECONDS, BATCHED_S = 1_500, 45.0, 25.0
"""Requests of a live run where no number is given, and its seconds of arrivals at most; of a batching engine, which
takes longer to be timed, fewer."""
BATCHED = 250
"""Requests of a batching engine at most in a finite horizon: those it displaces keep their KV caches."""
PREDICTED = 100_000
"""Requests of a simulated prediction."""
WARMUP = 0.1
"""Share of a run that is dropped at its start; none of a finite horizon."""


@dataclass(frozen=True)
class Both:
    """One setting, predicted and run; `rungs` say what a gap is due to."""

    setting: Setting
    predicted: PolicyAnswer
    live: PolicyAnswer
    rungs: tuple[Rung, ...] = ()

    def figures(self, metric: str) -> tuple[float, float, tuple[float, float] | None] | None:
        """Predicted, live and the live interval of a metric, `name` or `class:name`; None where one has none."""
        of, to = metric_of(self.predicted, metric), metric_of(self.live, metric)
        class_name, _, name = metric.rpartition(":")
        return None if of is None or to is None else (of, to, self.live[class_name or "all"].ci95.get(name))


@dataclass(frozen=True)
class LiveRan:
    """The idea first, its baseline last; `left_out` says which settings were not run, and why."""

    case: Case
    machine: Machine
    both: tuple[Both, ...]
    folder: Path
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON of `qmodel catalogue NAME --live --json`."""
        return {
            "schema": "qmodel.catalogue-live/1",
            "row": self.case.row.code,
            "name": self.case.row.name,
            "engine": self.machine.target["kind"],
            "seconds_per_second": self.machine.factor,
            "settings": [
                {
                    "setting": one.setting.label,
                    "predicted": one.predicted.to_dict(),
                    "live": one.live.to_dict(),
                    "ladder": {rung.rung: rung.mean_response_s for rung in one.rungs},
                }
                for one in self.both
            ],
            "left_out": list(self.left_out),
            "folder": str(self.folder),
        }


@dataclass(frozen=True)
class Asked:
    """A setting and the scenario that it is on the engine, with the length of its run."""

    setting: Setting
    scenario: Scenario
    horizon_s: float

    @property
    def whole(self) -> bool:
        """Whether the run is a finite horizon from empty, of which nothing is dropped."""
        return self.setting.horizon_s is not None

    def predict(self, seed: int) -> PolicyAnswer:
        """Theory where there is a result, else simulation."""
        if self.whole:
            from qmodel.ladder_batches import replications_of
            from qmodel.simulation import simulate

            runs = replications_of(self.scenario, self.horizon_s)
            return simulate(self.scenario, horizon_s=self.horizon_s, replications=runs, seed=seed)
        return answer_one(self.scenario, Asking(self.setting.method, requests=PREDICTED, seed=seed))


def run_row(case: Case, folder: Path, watcher: Watcher | None = None) -> LiveRan:
    """Time the engine, predict, save the predictions, run, measure. Raises InputError where no engine can."""
    from qmodel.live import LiveServer

    watcher = watcher or Watcher()
    refuse_others(case)
    folder.mkdir(parents=True, exist_ok=True)
    made = machine(case, folder, watcher)
    with LiveServer(made.target) as server:
        asked, left_out = chosen(case, made, server)
        predictions = [one.predict(case.seed) for one in asked]
        digest = saved(folder, asked, predictions)
        watcher.say(f"{len(asked)} predictions saved before the first live run, sha256 {digest[:16]}")
        both = tuple(_runs(case, server, asked, predictions, folder, digest, watcher))
    return LiveRan(case, made, both, folder, tuple(left_out))


def refuse_others(case: Case) -> None:
    """Raise InputError for a row that no engine of this machine can run, in one line."""
    place = f"catalogue {case.row.name} --live"
    if case.row.no_live:
        raise InputError(place, case.row.no_live, "answer it with --run")
    if case.model is not None:
        raise InputError("--model", "a live run measures its own engine", "leave it out")
    system = case.scenario().system
    if case.scenario().stations:
        raise InputError(place, "a tandem of stations is not run live", "answer it with --run")
    if system.servers > 1:
        raise InputError(place, f"{system.servers} servers are not run live: there is one", "answer it with --run")


def machine(case: Case, folder: Path, watcher: Watcher) -> Machine:
    """The engine that serves the row as it batches, timed a moment before."""
    base = case.row.live[-1].changes if case.row.live else {}
    scenario = case.scenario(base)
    if scenario.system.batching == "none":
        plain = scenario.with_transforms()
        made = Steps(1.0, service_model("digits-diffusion", folder, watcher), plain.size.mean / MEAN_STEPS)
        here = _scenario(case, made, {"transform": []}).size.mean
        return replace(made, factor=here / plain.size.mean)
    if scenario.system.batching == "continuous":
        from qmodel.study.batching import capacity

        output = sum(one.rate * one.factors["output_tokens"].mean for one in scenario.classes) / scenario.rate
        displaces = any(case.scenario(setting.changes).policy.preemptive for setting in compared(case))
        times = iteration_time("transformers", folder, watcher)
        pauses = any(one.pause for one in scenario.classes)
        speed = swap_tokens_per_s(BLOCK, watcher) if pauses else None
        tokens = Tokens(1.0, times, output / MEAN_TOKENS, displaces, speed)
        here = capacity(_scenario(case, tokens, base))
        return replace(tokens, factor=capacity(scenario) / here)
    place = f"catalogue {case.row.name} --live"
    raise InputError(place, f"batching '{scenario.system.batching}' by length is not run live", "use --run")


def compared(case: Case) -> tuple[Setting, ...]:
    """The settings that a live run chooses from."""
    return case.row.live or case.row.settings


def _scenario(case: Case, made: Machine, changes: Mapping[str, Any]) -> Scenario:
    own = case.changed(changes)
    return case.with_trace(case.made(made.tables(own, case.made(own))))


def chosen(case: Case, made: Machine, server: LiveServer) -> tuple[list[Asked], list[str]]:
    """The idea and the baseline: the first and the last setting that the engine can run and tell apart.

    All of them, where the row names what a live run compares. And a line for each setting that it cannot. Raises
    InputError where fewer than two are left.
    """
    from qmodel.live.order import check_runnable

    found: dict[str, Asked] = {}
    left_out = []
    for setting in compared(case):
        setting = resolved(case, setting)
        try:
            scenario = _scenario(case, made, dict(setting.changes))
            check_runnable(scenario, server.engine())
            _check_stable(setting, scenario)
        except InputError as refusal:
            left_out.append(f"{setting.label}: {refusal.place} {refusal.fault}")
            continue
        found.setdefault(scenario.fingerprint, Asked(setting, scenario, _horizon_s(case, made, setting, scenario)))
    runnable = list(found.values())
    if len(runnable) < 2:
        why = left_out[0] if left_out else "its settings are all alike on an engine that switches at no cost"
        raise InputError(f"catalogue {case.row.name} --live", why, "answer it with --run")
    return runnable if case.row.live else [runnable[0], runnable[-1]], left_out


def _check_stable(setting: Setting, scenario: Scenario) -> None:
    """Raise InputError for what has no steady state to be compared in."""
    alone = scenario.system.batching == "none" and scenario.condition is None and setting.horizon_s is None
    if alone and scenario.utilisation >= 1.0:
        raise InputError("load", f"of {scenario.utilisation:.3g} has no steady state")


def _horizon_s(case: Case, made: Machine, setting: Setting, scenario: Scenario) -> float:
    """Seconds of arrivals: so many requests, or the setting's own horizon in the engine's time."""
    if case.requests:
        return case.requests / scenario.rate
    batched = scenario.system.batching == "continuous"
    if setting.horizon_s is None:
        return min(REQUESTS / scenario.rate, BATCHED_S if batched else SECONDS)
    most = BATCHED / scenario.rate if batched else SECONDS
    return min(setting.horizon_s * made.factor, most)


def saved(folder: Path, asked: list[Asked], predictions: list[PolicyAnswer]) -> str:
    """Write the predictions, and return their hash, which each run records."""
    entries = [
        {"setting": one.setting.label, "answer": Answer(one.scenario.fingerprint, [answer]).to_dict()}
        for one, answer in zip(asked, predictions, strict=True)
    ]
    text = json.dumps({"schema": "qmodel.predictions/1", "predictions": entries}, indent=1, allow_nan=False)
    write_atomically(folder / "predictions.json", text)
    return hashlib.sha256(text.encode()).hexdigest()


def _runs(
    case: Case, server: LiveServer, asked: list[Asked], predictions: list[PolicyAnswer], folder: Path, digest: str,
    watcher: Watcher,
) -> Iterator[Both]:  # fmt: skip
    from qmodel.live import draw_schedule, measured_answer

    for i, (one, predicted) in enumerate(zip(asked, predictions, strict=True)):
        schedule = draw_schedule(one.scenario, one.horizon_s, case.seed)
        watcher.stage(f"live: {one.setting.label}", one.horizon_s)
        run = server.run(
            one.scenario,
            schedule,
            log_path=folder / f"live-{i + 1}.csv",
            progress=lambda done, total, seconds: watcher.update(done, total),
            about={"predictions_sha256": digest, "setting": one.setting.label},
        )
        warmup = 0.0 if one.whole else WARMUP
        found = measured_answer(run, one.scenario, warmup_share=warmup)
        add_qoe(found, run, one.scenario, warmup)
        add_preemptions(found, run)
        yield Both(one.setting, predicted, found, _rungs(one, run, schedule, predicted, warmup))


def _rungs(
    one: Asked, run: LiveRun, schedule: pd.DataFrame, predicted: PolicyAnswer, warmup: float
) -> tuple[Rung, ...]:
    """The gap ladder of the mean response of all requests."""
    from qmodel.ladder import ladder
    from qmodel.ladder_batches import ladder_of_batches

    horizon_s, warmup_s = one.horizon_s if one.whole else None, warmup * one.horizon_s
    if one.scenario.system.batching == "none":
        rungs = ladder(one.scenario, run.log, schedule, predicted, warmup_s, horizon_s)
    else:
        rungs = ladder_of_batches(one.scenario, run.log, run.meta["loop"], predicted, warmup_s, horizon_s)
    return tuple(rung for rung in rungs if rung.class_name == "all")
