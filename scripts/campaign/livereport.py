"""The live runs as a section of the README: predicted, measured, and where the difference lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from campaign.facts import Row, StageFile

WARM_UP_SHARE = 0.1
"""The first requests of each run are left out of the measured mean and its interval."""
_HEADS = ["policy", "load", "requests", "failed", "measured", "same arrivals, profiled service",
          "same arrivals, measured service", "theory", "measured, steady state"]  # fmt: skip


def live_section(file: StageFile) -> str:
    """Markdown: a row for each policy and load, seeds together."""
    runs: dict[tuple[str, float], list[Mapping[str, Any]]] = defaultdict(list)
    for run in file.meta.get("run", []):
        runs[run["policy"], run["load"]].append(run)
    theory = {(p["policy"], p["load"]): p.get("theory_mean_s") for p in file.meta.get("prediction", [])}
    responses = responses_by_run(file.rows)
    rows = [_row(key, found, responses, theory.get(key)) for key, found in sorted(runs.items())]
    lines = ["| " + " | ".join(_HEADS) + " |", "|" + " --- |" * len(_HEADS)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    digest = str(file.meta.get("predictions_sha256", ""))[:16]
    intro = (
        "One server, one request at a time, steps as preemption points; predictions were written down before the "
        f"first run (SHA-256 `{digest}`). Mean response times in milliseconds; "
        "in brackets the difference to the measured mean of the same requests. Theory is for the long run: hold it "
        "against the steady state, which leaves out the first "
        f"{100 * WARM_UP_SHARE:.0f} % of each run and has a 95 % interval by batch means."
    )
    return "## Live runs\n\n" + intro + "\n\n" + "\n".join(lines)


def responses_by_run(rows: Sequence[Row]) -> dict[tuple[str, float, int], list[float]]:
    """Response times in the order of arrival, of the requests that were finished."""
    found: dict[tuple[str, float, int], list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok":
            response = float(row["done_s"]) - float(row["scheduled_s"])
            found[row["policy"], float(row["load"]), int(row["seed"])].append((int(row["request_id"]), response))
    return {run: [seconds for _, seconds in sorted(values)] for run, values in found.items()}


def _row(
    key: tuple[str, float],
    runs: Sequence[Mapping[str, Any]],
    responses: Mapping[tuple[str, float, int], list[float]],
    theory_s: float | None,
) -> list[str]:
    requests, finished = (sum(int(run[name]) for run in runs) for name in ("requests", "finished"))
    measured = _weighted(runs, "measured_mean_s")
    predicted, replayed = _weighted(runs, "predicted_mean_s"), _weighted(runs, "measured_service_replayed_mean_s")
    series = [s for run in runs for s in steady(responses.get((*key, int(run["seed"])), []))]
    against = [_against(value, measured) for value in (predicted, replayed)]
    theory = "-" if theory_s is None else f"{1e3 * theory_s:.4g}"
    counts = [str(requests), str(requests - finished)]
    return [key[0], f"{key[1]:g}", *counts, _ms(measured), *against, theory, _interval(series)]


def steady(values: Sequence[float]) -> Sequence[float]:
    """Without the warm-up."""
    return values[int(WARM_UP_SHARE * len(values)) :]


def _weighted(runs: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Mean over the requests of all seeds."""
    known = [(int(run["finished"]), float(run[name])) for run in runs if run.get(name) is not None]
    total = sum(n for n, _ in known)
    return sum(n * value for n, value in known) / total if total else None


def _interval(series: Sequence[float]) -> str:
    from qmodel.statistics.intervals import batch_means

    if len(series) < 40:
        return "-"
    found = batch_means(series)
    return f"{1e3 * found.value:.4g} [{1e3 * found.low:.4g}, {1e3 * found.high:.4g}]"


def _against(value: float | None, measured: float | None) -> str:
    if value is None or not measured:
        return "-"
    return f"{_ms(value)} ({100 * (value / measured - 1):+.1f} %)"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.4g}"
