"""Section 6: what fewer steps cost in quality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from qmodel.report.document import Block, Column, Table, finding, paragraph, prose, section
from qmodel.report.figures import quality_against_steps
from qmodel.report.names import counted, listed
from qmodel.report.quantity import Estimate, Quantity
from qmodel.report.sections.evidence import Evidence


def blocks(study: Evidence) -> Iterator[Block]:
    """How quality is judged, a table, a figure and a finding; nothing where it was not judged."""
    if not study.judged:
        return
    table = study.quality.sort_values("steps")
    yield section("Quality of fewer steps", "quality")
    yield paragraph(
        "{images} were generated at each number of steps, from the same noise and for the same labels. A "
        "classifier trained on real digits is asked what each shows: its *agreement* is the share that shows "
        "the digit asked for. The *Fréchet distance* [@frechet] compares the whole crowd with real images, "
        "and sees blur and sameness too; lower is better. The distance to the *nearest* real digit would be "
        "much smaller than among real digits if the model copied.",
        images=counted(int(table.images.iloc[0]), "image"),
    )
    yield quality_table(table, steps_in_use(study))
    yield quality_finding(study, table)
    if (drawn := quality_figure(study, table)) is not None:
        yield drawn


def steps_in_use(study: Evidence) -> dict[str, int]:
    """Step counts of the classes, in full and under each setting that cuts steps."""
    from qmodel.scenario_file import make_transform
    from qmodel.service.transform import FewerSteps

    used: dict[str, int] = {}
    for request_class in study.base.classes:
        law = request_class.factors.get("steps")
        if law is None or len(law.atoms()) != 1:
            continue
        full = law.atoms()[0][0]
        used[request_class.name] = int(full)
        for table in study.plan.tables.exit:
            cut = make_transform(table) if table.kind == "steps" else None
            if isinstance(cut, FewerSteps):
                used.setdefault(f"{request_class.name}, cut", cut.steps_kept(full))
    return used


def quality_table(table: pd.DataFrame, used: dict[str, int]) -> Table:
    """Quality by steps."""
    names = {count: listed(name for name, c in used.items() if c == count) for count in used.values()}
    rows: list[tuple[Any, ...]] = [
        (
            int(row["steps"]),
            names.get(int(row["steps"]), ""),
            Estimate(row["agreement"], row["agreement_low"], row["agreement_high"], "ratio"),
            row["frechet_distance"],
            row["nearest_distance"],
        )
        for row in table.to_dict("records")
    ]
    first = table.iloc[0]
    yardstick = Estimate(first.classifier_accuracy, None, None, "ratio")
    rows.append(("real images", "", yardstick, first.real_frechet_distance, first.real_nearest_distance))
    return Table(
        "tab:quality",
        "Quality of generated images by number of denoising steps, measured on the images themselves. "
        "Intervals are Wilson's, 95 %; the last row is what real images reach by the same yardsticks.",
        (
            Column("Steps", align="right"),
            Column("Used by"),
            Column("Agreement [95 % interval]", "ratio", align="right", decimals=1),
            Column("Fréchet distance (grey levels²)", digits=3),
            Column("Distance to nearest real image", digits=3),
        ),
        tuple(rows),
        notes=(prose("*Cut* marks the steps left under early exit (@tab:exits)."),)
        if any("cut" in name for name in used)
        else (),
    )


def quality_finding(study: Evidence, table: pd.DataFrame) -> Block:
    """What the cut of each class does to both measures."""
    by_steps = {int(row["steps"]): row for _, row in table.iterrows()}
    used = steps_in_use(study)
    parts = []
    for name in study.classes:
        full, cut = used.get(name), used.get(f"{name}, cut")
        if full is None or cut is None or not {full, cut} <= set(by_steps):
            continue
        before, after = by_steps[full], by_steps[cut]
        parts.append(f"for {name}, {cut} instead of {full} steps {change_words(before, after)}")
    if not parts:
        best = table.sort_values("frechet_distance").iloc[0]
        return finding(
            "The lowest Fréchet distance, {distance}, is reached at {steps} steps.",
            distance=Quantity(float(best.frechet_distance)),
            steps=int(best.steps),
        )
    text = "; ".join(parts)
    return finding("{text}.", text=text[:1].upper() + text[1:])


def change_words(before: pd.Series, after: pd.Series) -> str:
    """The change of both measures, and whether the first can be told from chance."""
    first, second = Quantity(before.frechet_distance), Quantity(after.frechet_distance)
    distance = f"change the Fréchet distance from {first} to {second}"
    ends = f"from {Quantity(before.agreement, 'ratio')} to {Quantity(after.agreement, 'ratio')}"
    if before.agreement == after.agreement:
        return f"{distance} and leave the agreement at {Quantity(after.agreement, 'ratio')}"
    overlap = before.agreement_low <= after.agreement_high and after.agreement_low <= before.agreement_high
    return f"{distance} and the agreement {ends}" + (" (the intervals overlap)" if overlap else "")


def quality_figure(study: Evidence, table: pd.DataFrame) -> Block | None:
    """Both measures and the latency of one image against steps."""
    latency = fitted_latency(study, table.steps.tolist())
    if latency is None:
        return None
    return study.picture(
        "quality",
        quality_against_steps(table, latency, steps_in_use(study)),
        prose(
            "Quality and service time against denoising steps: agreement and Fréchet distance are measured, "
            "the latency of one image is the fitted function on {device}. Grey lines mark the steps in use; "
            "see where more steps still cost time but no longer improve the images.",
            device=study.device,
        ),
        "Agreement rises and Fréchet distance falls with steps, then both level off; latency rises in proportion",
    )


def fitted_latency(study: Evidence, steps: list[int]) -> pd.DataFrame | None:
    """Fitted service time of one image with its 95 % interval; None where the function knows no steps."""
    fit = next((fit for fit in study.fits.values() if "steps" in fit.model.factors), None)
    if fit is None:
        return None
    levels = dict.fromkeys(fit.model.factors, 1.0) | {"steps": np.asarray(steps, dtype=float)}
    low, high = fit.model.interval(levels)
    return pd.DataFrame({"steps": steps, "latency_s": fit.model.predict(levels), "low": low, "high": high})
