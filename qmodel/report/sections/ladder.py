"""Section 10: where the gaps between live runs and theory come from, one change a rung."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qmodel.report.document import Block, Column, Table, bullets, paragraph, prose, section
from qmodel.report.figures import gap_ladder
from qmodel.report.inline import Content
from qmodel.report.names import exit_name, policy_name, sentence_start, setting_name
from qmodel.report.quantity import Estimate, Quantity
from qmodel.report.sections.evidence import MEAN, Evidence, settings_of
from qmodel.study.plan import Setting

STEPS = {
    "measured services": "serving loop",
    "fitted services": "service times",
    "poisson arrivals": "arrivals",
    "theory": "idealisation",
}
"""What each rung changes against the one above it, as a column head."""

CAUSES = {
    "measured services": (
        "hand-over between processes, decisions between steps and the client's lag made latency {more} than "
        "in the simulated queue"
    ),
    "fitted services": "the work in these runs took {more} than the fitted function says",
    "poisson arrivals": (
        "the arrivals of these runs by chance made {more} waiting than a Poisson process does in the long run"
    ),
    "theory": "steps can be neither divided nor interrupted, which made latency {more} than theory's ideal",
}
"""What each change is due to; `more` is filled in by its sign."""

MORE = {
    "measured services": ("longer", "shorter"),
    "fitted services": ("longer", "less time"),
    "poisson arrivals": ("more", "less"),
    "theory": ("longer", "shorter"),
}
"""What the run had where a rung lowers the mean, and where it raises it."""

LARGEST = 4
"""Settings beside the baseline that are shown: those with the largest gaps."""
NOTABLE = 0.10
"""Gaps above this share are explained one by one."""


@dataclass(frozen=True)
class Gap:
    """One setting: live mean with its interval, what each rung adds relative to it, and the gap in all."""

    setting: Setting
    live: Estimate
    steps: dict[str, float]
    total: float

    @property
    def dominant(self) -> str:
        """The rung that brings most of the gap: the largest change in the gap's own direction."""
        sign = np.sign(self.total) or 1.0
        return max(self.steps, key=lambda rung: sign * self.steps[rung])

    @property
    def certain(self) -> bool:
        """Whether theory lies outside the live interval."""
        low, high, live = self.live.low, self.live.high, self.live.value
        if low is None or high is None or live is None or not np.isfinite([low, high]).all():
            return False
        return not low <= live * (1 + self.total) <= high


def blocks(study: Evidence) -> Iterator[Block]:
    """Explanation, figure, table, and the larger gaps one by one; one sentence where nothing was run live."""
    yield section("The gap ladder", "ladder")
    if not study.live:
        yield paragraph("Nothing was run live in this study, so there is no gap to explain.")
        return
    yield paragraph(
        "The gap between a live run and theory is taken apart by counterfactuals, each of which changes one "
        "thing: the *live run*; the same arrivals and the measured service times through a simulated queue "
        "(what is lost is the *serving loop*); the fitted in place of the measured *service times*; fresh "
        "Poisson *arrivals*, very many; and *theory*. The changes add up to the whole gap (@fig:ladder, "
        "@tab:ladder)."
    )
    yield ladder_figure(study)
    shown = shown_gaps(study)
    yield ladder_table(study, shown)
    notable = [gap for gap in shown if abs(gap.total) > NOTABLE]
    if notable:
        yield paragraph(
            "What is behind the gaps above 10 % (in brackets: what this adds, of the whole gap, relative to "
            "the live mean):"
        )
        yield bullets(explanations(notable))
    else:
        yield paragraph("No setting shown has a gap above 10 %.")


def gaps(study: Evidence) -> list[Gap]:
    """The ladder of every setting, for all requests."""
    rows = study.ladder[study.ladder["class"] == "all"]
    found = []
    for _, group in rows.groupby(["policy", "exit", "load"], sort=False):
        gap = gap_of(settings_of(group)[0], group)
        if gap is not None:
            found.append(gap)
    return found


def gap_of(setting: Setting, rows: pd.DataFrame) -> Gap | None:
    """Changes between neighbouring rungs; None where a rung is missing.

    A server that does not tell how long its iterations took has no rung of its own services: its serving loop and
    its service times are one step.
    """
    rungs = {str(row["rung"]): row for _, row in rows.iterrows()}
    untold = {"measured services"} - rungs.keys()
    steps = [name for name in STEPS if name not in untold]
    values = np.array([float(rungs[name][MEAN]) if name in rungs else np.nan for name in ("live", *steps)])
    if not np.isfinite(values).all():
        return None
    live = rungs["live"]
    changes = np.diff(values) / values[0]
    estimate = Estimate(float(live[MEAN]), float(live.low), float(live.high))
    return Gap(
        setting, estimate, dict(zip(steps, map(float, changes), strict=True)), float(values[-1] / values[0] - 1)
    )


def shown_gaps(study: Evidence) -> list[Gap]:
    """The baseline at all loads, then the settings with the largest gaps; rejected runs are left out."""
    known = [gap for gap in gaps(study) if gap.setting not in study.rejected]
    base = [g for g in known if (g.setting.policy, g.setting.exit) == (study.baseline, study.plain_exit)]
    others = sorted((g for g in known if g not in base), key=lambda g: -abs(g.total))
    return [*sorted(base, key=lambda g: g.setting.load), *others[:LARGEST]]


def ladder_table(study: Evidence, shown: list[Gap]) -> Table:
    """What each change adds, in per cent of the live mean."""
    rows = [
        (
            policy_name(gap.setting.policy),
            *study.early(exit_name(gap.setting.exit)),
            gap.setting.load,
            gap.live,
            *(gap.steps.get(rung) for rung in STEPS),
            gap.total,
        )
        for gap in shown
    ]
    left_out = f" {len(study.rejected)} rejected runs are left out." if study.rejected else ""
    return Table(
        "tab:ladder",
        prose(
            "The ladder for the baseline at all loads and for the settings with the largest gaps: mean "
            "response time of all requests, measured live on {device}, and what each change adds in per cent "
            "of it.{left_out}",
            device=study.live_device,
            left_out=left_out.replace(" 1 rejected runs are", " 1 rejected run is"),
        ),
        (
            Column("Policy", sparse=True),
            *study.early(Column("Early exit", sparse=True)),
            Column(prose("Load $rho$"), decimals=2),
            Column("Live [95 % interval]", "s", align="right"),
            *(Column(sentence_start(head), "ratio", signed=True) for head in STEPS.values()),
            Column("Whole gap", "ratio", signed=True),
        ),
        tuple(rows),
        notes=(
            "Live: measured. Serving loop, service times, arrivals: simulated. Idealisation: theory, or a "
            "simulation of ideal service where theory has no result.",
        ),
    )


def explanations(notable: list[Gap]) -> Iterator[Content]:
    """Gaps by the rung that brings most of them, and by its sign."""
    groups: dict[tuple[str, bool], list[Gap]] = {}
    for gap in notable:
        groups.setdefault((gap.dominant, gap.steps[gap.dominant] > 0), []).append(gap)
    for (rung, up), members in groups.items():
        yield prose(
            "**{head}**: {cause}. This is the largest part of the gap {where}.",
            head=sentence_start(STEPS[rung]),
            cause=CAUSES[rung].format(more=MORE[rung][up]),
            where="; ".join(gap_words(gap) for gap in members),
        )


def gap_words(gap: Gap) -> str:
    """One gap: how large, what its main rung adds, and whether the run was long enough to tell."""
    doubt = "" if gap.certain else ", inside the interval of the live run"
    total, part = (Quantity(x, "ratio", signed=True) for x in (gap.total, gap.steps[gap.dominant]))
    return f"under {setting_name(gap.setting)} ({part} of {total}{doubt})"


def ladder_figure(study: Evidence) -> Block:
    """The baseline at all loads."""
    rows = study.ladder
    policy, setting = study.baseline, study.plain_exit
    if rows[(rows.policy == policy) & (rows.exit == setting)].empty:
        policy, setting = rows.policy.iloc[0], rows.exit.iloc[0]
    return study.picture(
        "ladder",
        gap_ladder(rows, policy, setting),
        prose(
            "From live run to theory under {policy}, all requests, one panel a load: each bar is what one "
            "change does to the mean response time, in per cent of the live mean; whiskers are 95 % "
            "intervals. See which bar is longest, and whether it is longer than the whiskers.",
            policy=policy_name(policy),
        ),
        "Five rungs from top to bottom in each panel, joined by bars",
    )
