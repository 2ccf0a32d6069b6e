"""What each stage will take on an H200, by arithmetic: operations over their rate, bytes over bandwidth."""

from __future__ import annotations

from collections.abc import Sequence

from campaign.forecast import roofline_s
from campaign.livestage import LiveStage
from campaign.plan import Design
from campaign.runner import LONG_CALL_S
from campaign.shapes import Cost
from campaign.stages import Stage
from campaign.timing import H200

H200_BYTES = 149e9
"""Memory that an H200 has free before anything is loaded."""
START_S = 25.0
"""Starting Python and torch on a fresh machine, drawing the weights, timing the ceilings."""


def stage_seconds(design: Design, costs: dict[tuple[str, ...], Cost], stage: Stage) -> dict[str, float]:
    """Cells that fit, visits, and seconds by tier and in all."""
    cells = {cell.key: cell for cell in design.cells() if costs[cell.key].held_bytes <= H200_BYTES}
    by_tier: dict[int, float] = {}
    for visit in design.visits():
        if visit.cell.key in cells:
            seconds = _visit_s(costs[visit.cell.key], design, stage, energy=design.wants_energy(visit))
            by_tier[visit.cell.tier] = by_tier.get(visit.cell.tier, 0.0) + seconds
    total = START_S + sum(by_tier.values())
    return {
        "cells": len(design.cells()),
        "fit": len(cells),
        **{f"tier_{t}": s for t, s in by_tier.items()},
        "total": total,
    }


def _visit_s(cost: Cost, design: Design, stage: Stage, *, energy: bool) -> float:
    call_s = roofline_s(cost, H200)
    warmup_s = 0.1 * call_s if call_s > LONG_CALL_S else stage.protocol.warmup_s + call_s
    return (
        stage.setup_s + warmup_s + design.repetitions * call_s + energy * (stage.protocol.energy_window_s + call_s)
    )


def _without_late(found: dict[str, float]) -> str:
    """What the stage takes without its last tier, where that is costly."""
    late_s = found.get("tier_3", 0.0)
    return f" ({found['total'] - late_s:.0f} s without its last tier)" if late_s > 60 else ""


def stage_table(stages: Sequence[Stage | LiveStage]) -> str:
    """A line a stage: cells, those that fit in an H200's memory, replicates, seconds expected there."""
    lines = [
        f"{'stage':15} {'cells':>5} {'fit':>4} {'reps':>4} {'H200 s':>7}  what (files: STAGE.csv, STAGE.meta.toml)"
    ]
    for stage in stages:
        if isinstance(stage, LiveStage):
            lines.append(f"{stage.name:15} {stage.runs:5d} {'':4} {'':4} {stage.expected_s:7.0f}  {stage.title}")
            continue
        design = stage.design(("graph", "eager"))
        found = stage_seconds(design, {cell.key: stage.cost_of(cell) for cell in design.cells()}, stage)
        replicates = design.rounds * design.repetitions
        lines.append(
            f"{stage.name:15} {found['cells']:5.0f} {found['fit']:4.0f} {replicates:4d} {found['total']:7.0f}  "
            f"{stage.title}{_without_late(found)}"
        )
    return "\n".join(lines)
