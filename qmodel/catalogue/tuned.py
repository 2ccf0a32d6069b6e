"""A setting whose knobs are searched for before it is answered, on requests other than those it is judged on.

On the row's own scenario the tuner sees another draw of the same traffic; with a trace, its first half, and every
setting of the row is then judged on the second.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from qmodel.catalogue.controlled import controlled
from qmodel.catalogue.row import UNSEEN, Controlled, Setting, Tuned
from qmodel.errors import InputError
from qmodel.planning.knobs import Knob, Values, parse_knob
from qmodel.planning.tuners import Tried, tuned
from qmodel.predict import Asking, simulate_one

if TYPE_CHECKING:
    from qmodel.catalogue.case import Case

HOPELESS = 1e6
"""What an unstable try counts."""


def resolved(case: Case, setting: Setting) -> Setting:
    """The setting with the values that its tuner found, which its label then tells; as it is without a tuner."""
    if setting.tuned is None:
        return setting
    if isinstance(setting.tuned, Controlled):
        return controlled(case, setting, setting.tuned)
    found = search(case, setting, setting.tuned)
    knobs = [parse_knob(text) for text in setting.tuned.knobs]
    told = ", ".join(f"{_last(knob)} {value:.3g}" for knob, value in zip(knobs, found.best, strict=True))
    changes = {**setting.changes, **at(knobs, found.best)}
    return replace(setting, label=f"{setting.label}: {told}", changes=changes, tuned=None)


def search(case: Case, setting: Setting, how: Tuned) -> Tried:
    """What the tuner tried within its budget, from the scenario's own values on.

    It is given the logarithm of the objective: without it one bad try would hide what tells good ones apart.
    """
    knobs = [parse_knob(text) for text in how.knobs]
    start = tuple(knob.place(_default(case, knob)) for knob in knobs)

    def loss(values: Values) -> float:
        return math.log(objective(case, setting, how, values))

    return tuned(how.method, loss, knobs, start, how.budget, case.seed)


def objective(case: Case, setting: Setting, how: Tuned, values: Values, judged: bool = False) -> float:
    """What is made small, at these values, on the requests tuned on or (`judged`) those judged on."""
    from qmodel.catalogue.running import metric_of

    changes = {**setting.changes, **at([parse_knob(text) for text in how.knobs], values)}
    scenario = case.scenario(changes, half=int(judged))
    seed = case.seed if judged else case.seed + UNSEEN
    answer = simulate_one(scenario, Asking("simulation", requests=how.requests, seed=seed))
    found = metric_of(answer, how.objective)
    return min(found, HOPELESS) if answer.stable and found else HOPELESS


def at(knobs: list[Knob], values: Values) -> dict[str, float]:
    """The changes of a scenario that values of knobs stand for."""
    return {knob.path: value for knob, value in zip(knobs, values, strict=True)}


def _last(knob: Knob) -> str:
    return knob.path.rpartition(".")[2]


def _default(case: Case, knob: Knob) -> float:
    """The scenario's own value of a knob. Raises InputError where it gives none."""
    here = case.tables
    for part in knob.path.split("."):
        here = here.get(part, {}) if isinstance(here, dict) else {}
    if isinstance(here, bool) or not isinstance(here, int | float):
        raise InputError(f"catalogue {case.row.name}, {knob.path}", "is no number to tune", "give one with --set")
    return float(here)
