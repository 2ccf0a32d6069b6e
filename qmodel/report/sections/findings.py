"""The sentences that a reader wants first, written by rule: each with its number, its interval and its method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pandas as pd

from qmodel.answer import PolicyAnswer
from qmodel.report.names import class_name, counted, listed, metric_name, policy_name, strategy_name
from qmodel.report.quantity import Estimate, Quantity
from qmodel.report.sections.evidence import MEAN, Evidence
from qmodel.study.plan import Setting

WELL_BELOW_SATURATION = 0.7
"""Largest load of the first sentence: above it the intervals of short runs are wide."""
SLIGHT_GAIN_PERCENT = 0.5
"""Gains in capacity below this are within the precision of the search."""


def sentences(study: Evidence) -> tuple[str, str, str]:
    """Three sentences: how well predictions hold, what the best strategy brings, what it is worth in capacity.

    Where a study has no live runs, a single strategy or no SLO, the next best finding takes the place.
    """
    finders: list[Callable[[Evidence], Iterator[str]]] = [prediction, improvement, capacity, service, outlook]
    found = [sentence for finder in finders for sentence in finder(study)]
    first, second, third = found[:3]
    return first, second, third


def prediction(study: Evidence) -> Iterator[str]:
    """The baseline's mean response time, predicted and measured, and how many means lie inside their intervals."""
    if not study.live:
        return
    plain = study.measured_comparison
    means = plain[plain.metric == MEAN]
    rows = means[(means.policy == study.baseline) & (means.exit == study.plain_exit) & (means["class"] == "all")]
    if rows.empty:
        return
    row = typical_row(rows)
    estimate = Estimate(row.measured, row.low, row.high, "s")
    answer = study.predicted[Setting(row.policy, row.exit, row.load)]
    method = method_words(answer, "all", MEAN)
    yield (
        f"Under {policy_name(row.policy)} at load {row.load:g} the mean response time of all requests is "
        f"predicted as {Quantity(row.predicted, 's')} ({method}); the live run on {study.live_device} measured "
        f"{measured_words(estimate)}, so the prediction is off by "
        f"{Quantity(row.relative_error, 'ratio', signed=True)}; {inside_words(means[means['class'] == 'all'])}."
    )


def typical_row(rows: pd.DataFrame) -> pd.Series:
    """The highest load that is well below saturation, else the lowest; runs that were not rejected first."""
    usable = rows[~rows.rejected.astype(bool)]
    rows = (rows if usable.empty else usable).sort_values("load")
    below = rows[rows.load <= WELL_BELOW_SATURATION]
    return rows.iloc[0] if below.empty else below.iloc[-1]


def measured_words(estimate: Estimate) -> str:
    """A measured mean with its interval, or why it has none."""
    if not finite_interval(estimate):
        return f"{Quantity(estimate.value, estimate.unit)} (no 95 % interval: the run is too short)"
    return str(estimate).replace("95\u00a0% interval", "95\u00a0% interval by batch means")


def finite_interval(estimate: Estimate) -> bool:
    """Whether both ends are known numbers."""
    ends = (estimate.low, estimate.high)
    return all(end is not None and math.isfinite(end) for end in ends)


def inside_words(rows: pd.DataFrame) -> str:
    """How many predictions lie inside the intervals of their measurements."""
    inside, judged = inside_count(rows)
    if judged == 0:
        return "no live run is long enough for an interval to hold its prediction against"
    if inside == judged:
        which = {1: "in the one setting", 2: "in both settings"}.get(judged, f"in all {judged} settings")
        return f"{which} that can be judged the predicted mean lies inside the 95 % interval of the live run"
    return (
        f"in {inside} of {counted(judged, 'setting')} that can be judged the predicted mean lies inside the "
        f"95 % interval of the live run"
    )


def inside_count(rows: pd.DataFrame) -> tuple[int, int]:
    """Predictions inside their interval, and those that have one and come from a run that may be used."""
    known = rows[rows.inside.notna() & ~rows.rejected.astype(bool)]
    return int(known.inside.astype(bool).sum()), len(known)


def method_words(answer: PolicyAnswer, class_key: str, metric: str) -> str:
    """How a predicted metric was obtained.

    >>> method_words(PolicyAnswer("fcfs", 1.0, "exact", "M/G/1 FCFS", 0.5, []), "all", "mean_response_s")
    'exact, M/G/1 FCFS'
    """
    known = any(part.name == class_key for part in answer.classes)
    method = answer.method_of(class_key, metric) if known else answer.method
    if method == "simulation":
        requests = answer.run.get("requests")
        return "simulation" + (f" of {requests:,} requests" if requests else "")
    return f"{method}, {answer.result}"


def improvement(study: Evidence) -> Iterator[str]:
    """The largest gain over the baseline in the mean response time of all requests, at the highest load."""
    table = study.improvement
    rows = table[(table.metric == MEAN) & (table["class"] == "all")]
    rows = rows[study.usable(rows)]
    if rows.empty:
        return
    rows = rows[rows.load == rows.load.max()].sort_values("improvement_percent", ascending=False)
    certain = rows[(rows.low > 0) | (rows.method == "predicted")]
    certain = certain[certain.improvement_percent > 0]
    load, base = rows.load.iloc[0], policy_name(study.baseline)
    if certain.empty:
        yield no_gain(rows.iloc[0], base, study)
        return
    best = certain.iloc[0]
    sentence = (
        f"At load {load:g} the largest gain over {base} in the mean response time of all requests is "
        f"{gain_words(best, study)}, under {strategy_name(best.policy, best.exit)}{quality_words(best)}"
    )
    plain = certain[certain.exit == study.plain_exit]
    if best.exit != study.plain_exit and len(plain):
        row = plain.iloc[0]
        sentence += f"; without early exit it is {gain_words(row, study)}, under {policy_name(row.policy)}"
    yield sentence + "."


def no_gain(row: pd.Series, base: str, study: Evidence) -> str:
    """The sentence for a study in which nothing improves beyond chance."""
    name = strategy_name(row.policy, row.exit)
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        beyond = "so that a gain can be told from chance"
        return (
            f"At load {row.load:g} no strategy lowers the mean response time of all requests against {base} "
            f"{beyond}: the most favourable, {name}, changes it by {gain_words(row, study, signed=True)}."
        )
    return (
        f"At load {row.load:g} no strategy lowers the mean response time of all requests against {base} beyond "
        f"chance: under {name}, the most favourable, the gain is {gain_words(row, study, signed=True)}."
    )


def gain_words(row: pd.Series, study: Evidence, signed: bool = False) -> str:
    """A gain in per cent with its interval and its method."""
    value = Quantity(row.improvement_percent, "percent", signed=signed)
    if row.method == "predicted":
        return f"{value} (predicted, no interval)"
    estimate = Estimate(row.improvement_percent, row.low, row.high, "percent")
    if not finite_interval(estimate):
        return f"{value} (measured, the run is too short for an interval)"
    interval = str(estimate).partition("(")[2].rstrip(")")
    return f"{value} ({interval}, paired live runs on {study.live_device})"


def quality_words(row: pd.Series) -> str:
    """What the gain costs in quality, where it was judged."""
    if math.isnan(row.quality) or math.isnan(row.baseline_quality):
        return ""
    if math.isclose(row.quality, row.baseline_quality, rel_tol=1e-9):
        return ", at equal quality"
    ours, theirs = Quantity(row.quality, digits=2), Quantity(row.baseline_quality, digits=2)
    return f", at a Fréchet distance of {ours} against {theirs}"


def capacity(study: Evidence) -> Iterator[str]:
    """The largest rate within the SLOs under the best strategy against the baseline."""
    table = study.capacity
    if table.empty:
        return
    plain = table[table.exit == study.plain_exit]
    base = plain[plain.policy == study.baseline].iloc[0]
    best = plain.sort_values("rate", ascending=False, kind="stable").iloc[0]
    base_name = policy_name(study.baseline)
    how = f"{limit_words(best, study)}; no interval, the service times are taken as they are"
    if best.rate <= base.rate * (1 + SLIGHT_GAIN_PERCENT / 100):
        others = " and no other policy raises that" if len(plain) > 1 else ""
        sentence = (
            f"Within the SLOs the server is predicted to take {rate(base.rate)} under {base_name}{others} ({how})"
        )
    else:
        sentence = (
            f"Within the SLOs the server is predicted to take {rate(best.rate)} under "
            f"{policy_name(best.policy)} against {rate(base.rate)} under "
            f"{base_name}{more_words(best.rate, base.rate)} ({how})"
        )
    early = table[table.exit != study.plain_exit].sort_values("rate", ascending=False, kind="stable")
    if len(early) and early.rate.iloc[0] > best.rate * (1 + SLIGHT_GAIN_PERCENT / 100):
        row = early.iloc[0]
        sentence += f"; with early exit {strategy_name(row.policy, row.exit)} takes {rate(row.rate)}"
    yield sentence + "."


def rate(value: float) -> str:
    """A rate in words.

    >>> rate(149.05)
    '149 requests/s'
    """
    return f"{Quantity(value)} requests/s".replace("\u00a0", " ")


def more_words(value: float, base: float) -> str:
    """How much more that is.

    >>> more_words(3.0, 2.0), more_words(3.0, 0.0)
    (', 50 % more', '')
    """
    return f", {100 * (value / base - 1):.0f} % more" if base > 0 else ""


def limit_words(row: pd.Series, study: Evidence) -> str:
    """What gives way first above a capacity, and how it was computed."""
    if row.metric == "stability":
        return "stability ends before any SLO is missed"
    answer = study.predicted[Setting(row.policy, row.exit, study.plan.tables.loads[0])]
    method = answer.method_of(row["class"], row.metric)
    name = metric_name(row.metric)
    return f"{by_method(method)}, limited by the {name} of {class_name(row['class'])}"


def by_method(method: str) -> str:
    """A method as an aside.

    >>> by_method("exact"), by_method("simulation")
    ('exact by theory', 'by simulation')
    """
    return {"exact": "exact by theory", "simulation": "by simulation"}.get(method, method)


def service(study: Evidence) -> Iterator[str]:
    """How well the fitted service function holds at levels it has not seen."""
    for phase, fit in study.fits.items():
        errors = fit.model.statistics["cross_validated"]
        where = "at factor levels left out of the fit"
        if errors.get("median") is None:
            errors, where = fit.model.statistics["in_sample"], "at the cells it was fitted to"
        yield (
            f"The fitted service function of {phase} on {study.device} is off by "
            f"{Quantity(errors['median'], 'ratio')} in the median and by {Quantity(errors['p95'], 'ratio')} "
            f"in 95 of 100 cells {where} (measured in {counted(len(fit.cells), 'cell')})."
        )


def outlook(study: Evidence) -> Iterator[str]:
    """Predicted latency of the baseline at the highest load."""
    setting = Setting(study.baseline, study.plain_exit, max(study.plan.tables.loads))
    answer = study.predicted[setting]
    for metric in (*study.percentiles[::-1], MEAN):
        value = answer["all"].metrics.get(metric)
        if value is not None:
            yield (
                f"Under {policy_name(setting.policy)} at load {setting.load:g} the {metric_name(metric)} of "
                f"all requests is predicted as {Quantity(value, 's')} ({method_words(answer, 'all', metric)}; "
                f"no interval, the service times are taken as they are)."
            )
    rates = listed(f"{rate:g}" for rate in sorted({a.rate for a in study.predicted.values()}))
    yield f"Predictions were made at total rates of {rates} requests/s (no interval: rates are set)."
