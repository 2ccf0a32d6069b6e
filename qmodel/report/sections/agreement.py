"""Figures of predictions and live runs: against load, against one another, and one distribution whole."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.report.document import Block, prose
from qmodel.report.figures import latency_against_load, predicted_against_measured, response_times
from qmodel.report.names import listed, setting_name, short_metric
from qmodel.report.sections.evidence import MEAN, Evidence
from qmodel.study.plan import Setting


def load_figure(study: Evidence) -> Block:
    """Mean and percentiles against load, by class and policy, without early exit."""
    kinds = study.classes if len(study.groups) > 1 else ["all"]
    metrics = [MEAN, *study.percentiles]
    rows = study.comparison[study.comparison.metric.isin(metrics) & study.comparison.predicted.notna()]
    measured = "points with bars are measured ({device}), hollow where the interval misses the prediction"
    return study.picture(
        "latency",
        latency_against_load(rows, study.plain_exit, kinds, study.plan.tables.policies),
        prose(
            "Response time against load without early exit, by class and policy: lines are predicted"
            + (
                f", {measured}. See whether points sit on their lines, and how the tails part from the mean."
                if study.live
                else ". See how the tails part from the mean as the load grows."
            ),
            **({"device": study.live_device} if study.live else {}),
        ),
        "A grid of panels, classes by policies, with rising curves for mean and percentiles and points on them",
    )


def agreement_figure(study: Evidence) -> Block:
    """Predicted against measured, all settings."""
    metrics = [m for m in (MEAN, "p95_response_s") if m in {MEAN, *study.percentiles}]
    rows = study.measured_comparison
    rows = rows[rows["class"].isin(study.classes) | (len(study.groups) == 1)]
    return study.picture(
        "agreement",
        predicted_against_measured(rows, metrics),
        prose(
            "Predicted against measured ({device}), one point a setting and class, early exit included; the "
            "bar is the 95 % interval of the measurement, the band holds errors within 10 %. Points above the "
            "diagonal are predicted too slow, points below it too fast.",
            device=study.live_device,
        ),
        "Points around the diagonal of a square plot on logarithmic axes",
    )


def distribution_figure(study: Evidence) -> Iterator[Block]:
    """The whole distribution of one run of the baseline."""
    setting = shown_setting(study)
    if setting is None:
        return
    run = study.log(setting)
    log = run.log[run.log.status == "ok"]
    kinds = study.classes if len(study.groups) > 1 else ["all"]
    parts = {kind: log if kind == "all" else log[log["class"] == kind] for kind in kinds}
    responses = {kind: (part.done_s - part.scheduled_s).to_numpy() for kind, part in parts.items() if len(part) > 1}
    rows = study.measured_comparison
    here = rows[(rows.policy == setting.policy) & (rows.exit == setting.exit) & (rows.load == setting.load)]
    if not responses or not study.percentiles:
        return
    yield study.picture(
        "distribution",
        response_times(responses, here),
        prose(
            "Distribution of response times under {setting}, measured on {device}: whole at the left, tail at "
            "the right. Diamonds are predicted percentiles ({percentiles}); see whether they lie on the "
            "measured curves.",
            setting=setting_name(setting),
            device=study.live_device,
            percentiles=listed(short_metric(p) for p in study.percentiles),
        ),
        "Two step curves, one a class, with predicted percentiles as diamonds on them",
    )


def shown_setting(study: Evidence) -> Setting | None:
    """The baseline at the highest load that was run."""
    plain = [s for s in study.plan.live_settings if s.policy == study.baseline and s.exit == study.plain_exit]
    usable = [s for s in plain if s not in study.rejected] or plain
    return max(usable, key=lambda s: s.load, default=None)
