"""What the sections read: a study's plan and results, each loaded once; nothing is measured here."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qmodel.answer import PolicyAnswer, percentile_name
from qmodel.errors import InputError
from qmodel.report.document import Figure
from qmodel.report.figures.picture import picture
from qmodel.report.inline import Contentlike
from qmodel.study.leaving import asked
from qmodel.study.plan import Setting, StudyPlan
from qmodel.study.prepare import fit_phase, fitted_scenario, iteration_fit
from qmodel.study.results import Results
from qmodel.study.run_prediction import HOST_RUNG

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from qmodel.fit.iteration_times import IterationFit
    from qmodel.fit.result import FitResult
    from qmodel.live import LiveRun
    from qmodel.measure import ProfileSummary
    from qmodel.scenario import Scenario

WHERE = ["policy", "exit", "load"]
MEAN = "mean_response_s"


@dataclass(frozen=True)
class Evidence:
    """Plan and results of one study, and the folder of its report."""

    plan: StudyPlan
    results: Results
    folder: Path

    # --- the profile and its fit

    @cached_property
    def profile(self) -> ProfileSummary:
        """Cells, drift and pacing of the profile."""
        from qmodel.measure import summarise_profile

        return summarise_profile(self.results.profile)

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What stands beside the profile: machine, target, design. Raises InputError."""
        path = self.results.profile.with_suffix(".meta.toml")
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(str(path), "is not the metadata of a profile", "run the study first") from error

    @property
    def profiled(self) -> bool:
        """Whether service times were measured in this study; else the scenario brings its model."""
        return self.plan.profile_path is not None

    @property
    def target(self) -> str:
        """The kind of target, empty where nothing computes."""
        return str(self.plan.target.get("kind", ""))

    @cached_property
    def machine(self) -> dict[str, Any]:
        """The machine that was measured on; empty where nothing was."""
        if self.profiled:
            return dict(self.meta["machine"])
        return dict(self.log(self.plan.live_settings[0]).meta["machine"]) if self.live else {}

    @property
    def device(self) -> str:
        """What computed."""
        if self.profiled:
            return str(self.meta["target"]["device"])
        return self.live_device or "no device"

    @cached_property
    def fits(self) -> dict[str, FitResult]:
        """The fit of each phase with all its evidence, made again from the same rows."""
        return {phase: fit_phase(self.plan, self.results, phase) for phase in self.plan.phases}

    @cached_property
    def iterations(self) -> IterationFit | None:
        """The fit of the iteration time of a server of batches, made again; None where none was fitted."""
        fit = self.plan.tables.fit
        return iteration_fit(self.plan, self.results) if fit and fit.iteration_time else None

    @property
    def batches(self) -> bool:
        """Whether requests are served together."""
        return self.base.system.batches

    @cached_property
    def base(self) -> Scenario:
        """The scenario with the fitted models."""
        return fitted_scenario(self.plan, self.results)

    # --- predictions

    @cached_property
    def predicted(self) -> dict[Setting, PolicyAnswer]:
        """The saved predictions."""
        return self.results.read_predictions()

    @property
    def plain_exit(self) -> str:
        """The setting without early exit, against which the others are held: the first of the plan."""
        return self.plan.tables.exit[0].name

    @property
    def baseline(self) -> str:
        """The policy against which the others are held."""
        return self.plan.tables.baseline

    @property
    def early_exits(self) -> list[str]:
        """The other settings."""
        return [table.name for table in self.plan.tables.exit[1:]]

    def early(self, cell: Any) -> tuple[Any, ...]:
        """The cell, or the column, of the early-exit setting: none where the study has no early exit."""
        return (cell,) if self.early_exits else ()

    @property
    def strategies(self) -> list[tuple[str, str]]:
        """Policy and exit setting of everything that is predicted, plain policies first."""
        return [(p, e.name) for e in self.plan.tables.exit for p in self.plan.tables.policies]

    @property
    def classes(self) -> list[str]:
        """Names of the request classes."""
        return [request_class.name for request_class in self.base.classes]

    @property
    def groups(self) -> list[str]:
        """`all` and the classes; a single class is `all`."""
        return ["all", *self.classes] if len(self.classes) > 1 else ["all"]

    @cached_property
    def percentiles(self) -> list[str]:
        """Names of the percentiles of response time that the study asks for."""
        return [percentile_name(percent) for percent in sorted(self.plan.tables.percentiles)]

    def fixed_exit_scenario(self, setting: str) -> Scenario:
        """The scenario under an exit setting, at the first load and under the baseline policy."""
        where = Setting(self.baseline, setting, self.plan.tables.loads[0])
        return asked(self.plan, self.results, self.base, where)

    # --- live runs

    @property
    def live(self) -> bool:
        """Whether anything was run live."""
        return bool(self.plan.live_settings)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a live run."""
        return self.results.read_table("runs")

    @cached_property
    def live_device(self) -> str:
        """What computed in the live runs."""
        return " and ".join(dict.fromkeys(self.runs.device.astype(str))) if self.live else ""

    @cached_property
    def rejected(self) -> dict[Setting, str]:
        """Settings with a run that must not be used, and why."""
        if not self.live:
            return {}
        rows = self.runs[self.runs.rejected.notna()]
        return dict(zip(settings_of(rows), rows.rejected.astype(str), strict=True))

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Predictions of all settings in a steady state, beside what was measured; see `everything_compared`."""
        return self.everything_compared[~self._overloaded(self.everything_compared)]

    @cached_property
    def overload(self) -> pd.DataFrame:
        """The same of the runs in overload over a finite horizon."""
        return self.everything_compared[self._overloaded(self.everything_compared)]

    def _overloaded(self, rows: pd.DataFrame) -> pd.Series[bool]:
        found = [setting in self.plan.overloads for setting in settings_of(rows)]
        return pd.Series(found, rows.index, dtype=bool)

    @cached_property
    def everything_compared(self) -> pd.DataFrame:
        """Predictions of all settings, classes and metrics, beside what was measured where it was.

        Columns: policy, exit, load, rate, class, metric, predicted, predicted_method, measured, low, high,
        relative_error, inside, requests, rejected. What was measured is held against the prediction at the host's
        speed in the runs. Raises InputError when the measured table was made with other predictions.
        """
        keys = [*WHERE, "class", "metric"]
        predicted = self._predicted_frame()
        empty = ["measured", "low", "high", "relative_error", "inside", "requests"]
        if not self.live:
            return predicted.assign(**dict.fromkeys(empty, np.nan), rejected=False)
        measured = self.results.read_table("comparison").rename(columns={"predicted": "at_host_speed"})
        if "as_profiled" not in measured:
            measured["as_profiled"] = measured.at_host_speed
        joined = predicted.merge(measured[[*keys, "as_profiled", "at_host_speed", *empty]], on=keys, how="left")
        known = joined.dropna(subset=["as_profiled", "predicted"])
        if len(known) < len(measured) or not np.allclose(known.predicted, known.as_profiled, rtol=1e-9):
            raise InputError(
                str(self.results.table("comparison")), "was made with other predictions", "run the study again"
            )
        joined["predicted"] = joined.at_host_speed.fillna(joined.predicted)
        return joined.drop(columns=["as_profiled", "at_host_speed"]).assign(rejected=~self.usable(joined))

    def usable(self, rows: pd.DataFrame) -> pd.Series[bool]:
        """Rows of settings whose runs were not rejected."""
        return pd.Series([setting not in self.rejected for setting in settings_of(rows)], rows.index, dtype=bool)

    def _predicted_frame(self) -> pd.DataFrame:
        rows = [
            {
                "policy": setting.policy,
                "exit": setting.exit,
                "load": setting.load,
                "rate": answer.rate,
                "class": part.name,
                "metric": metric,
                "predicted": np.nan if value is None else value,
                "predicted_method": answer.method_of(part.name, metric),
            }
            for setting, answer in self.predicted.items()
            for part in answer.classes
            for metric, value in part.metrics.items()
            if metric.endswith(("_response_s", "_wait_s", "_service_s", "_ttft_s", "_tpot_s"))
        ]
        return pd.DataFrame(rows)

    @cached_property
    def measured_comparison(self) -> pd.DataFrame:
        """Rows that were measured."""
        return self.comparison[self.comparison.measured.notna()]

    @cached_property
    def ladder(self) -> pd.DataFrame:
        """The gap ladder of each setting in a steady state, seeds averaged."""
        table = self.results.read_table("ladder")
        table = table[~self._overloaded(table) & (table.rung != HOST_RUNG)]
        return averaged(table, [*WHERE, "class", "rung"])

    @cached_property
    def improvement(self) -> pd.DataFrame:
        """Improvements over the baseline at equal load: measured, or predicted where nothing was run live."""
        if self.live:
            return self.results.read_table("improvement")
        return self._predicted_improvement()

    def _predicted_improvement(self) -> pd.DataFrame:
        rows = self.comparison[self.comparison.metric.isin([MEAN, "p95_response_s"])]
        same = rows[(rows.policy == self.baseline) & (rows.exit == self.plain_exit)]
        keys = ["load", "class", "metric"]
        joined = rows.merge(same[[*keys, "predicted"]], on=keys, suffixes=("", "_baseline"))
        others = joined[(joined.policy != self.baseline) | (joined.exit != self.plain_exit)]
        gain = 100.0 * (1.0 - others.predicted / others.predicted_baseline)
        unknown = dict.fromkeys(("low", "high", "quality", "baseline_quality"), np.nan)
        frame = others[[*WHERE, "class", "metric"]].assign(improvement_percent=gain, **unknown)
        return frame.assign(baseline=self.baseline, basis="equal load", method="predicted").reset_index(drop=True)

    @cached_property
    def arrivals(self) -> pd.DataFrame:
        """Arrival tests by load and class."""
        return self.results.read_table("arrivals")

    @cached_property
    def services(self) -> pd.DataFrame:
        """Tests of the service times of each run."""
        return self.results.read_table("services")

    @cached_property
    def capacity(self) -> pd.DataFrame:
        """Largest rates within the SLOs; no rows where no class has one."""
        return self.results.read_table("capacity")

    def log(self, setting: Setting) -> LiveRun:
        """The first live run of a setting."""
        from qmodel.live import LiveRun

        live = self.plan.tables.live
        assert live is not None
        return LiveRun.read(self.results.log(setting, live.seeds[0]))

    # --- quality

    @property
    def judged(self) -> bool:
        """Whether the quality of the output was judged."""
        return self.plan.tables.quality is not None

    @cached_property
    def quality(self) -> pd.DataFrame:
        """Quality by number of steps."""
        return self.results.read_table("quality")

    # --- the report's own

    @cached_property
    def finished(self) -> datetime.date:
        """The day when the last stage ended, as the results record it."""
        stamps = list(self.results.read_state().get("stages", {}).values())
        stamps += [str(self.meta["begun_at"])] if self.profiled else []
        if not stamps:
            raise InputError(str(self.results.state), "names no finished stage", "run the study first")
        return max(datetime.date.fromisoformat(stamp[:10]) for stamp in stamps)

    def picture(self, name: str, drawing: Drawing, caption: Contentlike, alt: str) -> Figure:
        """Save a drawing in the report's folder; its block."""
        return picture(self.folder, name, drawing, caption, alt)


def settings_of(rows: pd.DataFrame) -> list[Setting]:
    """The setting of each row."""
    where = zip(rows.policy, rows.exit, rows.load, strict=True)
    return [Setting(str(policy), str(setting), float(load)) for policy, setting, load in where]


def averaged(table: pd.DataFrame, keys: Sequence[str], value: str = MEAN) -> pd.DataFrame:
    """Means over seeds, with the interval of the mean of independent runs.

    >>> runs = pd.DataFrame({"rung": ["live", "live"], MEAN: [1.0, 3.0], "low": [0.7, 2.6], "high": [1.3, 3.4]})
    >>> averaged(runs, ["rung"])[[MEAN, "low", "high"]].round(3).values.tolist()
    [[2.0, 1.75, 2.25]]
    """
    half = (table.high - table.low) / 2
    grouped = table.assign(square=half**2).groupby(list(keys), sort=False)
    found = grouped.agg(**{value: (value, "mean"), "square": ("square", lambda s: s.sum(skipna=False))})
    width = np.sqrt(found.square) / grouped.size()
    return found.assign(low=found[value] - width, high=found[value] + width).drop(columns="square").reset_index()
