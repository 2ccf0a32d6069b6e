"""The quality of what each live setting delivered, for the tables that show it beside latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmodel.study.leaving import QUALITY, own_exits

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.study.evaluate import Evaluation
    from qmodel.study.plan import Setting

JUDGED = ("agreement", "frechet_distance")


def setting_columns(setting: Setting) -> dict[str, Any]:
    """What says in a table which setting a row is of."""
    return {"policy": setting.policy, "exit": setting.exit, "load": setting.load}


def setting_quality(evaluation: Evaluation) -> pd.DataFrame:
    """Quality of what each live setting delivered, by class: requests weigh by the images they asked for.

    Columns: policy, exit, load, class, share_reduced (of the requests), steps (mean), agreement, frechet_distance,
    and what else was judged. The agreement is the weighted mean; so is the distance, which bounds that of the
    mixture from above. Where the target itself lets requests leave, quality is that of the requests on which the
    law of leaving was measured, all classes together.
    """
    import pandas as pd

    plan, results = evaluation.plan, evaluation.results
    by_steps = results.read_table("quality").set_index("steps") if plan.tables.quality else None
    by_exit = results.read_table(QUALITY).set_index("exit") if own_exits(plan) else None
    rows = []
    for setting in evaluation.runs if by_steps is not None or by_exit is not None else ():
        counted = evaluation.counted(setting)
        done = counted[counted.status == "ok"]
        for name in ["all", *(c.name for c in evaluation.base.classes)]:
            part = done if name == "all" else done[done["class"] == name]
            judged = _judged(setting, part, by_steps, by_exit)
            steps = part.steps.mean() if "steps" in part else float("nan")
            rows.append({**setting_columns(setting), "class": name, "share_reduced": part.reduced.mean(),
                         "steps": steps, **judged})  # fmt: skip
    empty = ["policy", "exit", "load", "class", "share_reduced", "steps"]
    return pd.DataFrame(rows, columns=None if rows else empty)


def _judged(
    setting: Setting, part: pd.DataFrame, by_steps: pd.DataFrame | None, by_exit: pd.DataFrame | None
) -> dict[str, float]:
    """What was judged of these requests."""
    if by_exit is not None and (setting.exit in by_exit.index and (by_steps is None or "steps" not in part)):
        return _of_exit(by_exit, setting.exit)
    if by_steps is None:
        return {}
    if by_exit is not None and setting.exit in by_exit.index and not by_exit.full[setting.exit]:
        return _of_exit(by_exit, setting.exit)
    shares = part.groupby("steps").batch_size.sum() / part.batch_size.sum()
    weighted = by_steps.loc[shares.index].mul(shares, axis=0).sum()
    return {metric: float(weighted[metric]) for metric in JUDGED}


def _of_exit(by_exit: pd.DataFrame, name: str) -> dict[str, float]:
    judged = by_exit.drop(columns=["requests", "full"]).loc[name].astype(float)
    return {str(metric): float(value) for metric, value in judged.to_dict().items()}
