"""A row on the user's own system: their fitted model in place of its services, their trace of its traffic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

TOKENS = ("input_tokens", "output_tokens")


def on_model(tables: dict[str, Any], path: Path) -> None:
    """Put a fitted model in place of the services, in these tables.

    Factors that a class does not give are at the measured level nearest the middle of their range. Raises
    InputError for a row whose engine is described by iterations or stations, or a factor that is a word.
    """
    from qmodel.service.model import ServiceModel

    system = tables.setdefault("system", {})
    if "iteration_time" in system or "station" in tables:
        what = "an iteration time" if "iteration_time" in system else "services at stations"
        raise InputError("--model", f"this row has {what}, no service time", "set its fields with --set instead")
    model = ServiceModel.load(path)
    system["service"] = str(path.resolve())
    middles = {name: _middle(model, name) for name in model.factors}
    for each in tables["class"]:
        each.pop("service", None)
        given = {**middles, **each.get("factors", {})}
        each["factors"] = {name: law for name, law in given.items() if name not in each}


def _middle(model: Any, name: str) -> dict[str, Any]:
    seen = model.domain.spans[name]
    if hasattr(seen, "low"):
        middle = 0.5 * (seen.low + seen.high)
        near = min(seen.levels, key=lambda level: abs(level - middle)) if seen.levels else middle
        return {"distribution": "deterministic", "value": near}
    raise InputError(
        f"--model, factor '{name}'", "is a word, not a number", "fit a model of numbers for one of them"
    )


def on_trace(scenario: Scenario, path: Path, half: int | None = None) -> Scenario:
    """The scenario under recorded arrivals, stretched to its own rate; each class gets its share of them in turn.

    Where the row counts tokens and the trace records lengths, they are those recorded. The trace is any file that
    `qmodel import` reads as a request log; `half` takes the first (0) or the second (1) half of its requests.
    """
    from qmodel.interop.reading import read_file
    from qmodel.workload.nonstationary import Closed

    if any(isinstance(each.arrivals, Closed) for each in scenario.classes):
        raise InputError("--trace", "this row has users who come back, and no arrivals", "leave it out")
    log = read_file(path)
    if log.shape != "requests" or len(log.frame) < 2 * len(scenario.classes):
        raise InputError(str(path), "holds no requests with arrival times", "give a trace that qmodel import reads")
    frame = log.frame.sort_values("scheduled_s", kind="stable")
    if half is not None:
        frame = frame.iloc[half * len(frame) // 2 : (half + 1) * len(frame) // 2]
    owner = _dealt(len(frame), [each.rate / scenario.rate for each in scenario.classes])
    classes = [_recorded(each, frame[owner == i]) for i, each in enumerate(scenario.classes)]
    made = replace(scenario, classes=tuple(classes))
    return made.at_rate(scenario.rate)


def _dealt(count: int, shares: list[float]) -> Any:
    """The class of each request: multiples of the golden ratio, which give every stretch each class's share.

    >>> _dealt(6, [0.5, 0.5]).tolist()
    [0, 1, 0, 1, 0, 0]
    """
    import numpy as np

    positions = (np.arange(count) * 0.6180339887498949) % 1.0
    return np.minimum(np.searchsorted(np.cumsum(shares), positions, side="right"), len(shares) - 1)


def _recorded(request_class: Any, frame: Any) -> Any:
    from qmodel.workload import Empirical, Trace

    times = frame["scheduled_s"].to_numpy(float)
    recorded = [n for n in TOKENS if n in request_class.factors and n in frame and frame[n].notna().all()]
    lengths = {n: Empirical(tuple(frame[n].clip(lower=1).to_numpy(float))) for n in recorded}
    factors = {**request_class.factors, **lengths}
    return replace(request_class, arrivals=Trace(tuple(times - times[0])), factors=factors)
