"""The last stage: answers held against each other, the ladder, what each strategy brings, the arrival tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qmodel.study.delivered import setting_columns, setting_quality
from qmodel.study.host import AS_PROFILED
from qmodel.study.leaving import as_measured, asked, ladder_inputs
from qmodel.study.overload import OVERLOAD, STEADY, measured_over_horizon
from qmodel.study.plan import Setting, StudyPlan
from qmodel.study.prepare import fitted_scenario
from qmodel.study.results import Results
from qmodel.study.run_prediction import RunPrediction, as_profiled, before_the_host, mean_answer
from qmodel.study.watch import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from qmodel.answer import PolicyAnswer
    from qmodel.ladder import Rung
    from qmodel.live import LiveRun
    from qmodel.scenario import Scenario

METRICS = ("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s", "mean_wait_s", "mean_service_s")
OF_TOKENS = ("mean_ttft_s", "p50_ttft_s", "p95_ttft_s", "p99_ttft_s", "mean_tpot_s")
IMPROVEMENT = (
    "policy exit load class metric baseline improvement_percent low high basis method quality baseline_quality"
).split()
OF_BATCHES = (*METRICS[:4], *OF_TOKENS)
"""What a request of a batch waits for and is served is not told apart the same way by all instruments."""


class Evaluation:
    """What the tables are made from: plan, scenario with fitted models, predictions and live runs."""

    def __init__(self, plan: StudyPlan, results: Results) -> None:
        from qmodel.live import LiveRun

        self.plan, self.results = plan, results
        self.base: Scenario = fitted_scenario(plan, results)
        self.predicted: dict[Setting, PolicyAnswer] = results.read_predictions()
        self._held: dict[Path, RunPrediction] = {}
        self.runs: dict[Setting, list[LiveRun]] = {}
        for setting, seed in plan.live_runs:
            run = as_measured(plan, LiveRun.read(results.log(setting, seed)), setting, results)
            self.runs.setdefault(setting, []).append(run)

    def run_prediction(self, setting: Setting, run: LiveRun) -> RunPrediction:
        """What one run is held against: made at the host's speed then, or the saved prediction of its setting."""
        if not self.plan.watches_host:
            return RunPrediction(AS_PROFILED, self.predicted[setting])
        path = self.results.run_prediction(setting, run.meta["seed"])
        if path not in self._held:
            self._held[path] = RunPrediction.read(path)
        return self._held[path]

    def scenario(self, setting: Setting, run: LiveRun | None = None) -> Scenario:
        """The question of one setting, as it is run; of one run on the host as it was then."""
        return self.plan.scenario(self._base(setting, run), setting)

    def asked(self, setting: Setting, run: LiveRun | None = None) -> Scenario:
        """The same as it is predicted: with the law of what the target itself lets leave early."""
        return asked(self.plan, self.results, self._base(setting, run), setting)

    def _base(self, setting: Setting, run: LiveRun | None) -> Scenario:
        return self.base if run is None else self.run_prediction(setting, run).before.slowed(self.base)

    def each_run(self) -> Iterator[tuple[Setting, LiveRun]]:
        """Every live run with its setting."""
        for setting, runs in self.runs.items():
            for run in runs:
                yield setting, run

    def held_against(self, setting: Setting) -> PolicyAnswer:
        """What the measured answer is held against: the predictions of its runs, weighted by their requests."""
        runs = self.runs[setting]
        answers = [self.run_prediction(setting, run).answer for run in runs]
        return mean_answer(answers, [float(run.meta["requests"]["scheduled"]) for run in runs])

    @cached_property
    def measured(self) -> dict[Setting, PolicyAnswer]:
        """The measured answer of each setting, all its seeds together."""
        from qmodel.live import measured_answer

        percentiles = tuple(self.plan.tables.percentiles)
        found = {}
        for setting, runs in self.runs.items():
            asked = runs, [self.scenario(setting, run) for run in runs], percentiles
            if self.overloaded(setting):
                found[setting] = measured_over_horizon(*asked, self.held_against(setting))
            else:
                found[setting] = measured_answer(*asked, self.warmup_share(setting))
        return found

    @cached_property
    def quality(self) -> pd.DataFrame:
        """Quality of what each live setting delivered: the table `setting_quality`."""
        return setting_quality(self)

    def overloaded(self, setting: Setting) -> bool:
        """Whether the setting is one of a finite horizon."""
        return setting in self.plan.overloads

    def warmup_share(self, setting: Setting) -> float:
        """Share of each run, at its start, that is not counted: nothing of a finite horizon."""
        live = self.plan.tables.live
        return 0.0 if live is None or self.overloaded(setting) else live.warmup_share

    def warmup_s(self, setting: Setting, run: LiveRun) -> float:
        """The same in seconds."""
        return self.warmup_share(setting) * float(run.meta["horizon_s"])

    def counted(self, setting: Setting) -> pd.DataFrame:
        """The requests of all seeds after the warm-up, with ids that stay apart.

        Times are those of the host as it was profiled: of a run at a lower rate, on a slower host, they are
        shorter, so that settings can be held against each other request by request.
        """
        import pandas as pd

        runs = self.runs[setting]
        parts = [run.log[run.log.scheduled_s >= self.warmup_s(setting, run)] for run in runs]
        rate = self.predicted[setting].rate
        parts = [as_profiled(part, run.meta["rate"] / rate) for part, run in zip(parts, runs, strict=True)]
        return pd.concat([part.assign(request_id=part.request_id + i * 10**7) for i, part in enumerate(parts)])


def evaluate(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Write every table that the report and other programs read."""
    evaluation = Evaluation(plan, results)
    tables: dict[str, Callable[[Evaluation], pd.DataFrame]] = {"capacity": capacities}
    if evaluation.runs:
        tables |= {
            "runs": run_figures,
            "setting_quality": lambda evaluation: evaluation.quality,
            "arrivals": arrival_tests,
            "services": service_tests,
            "measured": measured,
            "comparison": comparison,
            "ladder": ladders,
            "improvement": improvements,
        }
    for i, (name, make) in enumerate(tables.items()):
        results.write_table(name, make(evaluation))
        watcher.update(i + 1, len(tables), name)


def _regime(evaluation: Evaluation, setting: Setting) -> str:
    return OVERLOAD if evaluation.overloaded(setting) else STEADY


def measured(evaluation: Evaluation) -> pd.DataFrame:
    """Measured metrics: policy, exit, load, rate, class, metric, value, low, high."""
    import pandas as pd

    from qmodel.answer import Answer

    frames = []
    for setting, answer in evaluation.measured.items():
        frame = Answer("", [answer]).to_frame().drop(columns=["policy", "method"])
        frames.append(frame.assign(**setting_columns(setting)))
    columns = ["policy", "exit", "load", "rate", "class", "metric", "value", "low", "high"]
    return pd.concat(frames, ignore_index=True)[columns]


def comparison(evaluation: Evaluation) -> pd.DataFrame:
    """Predicted against measured: a row a setting, class and metric.

    `predicted` is at the host's speed in the runs, `as_profiled` what had been predicted for the host as it was
    profiled; `regime` tells overload from steady state.
    """
    import pandas as pd

    from qmodel.compare import compare_results

    rows = []
    for setting, answer in evaluation.measured.items():
        metrics = OF_BATCHES if evaluation.base.system.batches else (*METRICS, *OF_TOKENS)
        saved = evaluation.predicted[setting]
        for row in compare_results(evaluation.held_against(setting), answer, metrics):
            requests = answer[row["class"]].metrics.get("requests")
            found = {k: v for k, v in row.items() if k != "policy"}
            beside = {"requests": requests, "regime": _regime(evaluation, setting),
                      "as_profiled": saved[row["class"]].metrics[row["metric"]]}  # fmt: skip
            rows.append({**setting_columns(setting), **found, **beside})
    return pd.DataFrame(rows)


def ladders(evaluation: Evaluation) -> pd.DataFrame:
    """The gap ladder of every live run: one row a class and rung; the last is the host as it was profiled."""
    import pandas as pd

    from qmodel.ladder import ladder
    from qmodel.ladder_batches import ladder_of_batches
    from qmodel.live import draw_schedule

    rows = []
    for setting, run in evaluation.each_run():
        scenario = evaluation.asked(setting, run)
        own = evaluation.plan.exit_table(setting.exit).target
        given = evaluation.run_prediction(setting, run).answer, evaluation.warmup_s(setting, run)
        horizon_s = run.meta["horizon_s"] if evaluation.overloaded(setting) else None
        schedule = draw_schedule(scenario, run.meta["horizon_s"], run.meta["seed"])
        if evaluation.base.system.batches:
            log = run.log if scenario.condition is None else as_asked_for(run.log, schedule)
            rungs = ladder_of_batches(scenario, log, run.meta["loop"], *given, horizon_s)
        else:
            log, schedule = (run.log, schedule) if own is None else ladder_inputs(run.log, schedule)
            rungs = ladder(scenario, log, schedule, *given, horizon_s)
        if evaluation.plan.watches_host:
            rungs = [*rungs, *before_the_host(evaluation.predicted[setting])]
        of = {**setting_columns(setting), "seed": run.meta["seed"], "regime": _regime(evaluation, setting)}
        rows += [{**of, **_plain(rung), "explains": rung.explains} for rung in rungs]
    columns = "policy exit load seed class rung mean_response_s low high explains regime".split()
    return pd.DataFrame(rows, columns=columns)


def as_asked_for(log: pd.DataFrame, schedule: pd.DataFrame) -> pd.DataFrame:
    """The log with the outputs that were asked for, whatever became of them while the queue was long."""
    whole = schedule.set_index("request_id").output_tokens
    return log.assign(output_tokens=log.request_id.map(whole))


def _plain(rung: Rung) -> dict[str, Any]:
    return {"class": rung.class_name, "rung": rung.rung, "mean_response_s": rung.mean_response_s,
            "low": rung.low, "high": rung.high}  # fmt: skip


def run_figures(evaluation: Evaluation) -> pd.DataFrame:
    """What must be known of each run before its numbers are believed: lag, failures, machine load, host.

    `host_before` and `host_after` say how many times as long cells of the profile took just before and just after
    the run; `host_NAME` the same by phase, or by part of an iteration, before it.
    `rejected` says why a run must not be used, and is empty otherwise; `predictions_sha256` is the hash of the
    predictions that were on disk when the run began.
    """
    import pandas as pd

    from qmodel.live import measured_answer

    rows = []
    for setting, run in evaluation.each_run():
        meta = run.meta
        scenario, host = evaluation.scenario(setting, run), evaluation.run_prediction(setting, run)
        facts = measured_answer(run, scenario, (50.0,), evaluation.warmup_share(setting)).run
        counts = {f"requests_{name}": n for name, n in meta["requests"].items()}
        lags = {f"lag_{name}": value for name, value in meta["lag"].items()}
        load = {"load_average_before": meta["load_before"], "load_average_after": meta["load_after"]}
        rows.append({**setting_columns(setting), "regime": _regime(evaluation, setting),
                     "seed": meta["seed"], "rate": meta["rate"], **counts, **lags, **load,
                     "horizon_s": meta["horizon_s"], "device": meta["engine"]["device"],
                     "emulated": run.emulated, "begun_at": meta["begun_at"], "rejected": facts["rejected"],
                     "overhead_per_step_s": facts["overhead_per_step_s"],
                     "host_before": host.before.typical, "host_after": host.after and host.after.typical,
                     **{f"host_{name}": factor for name, factor in host.before.factors.items()},
                     "predictions_sha256": meta["about"].get("predictions_sha256")})  # fmt: skip
    return pd.DataFrame(rows)


def arrival_tests(evaluation: Evaluation) -> pd.DataFrame:
    """The arrival tests of each run, all classes together and each alone; `p_NAME` is the p value of each test."""
    import pandas as pd

    from qmodel.workload.arrival_tests import test_arrivals

    rows = []
    for setting, run in evaluation.each_run():
        if setting.exit != evaluation.plan.tables.exit[0].name or setting.policy != evaluation.plan.tables.baseline:
            continue  # every policy and exit setting at this load got the very same arrivals
        scenario = evaluation.scenario(setting, run)
        for name in ["all", *(c.name for c in scenario.classes)]:
            times = run.log if name == "all" else run.log[run.log["class"] == name]
            rate = scenario.rate if name == "all" else next(c.rate for c in scenario.classes if c.name == name)
            sent = times.sent_s.to_numpy()
            watched_s = max(run.meta["horizon_s"], float(sent.max(initial=0.0)))  # the last may be sent late
            tests = test_arrivals(sent, rate, horizon_s=watched_s)
            low, high = tests.rate_ci95
            rows.append({"load": setting.load, "seed": run.meta["seed"], "class": name, "tested": tests.tested,
                         "poisson": tests.poisson, "verdict": tests.verdict,
                         **{k: v for k, v in tests.to_dict().items() if isinstance(v, int | float)},
                         "rate_low": low, "rate_high": high,
                         **{f"p_{k}": v for k, v in tests.p_values.items()}})  # fmt: skip
    return pd.DataFrame(rows)


def service_tests(evaluation: Evaluation) -> pd.DataFrame:
    """Are service times what the model takes them for? One row a run, on measured over fitted service time.

    Columns: requests, mean_ratio (measured over fitted, total over total), lag1 and lag1_p (correlation of one
    request's ratio with the next one's, in order of first service), wait_correlation and wait_p (Spearman's, ratio
    with the wait before it) and idle_per_request_s (mean time that a request waited while nobody was served). The
    last three only where service is neither shared nor interrupted; NaN elsewhere, and for fewer than 20 requests.
    """
    import pandas as pd

    rows = []
    for setting, run in evaluation.each_run():
        policy = evaluation.scenario(setting).policy
        done = run.log[(run.log.status == "ok") & run.log.service_s.notna()].sort_values("started_s")
        if done.empty:
            continue  # a server that does not tell
        whole = not policy.preemptive and policy.sharing is None and not evaluation.base.system.batches
        rows.append({**setting_columns(setting), "seed": run.meta["seed"], **_service_row(done, whole)})
    columns = "policy exit load seed requests mean_ratio lag1 lag1_p wait_correlation wait_p idle_per_request_s"
    return pd.DataFrame(rows, columns=columns.split())


def _service_row(done: pd.DataFrame, whole: bool) -> dict[str, float]:
    import numpy as np
    from scipy import stats

    row = dict.fromkeys(("lag1", "lag1_p", "wait_correlation", "wait_p", "idle_per_request_s"), float("nan"))
    row |= {"requests": float(len(done)), "mean_ratio": float(done.service_s.sum() / done.size_s.sum())}
    ratio = (done.service_s / done.size_s).to_numpy()
    if len(done) < 20 or np.ptp(ratio) == 0:
        return row
    row["lag1"], row["lag1_p"] = (float(x) for x in stats.pearsonr(ratio[:-1], ratio[1:]))
    if whole:
        wait = (done.started_s - done.scheduled_s).to_numpy()
        row["wait_correlation"], row["wait_p"] = (float(x) for x in stats.spearmanr(ratio, wait))
        free = np.maximum(done.sent_s.to_numpy()[1:], done.left_s.to_numpy()[:-1])
        row["idle_per_request_s"] = float(np.mean(np.maximum(done.started_s.to_numpy()[1:] - free, 0.0)))
    return row


def improvements(evaluation: Evaluation) -> pd.DataFrame:
    """What each live setting brings against the baseline at the same load, request by request, with intervals."""
    import pandas as pd

    from qmodel.improvement import mean_improvement, paired_responses, percentile_improvement

    rows = []
    baseline_exit = evaluation.plan.tables.exit[0].name
    judged = evaluation.quality.set_index(["policy", "exit", "load", "class"])
    for setting in evaluation.runs:
        baseline = Setting(evaluation.plan.tables.baseline, baseline_exit, setting.load)
        if setting == baseline or baseline not in evaluation.runs or evaluation.overloaded(setting):
            continue
        logs = evaluation.counted(setting), evaluation.counted(baseline)
        for name in ["all", *(c.name for c in evaluation.base.classes)]:
            pair = paired_responses(*logs, class_name=name)
            for metric, found in (
                ("mean_response_s", mean_improvement(*pair)),
                ("p95_response_s", percentile_improvement(*pair, 0.95)),
            ):
                rows.append({**setting_columns(setting), "class": name, "metric": metric,
                             "baseline": baseline.policy,
                             "improvement_percent": found.value, "low": found.low, "high": found.high,
                             "basis": "equal load", "method": "measured",
                             "quality": _distance(judged, setting, name),
                             "baseline_quality": _distance(judged, baseline, name)})  # fmt: skip
    return pd.DataFrame(rows, columns=None if rows else IMPROVEMENT)


def _distance(judged: pd.DataFrame, setting: Setting, name: str) -> float:
    """Fréchet distance of a setting's images; NaN where quality is not judged."""
    if "frechet_distance" not in judged:
        return float("nan")
    return float(judged.frechet_distance[(setting.policy, setting.exit, setting.load, name)])


def capacities(evaluation: Evaluation) -> pd.DataFrame:
    """Largest rate that meets the SLOs under each policy and exit setting, predicted, and its gain."""
    import pandas as pd

    from qmodel.capacity import capacity

    if not any(c.slo for c in evaluation.base.classes):
        return pd.DataFrame(columns=["policy", "exit", "rate", "load", "class", "metric", "gain_percent"])
    load = evaluation.plan.tables.loads[0]
    rows = []
    for exit_setting in evaluation.plan.tables.exit:
        for policy in evaluation.plan.tables.policies:
            scenario = evaluation.scenario(Setting(policy, exit_setting.name, load))
            found = capacity(scenario)
            limit = found.limited_by or ("all", "stability")
            row = {"policy": policy, "exit": exit_setting.name, "rate": found.rate}
            rows.append(row | {"load": load * found.rate / scenario.rate, "class": limit[0], "metric": limit[1]})
    frame = pd.DataFrame(rows)
    baseline = frame[
        (frame.policy == evaluation.plan.tables.baseline) & (frame.exit == evaluation.plan.tables.exit[0].name)
    ]
    return frame.assign(gain_percent=100 * (frame.rate / float(baseline.rate.iloc[0]) - 1))
