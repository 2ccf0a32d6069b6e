"""Section 11: what each strategy brings at equal load and at equal SLO, what it costs, who wins and who pays."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from qmodel.report.document import Block, Column, Table, author, bullets, finding, paragraph, prose, section
from qmodel.report.figures import improvements, policies_against_load
from qmodel.report.inline import Content
from qmodel.report.names import (
    class_name,
    exit_name,
    listed,
    metric_name,
    policy_name,
    sentence_start,
    strategy_name,
)
from qmodel.report.quantity import Estimate, Quantity
from qmodel.report.sections.evidence import MEAN, Evidence
from qmodel.report.sections.findings import gain_words
from qmodel.report.sections.system import cut_words
from qmodel.study.plan import Setting

QUALITY = "Fréchet distance"


def blocks(study: Evidence) -> Iterator[Block]:
    """Equal load, equal SLO, and the verdict for each class."""
    yield section("Improvement", "improvement")
    base = policy_name(study.baseline)
    if not study.improvement.empty:
        yield section("At equal load", level=2)
        yield from equal_load(study, base)
    if not study.capacity.empty:
        yield section("At equal SLO", level=2)
        yield from equal_slo(study, base)
    if study.improvement.empty and study.capacity.empty:
        yield paragraph("A single strategy was studied and no class has an SLO: there is nothing to compare.")
    yield author(
        "Interpretation: say what you would recommend to the owner of this server and why, which of the "
        "numbers above you trust least, and what surprised you."
    )


def equal_load(study: Evidence, base: str) -> Iterator[Block]:
    """Figures and table of improvements at the same load."""
    yield policies_figure(study)
    yield paragraph(how(study), base=base, **device(study))
    yield paragraph("**Who wins, and who pays**, at load {load}:", load=f"{top_load(study):g}")
    yield bullets(class_verdict(study, name) for name in study.groups)
    yield improvement_figure(study)
    yield improvement_table(study, loads=high_loads(study))


def device(study: Evidence) -> dict[str, str]:
    """The device, where a text names it."""
    return {"device": study.live_device} if study.live else {}


def how(study: Evidence) -> str:
    """How improvements were obtained."""
    if study.live:
        return (
            "The improvement is 100 % less the ratio of the mean response time to that under {base} without "
            "early exit, at the same load. It was measured on {device}: both runs had the same requests at "
            "the same times, so they are compared request by request, and the interval is that of the ratio "
            "of paired batch means (Fieller [@fieller])."
        )
    return (
        "The improvement is 100 % less the ratio of the mean response time to that under {base} without early "
        "exit, at the same load. Both sides are predicted, so there is no interval."
    )


def high_loads(study: Evidence) -> list[float]:
    """The two highest loads: what the body shows; the appendix has all."""
    return all_loads(study)[-2:]


def all_loads(study: Evidence) -> list[float]:
    """Every load at which improvements are known."""
    return sorted(set(study.improvement.load))


def improvement_table(
    study: Evidence, metric: str = MEAN, label: str = "tab:improvement", loads: list[float] | None = None
) -> Table:
    """Strategies by load (default: all of them); all requests and classes side by side, quality beside them."""
    table = study.improvement
    rows = table[(table.metric == metric) & (table.load.isin(loads) if loads else True)]
    judged = study.judged and rows.quality.notna().any()
    cells = []
    for policy, setting in study.strategies:
        here = rows[(rows.policy == policy) & (rows.exit == setting)]
        for load in sorted(set(here.load)):
            at = {str(row["class"]): row for _, row in here[here.load == load].iterrows()}
            refused = Setting(policy, setting, load) in study.rejected or baseline_rejected(study, load)
            cells.append(
                (
                    policy_name(policy),
                    *study.early(exit_name(setting)),
                    f"{load:g}*" if refused else f"{load:g}",
                    *(gain_cell(at, name) for name in study.groups),
                    *((quality_cell(at),) if judged else ()),
                )
            )
    measured = f"measured on {study.live_device}, with 95 % intervals" if study.live else "predicted"
    notes = ["Positive is better. A dash: no pair of runs."] if study.live else ["Positive is better."]
    if judged:
        notes.append(f"{QUALITY} of the images delivered, and of those under the baseline; lower is better.")
    if any(str(cell).endswith("*") for row in cells for cell in row[1:3]):
        notes.append("* one of the two runs was rejected for the client's lag (@sec:validation).")
    return Table(
        label,
        prose(
            "Improvement of the {metric} over {base} at equal load, {measured}{more}.",
            more=prose("; for all loads see @tab:improvement-all")
            if loads and len(all_loads(study)) > len(loads)
            else "",
            metric=metric_name(metric),
            base=policy_name(study.baseline),
            measured=measured,
        ),
        (
            Column("Policy", sparse=True),
            *study.early(Column("Early exit", sparse=True)),
            Column(prose("Load $rho$"), align="right"),
            *(
                Column(sentence_start(class_name(n)), "percent", align="right", signed=True, decimals=0)
                for n in study.groups
            ),
            *((Column("Fréchet distance (baseline)", align="right"),) if judged else ()),
        ),
        tuple(cells),
        notes=tuple(prose(note.replace("* one", r"\* one")) for note in notes),
    )


def baseline_rejected(study: Evidence, load: float) -> bool:
    """Whether the baseline's run at this load must not be used."""
    return Setting(study.baseline, study.plain_exit, load) in study.rejected


def gain_cell(at: dict[str, pd.Series], name: str) -> Estimate | None:
    """Improvement of one class with its interval."""
    if name not in at:
        return None
    row = at[name]
    return Estimate(float(row.improvement_percent), float(row.low), float(row.high))


def quality_cell(at: dict[str, pd.Series]) -> str:
    """Quality of all requests, that of the baseline in brackets."""
    row = at.get("all", next(iter(at.values())))
    if math.isnan(row.quality):
        return "—"
    return f"{row.quality:.3f} ({row.baseline_quality:.3f})"


def top_load(study: Evidence) -> float:
    """The highest load at which improvements are known."""
    return float(study.improvement.load.max())


def class_verdict(study: Evidence, name: str) -> Content:
    """For one class: the best strategy and whoever makes it worse, at the highest load."""
    table = study.improvement
    rows = table[(table.metric == MEAN) & (table["class"] == name) & (table.load == top_load(study))]
    used = study.usable(rows)
    if baseline_rejected(study, top_load(study)) or not used.any():
        return prose("**{who}**: no pair of runs at this load may be used.", who=sentence_start(class_name(name)))
    rows = rows[used].sort_values("improvement_percent", ascending=False)
    better, worse = rows[certainly(rows, 1)], rows[certainly(rows, -1)]
    who, chance = sentence_start(class_name(name)), " beyond chance" if study.live else ""
    if better.empty:
        best = f"no strategy is better than {policy_name(study.baseline)}{chance}"
    else:
        first = better.iloc[0]
        best = f"best under {strategy_name(first.policy, first.exit)}, {gain_words(first, study, signed=True)}"
    if worse.empty:
        cost = f"no strategy makes it worse{chance}"
    else:
        names = listed(
            f"{strategy_name(row['policy'], row['exit'])} "
            f"({Quantity(row['improvement_percent'], 'percent', signed=True)})"
            for _, row in worse.iterrows()
        )
        cost = f"it pays under {names}" if name != "all" else f"the mean rises under {names}"
    return prose("**{who}**: {best}; {cost}.", who=who, best=best, cost=cost)


def certainly(rows: pd.DataFrame, sign: int) -> pd.Series:
    """Rows whose interval lies on one side of zero (for predictions: whose value does)."""
    bound = rows.low if sign > 0 else rows.high
    predicted = rows.method == "predicted"
    return (np.isfinite(bound) & (sign * bound > 0)) | (predicted & (sign * rows.improvement_percent > 0))


def policies_figure(study: Evidence) -> Block:
    """Mean response time against load, policies side by side."""
    kinds = study.groups[1:] or study.groups
    rows = study.comparison[study.comparison.predicted.notna()]
    seen = f"points are measured ({study.live_device}). " if study.live else ""
    return study.picture(
        "policies",
        policies_against_load(rows, MEAN, study.plain_exit, kinds),
        prose(
            "Mean response time against load under each policy, without early exit: lines are predicted, "
            "{seen}See which policy is lowest in each panel: what helps one class can cost another.",
            seen=seen,
        ),
        "One panel a class with a rising curve for each policy",
    )


def improvement_figure(study: Evidence) -> Block:
    """Improvements as marks with intervals, quality at the right."""
    loads = high_loads(study)
    judged = study.judged and study.improvement.quality.notna().any()
    tail = (
        " At the right: Fréchet distance of what was delivered (lower is better), dashed that of the baseline."
        if judged
        else ""
    )
    sure = (
        "hollow marks are not told from zero (95 % intervals, measured on {device})"
        if study.live
        else "predicted, without intervals"
    )
    return study.picture(
        "improvement",
        improvements(study.improvement, MEAN, loads=loads, quality_name="Fréchet distance", quality_unit=""),
        prose(
            "Improvement of mean response time over {base} at the highest loads, by strategy and class: right "
            "of zero is "
            "better; " + sure + ". See who gains, and whose marks lie left of zero." + tail,
            base=policy_name(study.baseline),
            **device(study),
        ),
        "One row a strategy with marks for the classes left and right of zero",
    )


def equal_slo(study: Evidence, base: str) -> Iterator[Block]:
    """Predicted capacities within the SLOs."""
    yield paragraph(
        "The other way round: how many requests a second can the server take before the first SLO "
        "(@tab:classes) is missed? The largest such rate is predicted by bisection to 0.2 %; it was not run "
        "live. Loads count the full service, so early exit can carry loads above 1."
    )
    yield capacity_table(study, base)
    yield finding("{text}", text=capacity_words(study))


def capacity_table(study: Evidence, base: str) -> Table:
    """Largest rate, its load, the gain, and what gives way first."""
    exits = {table.name: table for table in study.plan.tables.exit}
    rows = [
        (
            policy_name(row["policy"]),
            *study.early(exit_name(row["exit"])),
            row["rate"],
            row["load"],
            row["gain_percent"] if math.isfinite(row["gain_percent"]) else None,
            limit_words(row),
            capacity_method(study, row),
        )
        for _, row in best_first(study).iterrows()
    ]
    left = "; ".join(f"{exit_name(n)}: {cut_words(study, exits[n])}" for n in study.early_exits)
    return Table(
        "tab:capacity",
        prose(
            "Largest total rate within all SLOs, predicted from the service function fitted on {device}, and "
            "its gain over {base} without early exit.",
            device=study.device,
            base=base,
        ),
        (
            Column("Policy"),
            *study.early(Column("Early exit")),
            Column("Rate (requests/s)", digits=3),
            Column(prose("Load $rho$"), decimals=2),
            Column("Gain", "percent", signed=True, decimals=1),
            Column("Gives way first"),
            Column("Method"),
        ),
        tuple(rows),
        notes=(prose(f"Early exit leaves: {left}" + (" (quality: @tab:quality)." if study.judged else ".")),)
        if left
        else (),
    )


def best_first(study: Evidence) -> pd.DataFrame:
    """Capacities, largest first inside each exit setting."""
    order = [table.name for table in study.plan.tables.exit]
    place = study.capacity.exit.map(order.index)
    return study.capacity.assign(place=place).sort_values(["place", "rate"], ascending=[True, False], kind="stable")


def limit_words(row: pd.Series) -> str:
    """The SLO that is missed first."""
    return "stability" if row["metric"] == "stability" else f"{row['metric'].split('_')[0]} of {row['class']}"


def capacity_method(study: Evidence, row: pd.Series) -> str:
    """How the limiting metric was computed."""
    answer = study.predicted[Setting(row["policy"], row["exit"], study.plan.tables.loads[0])]
    if row["metric"] == "stability":
        return answer.method
    return answer.method_of(row["class"], row["metric"])


def capacity_words(study: Evidence) -> str:
    """The best policy, and the best with early exit."""
    table = study.capacity
    plain = table[table.exit == study.plain_exit].sort_values("rate", ascending=False, kind="stable")
    best = plain.iloc[0]
    name, rate = policy_name(best.policy), f"{best.rate:.3g} requests/s"
    text = f"Without early exit {name} carries most, {rate}{gained(best, study)}."
    early = table[table.exit != study.plain_exit].sort_values("rate", ascending=False, kind="stable")
    if len(early):
        row = early.iloc[0]
        name, rate = strategy_name(row.policy, row.exit), f"{row.rate:.3g} requests/s"
        text += f" With early exit {name} carries most, {rate}{gained(row, study)}."
    return text


def gained(row: pd.Series, study: Evidence) -> str:
    """The gain over the baseline in words; empty for the baseline itself."""
    own = (row.policy, row.exit) == (study.baseline, study.plain_exit)
    if own or not math.isfinite(row.gain_percent):
        return ""
    return f", {Quantity(row.gain_percent, 'percent', signed=True)} against {policy_name(study.baseline)}"
