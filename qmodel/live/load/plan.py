"""The schedule of a load test, drawn before the run: who is sent when, with and for how many tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.live.schedule import Draws
from qmodel.workload import Closed, Renewal

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.workload import RequestClass

    Floats = NDArray[np.float64]

DEFAULT_S = 60.0
"""Arrivals of a run that says neither how many nor how long."""
_MOST_DOUBLINGS = 30
NOT_SENT = frozenset({"patience", "pause"})
"""Features of a class (`Scenario.features`) that a client cannot play: it does not see when service begins."""


@dataclass(frozen=True)
class Wanted:
    """How much load.

    `request_rate`: requests/s of all classes together (None: the scenario's; infinite: all at once). `num_prompts`
    or `seconds` bounds the run. `burstiness`: gamma-distributed gaps of this shape, 1 for Poisson, below 1 for
    bursts (scv = 1 / burstiness), in place of the classes' own arrivals. `input_tokens` and `output_tokens` serve
    classes that have no law for them.
    """

    request_rate: float | None = None
    num_prompts: int | None = None
    seconds: float | None = None
    burstiness: float | None = None
    seed: int = 1
    input_tokens: int | None = None
    output_tokens: int | None = None


def draw_load(scenario: Scenario, wanted: Wanted) -> pd.DataFrame:
    """One row a request in order of sending.

    Columns: request_id, class, scheduled_s, wanted_input_tokens, wanted_output_tokens, priority. `attrs` holds
    seed, rate and horizon_s. The same seed gives the same requests. Raises InputError for what cannot be sent.
    """
    import pandas as pd

    unknown = sorted(scenario.features & NOT_SENT)
    if unknown:
        raise InputError(f"scenario, {unknown[0]}", "is not played by a load generator", "leave it out")
    if wanted.request_rate is not None and not wanted.request_rate > 0:
        raise InputError("--request-rate", f"{wanted.request_rate} is no rate", "give requests/s above 0, or inf")
    if wanted.burstiness is not None and not (0 < wanted.burstiness < math.inf):
        raise InputError("--burstiness", f"{wanted.burstiness} is no shape", "give a number above 0")
    if wanted.request_rate is not None and wanted.request_rate < math.inf:
        scenario = scenario.at_rate(wanted.request_rate)
    times, which = _arrivals(scenario, wanted)
    if not times.size:
        raise InputError("load", "no request arrives in that time", "run for longer")
    columns: dict[str, Any] = {"request_id": np.arange(times.size)}
    columns |= {"class": [scenario.classes[i].name for i in which], "scheduled_s": times}
    for name, default in (("input_tokens", wanted.input_tokens), ("output_tokens", wanted.output_tokens)):
        columns[f"wanted_{name}"] = _lengths(scenario, name, default, which, wanted.seed)
    columns["priority"] = np.array([each.priority for each in scenario.classes])[which]
    rows = pd.DataFrame(columns)
    horizon = wanted.seconds if wanted.num_prompts is None else float(times[-1])
    rate = math.inf if wanted.request_rate == math.inf else float(scenario.rate)
    rows.attrs = {"seed": wanted.seed, "rate": rate, "horizon_s": float(horizon or DEFAULT_S)}
    return rows


def _arrivals(scenario: Scenario, wanted: Wanted) -> tuple[Floats, NDArray[np.int64]]:
    """Times of all requests in order, and the index of the class of each."""
    if wanted.request_rate == math.inf:
        if wanted.num_prompts is None:
            raise InputError("--num-prompts", "is missing", "say how many are sent at once")
        return np.zeros(wanted.num_prompts), _marks(scenario, wanted.num_prompts, wanted.seed)
    if wanted.num_prompts is None:
        return _within(scenario, wanted, wanted.seconds or DEFAULT_S)
    horizon = 1.2 * wanted.num_prompts / scenario.rate
    for _ in range(_MOST_DOUBLINGS):
        times, which = _within(scenario, wanted, horizon)
        if times.size >= wanted.num_prompts:
            return times[: wanted.num_prompts], which[: wanted.num_prompts]
        horizon *= 2.0
    raise InputError("--num-prompts", f"the arrivals end before {wanted.num_prompts}", "ask for fewer")


def _within(scenario: Scenario, wanted: Wanted, horizon_s: float) -> tuple[Floats, NDArray[np.int64]]:
    if wanted.burstiness is not None:
        process = Renewal(scenario.rate, 1.0 / wanted.burstiness)
        times = process.times(Draws(wanted.seed, "all classes").stream("arrivals"), horizon_s)
        return times, _marks(scenario, times.size, wanted.seed)
    found = [_own_times(each, wanted.seed, horizon_s) for each in scenario.classes]
    times = np.concatenate(found)
    order = np.argsort(times, kind="stable")
    which = np.repeat(np.arange(len(found)), [each.size for each in found])
    return times[order], which[order]


def _own_times(each: RequestClass, seed: int, horizon_s: float) -> Floats:
    if isinstance(each.arrivals, Closed):
        fault = "a closed population is not open-loop load"
        raise InputError(f"class '{each.name}', arrivals", fault, "give open arrivals, or --burstiness 1")
    return each.arrivals.times(Draws(seed, each.name).stream("arrivals"), horizon_s)


def _marks(scenario: Scenario, count: int, seed: int) -> NDArray[np.int64]:
    """A class for each of so many requests, at random by the classes' rates."""
    shares = np.cumsum([each.rate for each in scenario.classes]) / scenario.rate
    drawn = Draws(seed, "all classes").uniform("marks", count)
    return np.minimum(np.searchsorted(shares, drawn, side="right"), len(scenario.classes) - 1)


def _lengths(
    scenario: Scenario, name: str, default: int | None, which: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Whole tokens, at least 1, from each class's own stream."""
    out = np.ones(which.size, dtype=np.int64)
    for index, each in enumerate(scenario.classes):
        chosen = which == index
        law = each.factors.get(name)
        if law is None:
            if default is None:
                option = "--" + name.replace("_tokens", "-len")
                raise InputError(f"class '{each.name}', {name}", "is missing", f"give its law, or {option}")
            out[chosen] = default
        else:
            drawn = law.sample(Draws(seed, each.name).stream(name), int(chosen.sum()))
            out[chosen] = np.maximum(1.0, np.rint(drawn)).astype(np.int64)
    return out


def at_rate(scenario: Scenario, rate: float) -> Scenario:
    """The scenario at the rate that was sent; unchanged where all came at once."""
    return scenario.at_rate(rate) if math.isfinite(rate) else replace(scenario)
