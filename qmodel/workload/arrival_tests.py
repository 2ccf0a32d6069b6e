"""Are these arrivals Poisson? Tests to make before anything is concluded from a log.

Laws of a Poisson process are tested, each at its nominal level, and Holm's rule keeps the level of all together:

- *stationary rate*: given their number, arrivals are uniform over the run (Kolmogorov-Smirnov);
- *exponential gaps*: gaps, sorted and normalised by Durbin's transformation, are uniform again (Durbin,
  *Biometrika* 48 (1961) 41-55; Lewis, *Biometrika* 52 (1965) 67-77; power: Kim & Whitt, *Nav. Res. Logist.* 61
  (2014) 66-90). The rate need not be known, so no table of critical values for fitted rates is needed;
- *independent gaps*: lag-1 correlation, by the moments it has under permutation (Wald & Wolfowitz, *Ann. Math.
  Stat.* 14 (1943) 378-388);
- *dispersion 1*: counts in equal windows are multinomial given their sum, so (windows - 1) times the index of
  dispersion is chi-square; in short windows and in long ones.

Time stamps on a coarse grid are spread evenly inside their cell first, which leaves a Poisson process Poisson and
says nothing below the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FEWEST = 20
"""With fewer arrivals nothing is tested."""
LEVEL = 0.01
"""Level of all tests together: one in a hundred Poisson processes is refused."""
SHORT_WINDOW, SHORT_WINDOWS, LONG_WINDOWS, LONG_FROM = 5.0, 8, 20, 400
"""Arrivals expected in a short window, and the fewest such windows; number of long windows, and the fewest arrivals
for which they are looked at."""
FAULTS = {
    "rate": "the rate is not the nominal one",
    "uniformity": "the rate varies over the run",
    "gaps": "gaps are not exponential",
    "lag1": "gaps depend on one another",
    "dispersion_short": "counts in short windows do not vary as they should",
    "dispersion_long": "counts in long windows do not vary as they should",
}
"""What each test, by its name, says when it refuses."""
_GRIDS_S = (3600.0, 60.0, *(m * 10.0**k for k in range(1, -7, -1) for m in (5, 3, 2, 1)))
_COARSE, _OFF_GRID = 1e-3, 5e-3


@dataclass(frozen=True)
class ArrivalTests:
    """What the arrivals of a log are like, and whether they may be called Poisson.

    `rate` is realised, with its exact 95 % interval for a Poisson process; `p_values` are those of the tests by
    name (see `FAULTS`); `failed` names the tests that refuse. `grid_s` is the grid that the stamps lie on (None:
    none that matters), `ties` the share of arrivals with the stamp of the one before.
    """

    n: int
    span_s: float
    rate: float
    rate_ci95: tuple[float, float]
    nominal_rate: float | None = None
    cv: float = math.nan
    lag1: float = math.nan
    dispersion: float = math.nan
    dispersion_window_s: float = math.nan
    p_values: dict[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    ties: float = 0.0
    grid_s: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether there were enough arrivals to test."""
        return bool(self.p_values)

    @property
    def poisson(self) -> bool:
        """Whether the arrivals were tested and no test refused them the name."""
        return self.tested and not self.failed

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.tested:
            return f"not tested: {self.n} arrivals are fewer than {FEWEST}"
        figures = f"{self.n} arrivals at {self.rate:.4g}/s, CV {self.cv:.2f}, lag-1 correlation {self.lag1:.2f}"
        if self.dispersion == self.dispersion:
            figures += f", dispersion {self.dispersion:.2f}"
        if self.poisson:
            return f"consistent with a Poisson process: {figures}"
        return f"not Poisson ({'; '.join(FAULTS[name] for name in self.failed)}): {figures}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON or TOML file."""
        out = {name: _plain(value) for name, value in vars(self).items()}
        return out | {"poisson": self.poisson, "verdict": self.verdict}


def test_arrivals(
    times_s: ArrayLike, rate: float | None = None, *, horizon_s: float | None = None, level: float = LEVEL
) -> ArrivalTests:
    """Test arrival times (seconds, increasing) for being a Poisson process, of the given `rate` if there is one.

    With `horizon_s`, the process was watched over [0, horizon_s); without, the first and last arrival bound it.
    Raises InputError for times that are not finite or fall, for a rate that is not positive, and for times outside
    the horizon.

    >>> regular = test_arrivals(np.arange(200) * 0.5, rate=2.0)
    >>> regular.poisson, regular.rate
    (False, 2.0)
    >>> bool(test_arrivals(np.cumsum(np.random.default_rng(1).exponential(0.5, 200)), rate=2.0).poisson)
    True
    """
    times = _checked(times_s, rate, horizon_s)
    n = times.size
    span = float(horizon_s) if horizon_s is not None else (float(times[-1] - times[0]) if n else 0.0)
    gaps_seen = n if horizon_s is not None else n - 1
    realised = gaps_seen / span if span > 0 else math.nan
    ties = float(np.mean(np.diff(times) == 0)) if n > 1 else 0.0
    base: dict[str, Any] = {"n": n, "span_s": span, "rate": realised, "nominal_rate": rate, "ties": ties}
    base["rate_ci95"] = _rate_interval(gaps_seen, span, counted=horizon_s is not None)
    if n < FEWEST or span <= 0:
        return ArrivalTests(**base)
    grid = _grid(times, realised)
    spread = _spread(times, grid, horizon_s)
    inside, start, stop = _watched(spread, horizon_s)
    gaps = np.diff(spread)
    lag1, p_lag1 = _serial_correlation(gaps)
    p_values = {
        "uniformity": float(stats.kstest((inside - start) / (stop - start), "uniform").pvalue),
        "gaps": _durbin(inside, start, stop),
        "lag1": p_lag1,
    }
    windows = {"short": max(SHORT_WINDOWS, int(inside.size / SHORT_WINDOW))}
    windows |= {"long": LONG_WINDOWS} if inside.size >= LONG_FROM else {}
    indices = {name: _dispersion(inside, start, stop, count) for name, count in windows.items()}
    p_values |= {f"dispersion_{name}": p for name, (_, p) in indices.items()}
    if rate is not None:
        p_values["rate"] = _rate_p_value(gaps_seen, span, rate, counted=horizon_s is not None)
    shown = "long" if "long" in indices else "short"
    return ArrivalTests(
        **base,
        cv=float(gaps.std() / gaps.mean()),
        lag1=lag1,
        dispersion=indices[shown][0],
        dispersion_window_s=(stop - start) / windows[shown],
        p_values=p_values,
        failed=_holm(p_values, level),
        grid_s=grid,
        notes=_notes(times, rate, grid, ties),
    )


test_arrivals.__test__ = False  # type: ignore[attr-defined]  # its name is a verb here, not a test to collect


def _checked(times_s: ArrayLike, rate: float | None, horizon_s: float | None) -> NDArray[np.float64]:
    times = np.asarray(times_s, dtype=float).reshape(-1)
    if not np.isfinite(times).all():
        raise InputError("arrival times", "hold a value that is not finite", "leave those rows out, and say so")
    falls = np.flatnonzero(np.diff(times) < 0)
    if falls.size:
        raise InputError(f"arrival {falls[0] + 2}", "comes before the one above it", "sort by time")
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError("nominal rate", f"{rate} is no rate", "give requests/s above 0")
    if horizon_s is not None and not (math.isfinite(horizon_s) and horizon_s > 0):
        raise InputError("horizon", f"{horizon_s} is no duration", "give seconds above 0")
    if horizon_s is not None and times.size and (times[0] < 0 or times[-1] > horizon_s):
        raise InputError("arrival times", f"leave the horizon of {horizon_s:g} s", "count from its start")
    return times


def _watched(times: NDArray[np.float64], horizon_s: float | None) -> tuple[NDArray[np.float64], float, float]:
    """Arrivals that are uniform on [start, stop] given their number, with start and stop."""
    if horizon_s is not None:
        return times, 0.0, float(horizon_s)
    return times[1:-1], float(times[0]), float(times[-1])


def _rate_interval(count: int, span: float, *, counted: bool) -> tuple[float, float]:
    """Exact 95 % interval: of a Poisson count over a fixed time, or of the time that a fixed count took."""
    if span <= 0 or count < 1:
        return math.nan, math.nan
    high = count + 1 if counted else count
    return float(stats.chi2.ppf(0.025, 2 * count) / (2 * span)), float(stats.chi2.ppf(0.975, 2 * high) / (2 * span))


def _rate_p_value(count: int, span: float, rate: float, *, counted: bool) -> float:
    if counted:
        below, above = stats.poisson.cdf(count, rate * span), stats.poisson.sf(count - 1, rate * span)
    else:
        below, above = stats.gamma.sf(rate * span, count), stats.gamma.cdf(rate * span, count)
    return float(min(1.0, 2.0 * min(below, above)))


def _grid(times: NDArray[np.float64], rate: float) -> float | None:
    """The coarsest grid that all stamps lie on, if it is coarse against the mean gap; None otherwise."""
    offsets = times - times[0]
    coarse = [grid for grid in _GRIDS_S if grid * rate > _COARSE and 2 * grid <= offsets[-1]]
    few = offsets[: min(offsets.size, 200)]
    for grid in coarse:
        if _on_grid(few, grid) and _on_grid(offsets, grid):
            return grid
    return None


def spread_over_grid(times_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], float | None]:
    """Increasing stamps, each moved to a place drawn evenly in its cell of the grid they lie on; and that grid.

    Stamps on no coarse grid come back as they are, with None. A Poisson process stays one.

    >>> moved, grid = spread_over_grid(np.repeat(np.arange(0.0, 60.0, 3.0), 5))
    >>> grid, bool((np.diff(moved) > 0).all())
    (3.0, True)
    """
    span = float(times_s[-1] - times_s[0]) if times_s.size else 0.0
    grid = _grid(times_s, (times_s.size - 1) / span) if span > 0 else None
    return _spread(times_s, grid, None), grid


def _on_grid(offsets: NDArray[np.float64], grid: float) -> bool:
    cells = offsets / grid
    return bool(np.all(np.abs(cells - np.rint(cells)) < _OFF_GRID))


def _spread(times: NDArray[np.float64], grid: float | None, horizon_s: float | None) -> NDArray[np.float64]:
    """Stamps on a grid, each moved to a place drawn evenly in its cell; increasing again."""
    if grid is None:
        return times
    cells = times[0] + grid * np.rint((times - times[0]) / grid)
    moved = cells + grid * np.random.default_rng(0).uniform(0.0, 1.0, times.size)
    return np.sort(np.minimum(moved, horizon_s) if horizon_s is not None else moved)


def _durbin(inside: NDArray[np.float64], start: float, stop: float) -> float:
    """p of the Kolmogorov-Smirnov test on Durbin's transform of the gaps between uniform order statistics."""
    gaps = np.sort(np.diff(inside, prepend=start, append=stop) / (stop - start))
    count = gaps.size
    normalised = np.arange(count, 0, -1) * np.diff(gaps, prepend=0.0)
    return float(stats.kstest(np.minimum(np.cumsum(normalised)[:-1], 1.0), "uniform").pvalue)


def _serial_correlation(gaps: NDArray[np.float64]) -> tuple[float, float]:
    """Lag-1 correlation (circular) of the gaps and its two-sided p under permutation, by its exact moments."""
    n = gaps.size
    x = gaps - gaps.mean()
    second, fourth = float(np.sum(x**2)), float(np.sum(x**4))
    if second == 0:
        return math.nan, 1.0
    product = float(x[:-1] @ x[1:] + x[-1] * x[0])
    mean = -second / (n - 1)
    variance = (second**2 - fourth) / (n - 1) + (second**2 - 2 * fourth) / ((n - 1) * (n - 2)) - mean**2
    if variance <= 1e-9 * mean**2:  # no order of these gaps differs from another
        return product / second, 1.0
    return product / second, float(2.0 * stats.norm.sf(abs(product - mean) / math.sqrt(variance)))


def _dispersion(inside: NDArray[np.float64], start: float, stop: float, windows: int) -> tuple[float, float]:
    """Index of dispersion (variance over mean) of counts in equal windows, and its two-sided chi-square p."""
    counts, _ = np.histogram(inside, bins=windows, range=(start, stop))
    index = float(counts.var(ddof=1) / counts.mean())
    statistic, degrees = (windows - 1) * index, windows - 1
    p = 2.0 * min(stats.chi2.sf(statistic, degrees), stats.chi2.cdf(statistic, degrees))
    return index, float(min(1.0, p))


def _holm(p_values: dict[str, float], level: float) -> tuple[str, ...]:
    """Tests that refuse with the level of all together kept (Holm, *Scand. J. Stat.* 6 (1979) 65-70)."""
    refused = []
    for left, (name, p) in zip(range(len(p_values), 0, -1), sorted(p_values.items(), key=_p), strict=True):
        if p * left > level:
            break
        refused.append(name)
    return tuple(refused)


def _p(item: tuple[str, float]) -> float:
    return item[1]


def _notes(times: NDArray[np.float64], rate: float | None, grid: float | None, ties: float) -> tuple[str, ...]:
    notes = []
    if grid is not None:
        notes.append(f"time stamps lie on a grid of {grid:g} s; nothing can be said of shorter times")
    if ties >= 5e-4:
        notes.append(f"{100 * ties:.1f} % of the arrivals have the stamp of the one before")
    if rate is not None and _is_bridge(times, rate):
        notes.append(
            "the last arrival falls exactly at n/rate, as when gaps are rescaled to the nominal rate (exponential "
            "gaps then make a Poisson bridge): the count over the run does not vary, which one run cannot show"
        )
    return tuple(notes)


def _is_bridge(times: NDArray[np.float64], rate: float) -> bool:
    """Whether the run was rescaled so that its n arrivals, or its n - 1 gaps, take exactly their mean time."""
    ends = ((times[-1], times.size), (times[-1] - times[0], times.size - 1))
    return any(math.isclose(end * rate, count, rel_tol=1e-6) for end, count in ends)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else (dict(value) if isinstance(value, dict) else value)
