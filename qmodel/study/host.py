"""How fast the host is when a live run begins, against when it was profiled; what the run's prediction makes of it.

Hosts that are shared, or that change their clocks, go faster and slower by a third for minutes. So a few cells of
the profile are timed again before each live run: their ratio to the profile is the host's speed now. The run gets
the rate that makes its load what the setting says at this speed, and the prediction that it is held against is made
for this speed and saved before the run begins. The cells are timed once more when it is over; a run in which the
host changed is made again once, whatever it measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.measure.again import Again
from qmodel.measure.design import Cell
from qmodel.service.token_service import TokenService

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.fit.iteration_times import IterationFit
    from qmodel.scenario import Scenario
    from qmodel.study.plan import StudyPlan
    from qmodel.study.results import Results

    Floats = NDArray[np.float64]

BASE, REST = "base", "rest"
"""What an iteration takes whatever is in it, and what it takes for sequences and tokens: they slow down apart."""
CELLS_PER_PHASE = 3
CHANGED = 0.05
"""A run is made again when the host's speed differs by more than this between its start and its end."""
SECONDS = 3.5
"""About what one look takes."""


@dataclass(frozen=True)
class HostSpeed:
    """How many times as long the host takes as when it was profiled: by phase, or by part of an iteration.

    `typical` is the geometric mean over the cells that were timed.
    """

    factors: Mapping[str, float]
    typical: float

    def slowed(self, scenario: Scenario) -> Scenario:
        """The scenario on the host as it is now; the very same where that is as profiled."""
        if self == AS_PROFILED:
            return scenario
        system, factors = scenario.system, self.factors
        if system.iteration_time is not None and REST in factors:
            taken = system.iteration_time.times(factors[REST], of_base=factors[BASE])
            system = replace(system, iteration_time=taken)
        model: Any = system.model
        if isinstance(model, TokenService):
            system = replace(system, model=model.times(factors))
        elif model is not None:
            system = replace(system, model=model.times(factors.get(model.phase or "", self.typical)))
        return replace(scenario, system=system)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"factors": dict(self.factors), "typical": self.typical}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HostSpeed:
        """Inverse of `to_dict`."""
        return cls(dict(data["factors"]), float(data["typical"]))

    def changed(self, later: HostSpeed) -> float:
        """By which share the host takes longer later."""
        return later.typical / self.typical - 1.0


AS_PROFILED = HostSpeed({}, 1.0)


class HostWatch:
    """Times cells of the profile again. A context manager."""

    def __init__(self, plan: StudyPlan, results: Results) -> None:
        assert plan.profile_spec is not None
        self._plan, self._results = plan, results
        self._again = Again(plan.profile_spec, [cell for cell, _ in self._known], results.host)

    def __enter__(self) -> HostWatch:
        return self

    def __exit__(self, *exception: object) -> None:
        self._again.__exit__(*exception)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        """Rows of the profile that the predictions come from."""
        from qmodel.fit.iteration_times import read_iterations
        from qmodel.study.batching import alike

        wanted, scenario = self._plan.tables.fit, self._plan.base_scenario()
        assert wanted is not None
        rows = read_iterations(self._results.profile, wanted.phases, wanted.reference_pacing)
        if wanted.iteration_time:
            return alike(rows, scenario)
        alone = "batch_size" in rows and not any("batch_size" in each.factors for each in scenario.classes)
        return rows[rows.batch_size == rows.batch_size.min()] if alone else rows

    @cached_property
    def _known(self) -> list[tuple[Cell, float]]:
        """The cells that are timed again, with their median in the profile (s); short to long in each phase."""
        phases = self._rows.groupby("phase")
        return [pair for _, rows in phases for pair in spread(cells_of(rows), CELLS_PER_PHASE)]

    def look(self) -> HostSpeed:
        """The host's speed now. Raises InputError when no cell can be timed."""
        now, then = np.array(self._again.look()), np.array([seconds for _, seconds in self._known])
        ratios = now / then
        timed = np.isfinite(ratios)
        if not timed.any():
            raise InputError("host", "no cell of the profile can be timed again", "mend the target")
        typical = _rounded(math.exp(float(np.log(ratios[timed]).mean())))
        cells = [cell for (cell, _), good in zip(self._known, timed, strict=True) if good]
        if self._plan.tables.fit and self._plan.tables.fit.iteration_time:
            return HostSpeed(self._of_iterations(cells, ratios[timed]) | _by_phase(cells, ratios[timed]), typical)
        return HostSpeed(_by_phase(cells, ratios[timed]), typical)

    @cached_property
    def _fit(self) -> IterationFit:
        """The iteration time as fitted to the profile."""
        from qmodel.study.prepare import iteration_fit

        return iteration_fit(self._plan, self._results)

    def _of_iterations(self, cells: list[Cell], ratios: Floats) -> dict[str, float]:
        """Factors of base and rest that bring the fitted times of the cells nearest to what they take now."""
        fit = self._fit
        base = fit.coefficients["base"]
        fitted = np.array([_fitted(fit.cells, cell) for cell in cells])
        return base_and_rest(base / fitted, ratios)


def base_and_rest(share: Floats, ratios: Floats) -> dict[str, float]:
    """Least squares of ratio = base * share + rest * (1 - share), where `share` of a cell's time is the base.

    >>> base_and_rest(np.array([0.9, 0.1]), np.array([1.37, 1.13]))
    {'base': 1.4, 'rest': 1.1}
    """
    from scipy.optimize import nnls

    if np.ptp(share) < 0.05:
        same = _rounded(float(np.mean(ratios)))
        return {BASE: same, REST: same}
    (base, rest), _ = nnls(np.column_stack([share, 1.0 - share]), ratios)
    least = 0.5 * float(ratios.min())  # a part that no cell shows is not taken for free
    return {BASE: _rounded(max(float(base), least)), REST: _rounded(max(float(rest), least))}


def _by_phase(cells: list[Cell], ratios: Floats) -> dict[str, float]:
    """Geometric mean of the ratios in each phase."""
    phases = np.array([cell.phase for cell in cells])
    return {str(p): _rounded(math.exp(float(np.log(ratios[phases == p]).mean()))) for p in dict.fromkeys(phases)}


def _rounded(factor: float) -> float:
    """What the timing can tell."""
    return round(factor, 4)


def _fitted(cells: pd.DataFrame, cell: Cell) -> float:
    """Fitted seconds of one cell of an iteration fit."""
    here = np.ones(len(cells), dtype=bool)
    for name in cells.columns.intersection(["batch_size", "context_tokens", "prefill_tokens"]):
        here &= np.isclose(cells[name].to_numpy(float), float(cell.levels.get(name, 0.0)))
    return float(cells.fitted_s[here].iloc[0])


def cells_of(rows: pd.DataFrame) -> list[tuple[Cell, float]]:
    """The cells of one phase with their median latency, from short to long."""
    from qmodel.measure.rows import RESERVED_COLUMNS

    factors = [name for name in rows if name not in RESERVED_COLUMNS and rows[name].notna().any()]
    found = []
    for key, group in rows.groupby(["phase", "pacing", *factors]):
        phase, pacing, *levels = key
        at = {str(name): _level(value) for name, value in zip(factors, levels, strict=True)}
        found.append((Cell(str(phase), at, str(pacing)), float(group.latency_s.median())))
    return sorted(found, key=lambda pair: pair[1])


def _level(value: Any) -> Any:
    """As the spec had it: whole numbers are whole."""
    plain = value.item() if hasattr(value, "item") else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def spread(cells: list[tuple[Cell, float]], most: int) -> list[tuple[Cell, float]]:
    """So many of them, evenly spaced, the first and the last among them.

    >>> spread(list("abcde"), 3)
    ['a', 'c', 'e']
    """
    places = np.unique(np.linspace(0, len(cells) - 1, min(most, len(cells))).round().astype(int))
    return [cells[i] for i in places]
