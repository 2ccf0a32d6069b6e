"""Section 12: threats to validity, written from what the results show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from qmodel.report.document import Block, author, bullets, paragraph, prose, section
from qmodel.report.inline import Content
from qmodel.report.names import counted, is_or_are, listed, setting_value, words
from qmodel.report.quantity import Quantity
from qmodel.report.sections.assumptions import LEVEL, median_step
from qmodel.report.sections.evidence import MEAN, Evidence
from qmodel.report.sections.front import busy_words, container_words
from qmodel.report.sections.host import unsteady
from qmodel.report.sections.service import error_rows

SMALL_ERROR = 0.10
"""Error at left-out levels from which the service function is called a threat."""


def blocks(study: Evidence) -> Iterator[Block]:
    """Each threat that the results give rise to, then those of any such study."""
    yield section("Threats to validity", "threats")
    yield paragraph("What could make the conclusions wrong, as far as the results themselves show it:")
    yield bullets(line for find in FINDERS for line in find(study))
    yield paragraph("What no result here can show:")
    yield bullets(always(study))
    yield author("Add what you know about the measurement that no program can: what else ran, what went wrong.")


def machine(study: Evidence) -> Iterator[Content]:
    """Other work, virtual machines."""
    if busy := busy_words(study):
        yield prose(
            "*Noise from other work.* {busy} Service times and latencies are longer and more scattered than "
            "on a quiet machine, and not equally so in every run.",
            busy=busy,
        )
    if "container" in study.machine:
        yield prose(
            "*A shared host.* The system ran {where}: what the host did for others is not seen.",
            where=container_words(study.machine["container"]),
        )


def cells(study: Evidence) -> Iterator[Content]:
    """Scattered and failed cells, drift."""
    if not study.profiled:
        return
    scattered = [cell for cell in study.profile.cells if cell.status == "ok" and not cell.valid]
    if scattered:
        yield prose(
            "*Scattered cells.* In {count} of {total} the interquartile range is above 10 % of the median: "
            "their means are less certain than their number of repetitions says.",
            count=counted(len(scattered), "cell"),
            total=len(study.profile.cells),
        )
    if study.profile.failed:
        yield prose(
            "*Missing cells.* {count} failed or ran out of memory.",
            count=counted(len(study.profile.failed), "cell"),
        )
    drift = study.profile.drift
    if drift is not None and drift.significant:
        yield prose(
            "*Drift.* Over the profile latency changed by {change}; the live runs came later, on a machine "
            "that may have changed on.",
            change=Quantity(drift.change, "ratio", signed=True),
        )


def fitting(study: Evidence) -> Iterator[Content]:
    """Failed residual checks, errors at left-out levels, requests outside the grid."""
    for phase, fit in study.fits.items():
        failed = [c.name for c in (fit.anova.checks if fit.anova else ()) if c.passed is False]
        if failed:
            yield prose(
                "*Residuals of {phase}.* {failed} {fails}: p values of the analysis of variance are "
                "approximate (@sec:anova).",
                phase=phase,
                failed=listed(failed).capitalize(),
                fails="fails" if len(failed) == 1 else "fail",
            )
        errors = error_rows(fit).get("left-out levels between others")
        if errors and (errors["p95"] or 0.0) > SMALL_ERROR:
            yield prose(
                "*Service function of {phase}.* At left-out levels its error reaches {p95} in 95 of 100 "
                "cells; whatever it misses, the queue amplifies at high load.",
                phase=phase,
                p95=Quantity(errors["p95"], "ratio"),
            )
    outside = outside_domain(study)
    if outside:
        yield prose("*Extrapolation.* Some requests lie outside the grid: {outside}.", outside="; ".join(outside))


def outside_domain(study: Evidence) -> list[str]:
    """What the classes ask for that was never measured, full and cut."""
    model = study.base.system.model
    said = getattr(model, "outside_domain", None)
    if said is None:
        return []
    found: dict[str, None] = {}
    for table in study.plan.tables.exit:
        scenario = study.fixed_exit_scenario(table.name)
        for request_class in scenario.classes:
            for steps in cut_levels(scenario, request_class.factors):
                for line in said(steps):
                    found[f"{request_class.name}: {line.replace(chr(95), chr(32))}"] = None
    return list(found)


def cut_levels(scenario, factors) -> Iterator[dict[str, float]]:  # type: ignore[no-untyped-def]
    """Smallest and largest levels of a class, steps cut as the scenario's transforms say."""
    from qmodel.service.transform import FewerSteps

    for pick in (min, max):
        levels = {name: pick(v for v, _ in law.atoms()) for name, law in factors.items() if law.atoms()}
        for transform in scenario.transforms:
            if isinstance(transform, FewerSteps) and "steps" in levels:
                levels["steps"] = transform.steps_kept(levels["steps"])
        yield levels


def live_runs(study: Evidence) -> Iterator[Content]:
    """Short runs, rejected runs, failures, arrivals, correlated service times, steps."""
    if not study.live or study.plan.tables.live is None:
        return
    rows = study.measured_comparison
    means = rows[rows.metric == MEAN]
    wide = means[np.isfinite(means.low) & np.isfinite(means.high)]
    half = ((wide.high - wide.low) / 2 / wide.measured).median() if len(wide) else float("nan")
    endless = int((~np.isfinite(rows.low) | ~np.isfinite(rows.high)).sum())
    yield prose(
        "*Run length.* Each live run has {seconds} of arrivals; intervals of means reach {half} to either "
        "side in the median{endless}.",
        seconds=setting_value(study.plan.tables.live.seconds, "s"),
        half=Quantity(float(half), "ratio"),
        endless=f", and {counted(endless, 'metric')} of {len(rows)} {is_or_are(endless)} without a finite interval"
        if endless
        else "",
    )
    if study.rejected:
        yield prose(
            "*Rejected runs.* {count} of {runs} had a client that was too late (@sec:validation).",
            count=counted(len(study.rejected), "run"),
            runs=len(study.runs),
        )
    failed = int(study.runs.requests_failed.sum())
    if failed:
        yield prose("*Failed requests.* {count} did not come back.", count=counted(failed, "request"))
    refused = study.arrivals[study.arrivals.tested.astype(bool) & ~study.arrivals.poisson.astype(bool)]
    if len(refused):
        yield prose(
            "*Arrivals.* {count} not told Poisson (@sec:arrivals).",
            count=counted(len(refused), "stream was", "streams were"),
        )
    yield from dependence(study)
    if {"ps", "pr-priority"} & set(study.runs.policy):
        yield stepwise(study)


def dependence(study: Evidence) -> Iterator[Content]:
    """Service times that go together make queues longer than theory says."""
    rows = study.services[study.services.lag1.notna()]
    against = rows[rows.lag1_p < LEVEL]
    if len(against) > np.ceil(LEVEL * len(rows)):
        yield prose(
            "*Service times that go together.* In {count} of {runs} neighbouring service times are correlated "
            "(up to {most}): slow spells of the machine pile up requests, which the model does not know.",
            count=counted(len(against), "run"),
            runs=len(rows),
            most=Quantity(float(against.lag1.max()), digits=2),
        )


def stepwise(study: Evidence) -> Content:
    """Steps against ideal preemption and sharing."""
    sizes = [
        f"{median_words(study, policy)} under {name}"
        for policy, name in (("pr-priority", "preemptive priority"), ("ps", "processor sharing"))
        if policy in set(study.runs.policy)
    ]
    return prose(
        "*Steps.* The live server preempts and shares at step boundaries only; theory does so at any moment. "
        "On the ladder this is worth {sizes} of the live mean (median over loads).",
        sizes=listed(sizes),
    )


def median_words(study: Evidence, policy: str) -> str:
    """The last rung of a policy in words."""
    return str(Quantity(median_step(study, policy), "ratio", signed=True))


def always(study: Evidence) -> Iterator[Content]:
    """Threats of every study of this kind."""
    yield prose(
        "*One machine, one target.* Every measured number is of {target} on {device}; another device has "
        "another service function.",
        target=words(study.target),
        device=study.device,
    )
    yield prose(
        "*Synthetic demand.* Arrivals are Poisson and sizes independent by construction; real users are neither."
    )
    if study.live:
        yield draws(study)


def draws(study: Evidence) -> Content:
    """How many seeds there are, and what that means."""
    seeds = study.plan.tables.live.seeds if study.plan.tables.live else []
    if len(seeds) == 1:
        return prose(
            "*One draw.* There is one seed of arrivals at each load. All strategies share it, so comparisons "
            "between them are sharper than the values themselves."
        )
    return prose(
        "*{count} draws.* All strategies share the same seeds of arrivals at each load, so comparisons between "
        "them are sharper than the values themselves.",
        count=len(seeds),
    )


FINDERS: tuple[Callable[[Evidence], Iterator[Content]], ...] = (machine, cells, fitting, unsteady, live_runs)
