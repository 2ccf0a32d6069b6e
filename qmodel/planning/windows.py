"""A trace in windows, each served under some setting of the knobs: what a controller sees, and what it costs.

Every window is served from an empty system, so that any setting can be tried in any window and compared; what a
burst leaves behind for the next window is left out, and windows should be long against the response times.

    loss = 10 max(0, ln u) + (1 - quality) + min(u, 1) / 100,   u the largest share of a bound that is used up

so a bound missed weighs more than any quality, quality more than room to spare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.planning.candidates import Setting, settings_of
from qmodel.planning.judging import Judge, Judged
from qmodel.planning.knobs import Knob, Point, Values
from qmodel.planning.recorded import Recorded, with_recorded
from qmodel.planning.slo import Bound, bounds_of
from qmodel.scenario import Scenario
from qmodel.scenario_tables import to_tables
from qmodel.validation import read_toml

MISSED = 10.0
SPARE = 0.01
FEWEST = 10
"""Requests that a window must hold to be looked at."""


def windows_of(recorded: Recorded, window_s: float, most: int | None = None) -> list[Recorded]:
    """The stretches of a trace, each with its own clock, that hold enough requests; evenly chosen if too many."""
    if not (math.isfinite(window_s) and window_s > 0):
        raise InputError("--window-s", f"{window_s} is no time", "give seconds above 0")
    number = (recorded.arrival_s / window_s).astype(np.int64)
    found = []
    for each in np.unique(number):
        part = recorded.of(number == each)
        if len(part) >= FEWEST and part.arrival_s[-1] > part.arrival_s[0]:
            found.append(replace(part, arrival_s=part.arrival_s - each * window_s))
    if not found:
        raise InputError("--window-s", f"no {window_s:g} s of the trace hold {FEWEST} requests", "make it longer")
    if most is not None and len(found) > most:
        return [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]
    return found


@dataclass(frozen=True)
class Seen:
    """What a controller knows of a window that is over: rate, mean lengths (0: not recorded), and how it went."""

    values: Values
    rate: float
    input_tokens: float
    output_tokens: float
    used: float
    loss: float
    quality: float
    energy_j: float | None
    requests: int

    @property
    def met(self) -> bool:
        """Whether all bounds were met."""
        return self.used <= 1.0


def loss_of(one: Judged) -> float:
    """What a window costs under a setting; unstable, or without an answer, as if bounds were missed tenfold.

    >>> from qmodel.planning.slo import Bound
    >>> round(loss_of(Judged(None, 1, 1.0, {Bound("p95_response_s", 1.0): 2.0})), 4)
    6.9415
    """
    used = min(one.worst, 1e4)
    quality = 1.0 if one.cost is None else one.cost.quality
    return MISSED * max(0.0, math.log(used)) + (1.0 - quality) + SPARE * min(used, 1.0)


@dataclass
class Plant:
    """The system whose knobs are turned: serves windows under values of the knobs, and remembers what it did."""

    question: Scenario | Path
    knobs: Sequence[Knob]
    slos: Sequence[str]
    fixed: dict[str, str] = field(default_factory=dict)
    seed: int = 1
    served: int = 0
    bounds: tuple[Bound, ...] = ()
    made: dict[Values, Setting] = field(default_factory=dict)
    known: dict[Any, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.knobs:
            raise InputError("--knob", "is missing", "e.g. --knob system.max_batch=1..256")
        paths = [knob.path for knob in self.knobs]
        if len(set(paths)) < len(paths):
            raise InputError("--knob", "one field is there twice", "give each field once")
        plain = settings_of(self.question, {}, (), self.fixed)[0]
        self.bounds = bounds_of(plain.scenario, self.slos)
        for corner in (tuple(knob.low for knob in self.knobs), tuple(knob.high for knob in self.knobs)):
            self.setting(corner)

    def setting(self, values: Values) -> Setting:
        """The scenario with these values in the declared fields, and in no others."""
        if values not in self.made:
            turned = {knob.path: [value] for knob, value in zip(self.knobs, values, strict=True)}
            self.made[values] = settings_of(self.question, turned, (), self.fixed)[0]
        return self.made[values]

    @property
    def default(self) -> Values:
        """The scenario's own values of the knobs. Raises InputError for one that it does not give."""
        own = {knob.path: _own(self._tables(), knob.path) for knob in self.knobs}
        for path, value in own.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"--knob {path}", "is no number in the scenario", "give it there: the default")
        return tuple(own.values())

    def _tables(self) -> dict[str, Any]:
        from qmodel.validation import parse_value, set_field

        tables = to_tables(self.question) if isinstance(self.question, Scenario) else read_toml(self.question)
        for path, text in self.fixed.items():
            set_field(tables, path, parse_value(text))
        return tables

    def serve(self, values: Values, window: Recorded) -> Seen:
        """Serve a window from empty under these values."""
        key = (values, id(window))
        if key not in self.known:
            self.served += 1
            self.known[key] = self._served(values, window)
        return self.known[key]

    def _served(self, values: Values, window: Recorded) -> Seen:
        setting = self.setting(values)
        used = replace(setting, scenario=with_recorded(setting.scenario, window))
        judge = Judge(self.bounds, seed=self.seed, requests=len(window), recorded=window, exactly=True)
        one = judge(used, used.scenario.system.servers)
        quality = 1.0 if one.cost is None else one.cost.quality
        energy = None if one.cost is None else one.cost.energy_j
        prompt, output = (
            0.0 if each is None else float(each.mean()) for each in (window.input_tokens, window.output_tokens)
        )
        return Seen(
            values, window.rate, prompt, output, one.worst, loss_of(one), quality, energy, requests=len(window)
        )

    def loss(self, values: Values, windows: Sequence[Recorded]) -> float:
        """Mean loss of these windows under one setting, each counting by its requests."""
        return mean_loss([self.serve(values, window) for window in windows])

    def places(self, values: Values) -> Point:
        """Where values lie on their knobs."""
        return tuple(knob.place(value) for knob, value in zip(self.knobs, values, strict=True))


def mean_loss(seen: Sequence[Seen]) -> float:
    """Mean loss of windows, each counting by its requests."""
    weights = [each.requests for each in seen]
    return float(np.average([each.loss for each in seen], weights=weights))


def _own(tables: Any, path: str) -> Any:
    """The value at a dotted path of the tables; None where there is none."""
    from qmodel.validation import entry_name

    for part in path.split("."):
        if isinstance(tables, list):
            named = {entry_name(entry, i): entry for i, entry in enumerate(tables)}
            numbered = {str(i): entry for i, entry in enumerate(tables)}
            tables = (numbered | named).get(part)
        else:
            tables = tables.get(part) if isinstance(tables, dict) else None
    return tables
