"""Arrivals of a log or a trace characterised: what they look like, whether they are Poisson, what they fit.

Candidates are judged twice: by the likelihood of stretches that were not fitted (three of ten, spread over the
record), and by the queueing delay they produce at a reference service, beside that of the record. The second
decides: of the candidates that beat Poisson on unseen stretches and come within `SLACK` of the best delay (or of
what simulation can tell), the one with the fewest parameters is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit import arrivals_markov as markov
from qmodel.fit.arrivals_delay import Delay, recorded_delays, simulated_delays
from qmodel.fit.arrivals_renewal import GapLaw, exponential_gaps, gamma_gaps, weibull_gaps
from qmodel.fit.arrivals_shape import Shape, shape_of
from qmodel.workload.arrival_tests import ArrivalTests, spread_over_grid, test_arrivals
from qmodel.workload.arrivals import ArrivalProcess, Poisson, Renewal, RenewalGaps
from qmodel.workload.grammar import arrivals_to_table
from qmodel.workload.heavy_tailed import Weibull
from qmodel.workload.markov_arrivals import MarkovArrivals

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

BLOCKS, HELD_OUT = 10, (2, 5, 8)
"""The record is cut into so many stretches, of which these (counted from 0) are not fitted."""
FEWEST_TO_FIT = 100
STATES = ((2, 300), (3, 1500), (4, 3000))
"""States of an MMPP, and the fewest arrivals from which it is tried."""
MOST_FITTED, MOST_JUDGED = 100_000, 60_000
"""Gaps that expectation maximisation looks at, and that likelihood is judged on: the first of each stretch."""
SLACK = 0.1
"""Delays may be so much farther off (mean of |log ratio|) when a simpler candidate is preferred."""
LEAST_WAIT = 0.05
"""Waits are compared from this share of a service time on."""
LAST_ROUNDS = 10


@dataclass(frozen=True)
class Candidate:
    """One fitted process: `gain` is its held-out log-likelihood an arrival above Poisson's, with standard error."""

    name: str
    parameters: int
    gain: float
    gain_error: float
    delays: tuple[Delay, ...]
    delay_error: float
    delay_noise: float = 0.0
    process: ArrivalProcess | None = None
    law: GapLaw | None = None

    @property
    def table(self) -> dict[str, Any] | None:
        """How a scenario spells it; None where it cannot."""
        return None if self.process is None else arrivals_to_table(self.process)


@dataclass(frozen=True)
class ArrivalProfile:
    """Everything that is known of the arrivals of one record."""

    shape: Shape
    tests: ArrivalTests
    recorded: tuple[Delay, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    nominal: str | None = None

    @property
    def refused_name(self) -> bool:
        """Whether the record was said to be Poisson and is not."""
        return self.nominal == "poisson" and self.tests.tested and not self.tests.poisson

    def to_dict(self) -> dict[str, Any]:
        """Plain values for TOML and JSON."""
        found: dict[str, Any] = {
            "tests": self.tests.to_dict(),
            "cv": self.shape.cv,
            "lag_correlation": {str(lag): value for lag, value in self.shape.lags},
            "index_of_dispersion": {f"{window:g}s": value for window, value in self.shape.dispersion},
            "rate_over_time": list(self.shape.rates),
            "stationarity": self.shape.stationarity.verdict,
            "repeated_gaps": self.shape.repeated_gaps,
            "nominal": self.nominal,
            "chosen": None if self.chosen is None else self.chosen.name,
        }
        return found | {"silences": None if self.shape.silences is None else dict(vars(self.shape.silences))}


def characterise(
    times_s: ArrayLike, rate: float | None = None, nominal: str | None = None, seed: int = 1
) -> ArrivalProfile:
    """Characterise increasing arrival times (s). `nominal` and `rate` are what the tool said they are.

    Raises InputError for times that fall, are not finite, or all are one.

    >>> found = characterise(np.cumsum(np.random.default_rng(1).exponential(0.5, 2000)), 2.0, "poisson")
    >>> found.tests.poisson, found.chosen.name
    (True, 'poisson')
    """
    times = np.asarray(times_s, dtype=float).reshape(-1)
    tests = test_arrivals(times, rate)
    if times.size < 2 or times[-1] <= times[0]:
        raise InputError("arrival times", "do not spread over any time", "give two different times at least")
    spread, grid = spread_over_grid(times)
    gaps = np.diff(spread)
    shape = shape_of(spread, grid)
    recorded = recorded_delays(gaps)
    if gaps.size < FEWEST_TO_FIT:
        return ArrivalProfile(shape, tests, recorded, (), None, nominal)
    candidates = tuple(_candidates(gaps, recorded, seed))
    return ArrivalProfile(shape, tests, recorded, candidates, _choice(candidates, tests), nominal)


def _choice(candidates: Sequence[Candidate], tests: ArrivalTests) -> Candidate:
    if tests.poisson:
        return candidates[0]
    able = [one for one in candidates if one.gain >= 0 and math.isfinite(one.delay_error)] or list(candidates)
    best = min(one.delay_error for one in able)
    near = [one for one in able if one.delay_error <= best + max(SLACK, one.delay_noise)]
    return min(near, key=lambda one: (one.process is None, one.parameters, -one.gain))


# --- fitting ----------------------------------------------------------------------------------------------


def _candidates(gaps: Floats, recorded: tuple[Delay, ...], seed: int) -> list[Candidate]:
    blocks = np.array_split(gaps, BLOCKS)
    held = [blocks[k] for k in HELD_OUT]
    fitted = [block for k, block in enumerate(blocks) if k not in HELD_OUT]
    judge = partial(_judged, held=_first(held, MOST_JUDGED), poisson=exponential_gaps(fitted))
    size = gaps.size
    found = [judge(_renewal(name, make, fitted, blocks)) for name, make in LAWS]
    found += [judge(one) for one in _markov(fitted, blocks, size)]
    return [_with_delays(one, recorded, size, seed) for one in found]


@dataclass(frozen=True)
class _Fitted:
    """Fitted to a part (to be judged) and to all (to be used)."""

    name: str
    parameters: int
    part: GapLaw | MarkovArrivals
    process: ArrivalProcess | None
    law: GapLaw | None = None


LAWS: tuple[tuple[str, Callable[[Sequence[Floats]], GapLaw]], ...] = (
    ("poisson", exponential_gaps),
    ("gamma", gamma_gaps),
    ("weibull", weibull_gaps),
)


def _renewal(
    name: str, make: Callable[[Sequence[Floats]], GapLaw], fitted: Sequence[Floats], blocks: Sequence[Floats]
) -> _Fitted:
    law = make(blocks)
    rate = 1.0 / law.mean_s
    process: ArrivalProcess | None = Poisson(rate) if name == "poisson" else None
    if name == "gamma":
        process = Renewal(rate, min(law.scv, 1e4))
    if name == "weibull":
        process = RenewalGaps(Weibull(mean=law.mean_s, scv=law.scv))
    return _Fitted(name, 1 if name == "poisson" else 2, make(fitted), process, law)


def _markov(fitted: Sequence[Floats], blocks: Sequence[Floats], size: int) -> list[_Fitted]:
    part, whole = _first(fitted, MOST_FITTED), _first(blocks, MOST_FITTED)
    rate = size / sum(float(block.sum()) for block in blocks)
    found = []
    for states, fewest in STATES:
        near = markov.fit_mmpp(part, states) if size >= fewest else None
        if near is None:
            continue
        found.append(_Fitted(f"mmpp-{states}", states * states, near, _again(near, whole, rate)))
        if states == 2:
            both = markov.fit_map2(part, near)
            found.append(_Fitted("map-2", 6, both, _again(both, whole, rate)))
    return found


def _again(process: MarkovArrivals, blocks: Sequence[Floats], rate: float) -> ArrivalProcess:
    """A few rounds more, on all stretches; at the rate of all."""
    levels = markov.levels_of(blocks)
    d0, d1 = process.matrices
    _, d0, d1 = markov.maximise(d0, d1, levels, LAST_ROUNDS)
    return markov.of_matrices(d0, d1, like=process).at_rate(rate)


def _first(blocks: Sequence[Floats], most: int) -> list[Floats]:
    each = max(1, most // len(blocks))
    return [block[:each] for block in blocks]


# --- judging ----------------------------------------------------------------------------------------------


def _judged(one: _Fitted, held: Sequence[Floats], poisson: GapLaw) -> Candidate:
    """Gain over Poisson on the held-out stretches, its error from cutting each into ten."""
    pieces = [piece for block in held for piece in np.array_split(block, 10) if piece.size]
    gains = np.array([_log_density(one.part, piece) - poisson.log_density(piece).sum() for piece in pieces])
    total = sum(piece.size for piece in pieces)
    if isinstance(one.part, GapLaw):
        value = float(gains.sum()) / total
    else:
        reference = sum(float(poisson.log_density(block).sum()) for block in held)
        value = (markov.log_likelihood(one.part, markov.levels_of(held)) - reference) / total
    error = float(gains.std(ddof=1) * math.sqrt(len(pieces))) / total if len(pieces) > 1 else math.nan
    return Candidate(one.name, one.parameters, value, error, (), math.nan, process=one.process, law=one.law)


def _log_density(part: GapLaw | MarkovArrivals, gaps: Floats) -> float:
    if isinstance(part, GapLaw):
        return float(part.log_density(gaps).sum())
    return markov.log_likelihood(part, markov.levels_of([gaps]))


def _with_delays(one: Candidate, recorded: tuple[Delay, ...], size: int, seed: int) -> Candidate:
    draw = one.law.sample if one.law is not None else partial(_sampled, one.process)
    delays = simulated_delays(draw, size, seed)
    ratios = [
        abs(math.log(max(mine.value, LEAST_WAIT) / max(theirs.value, LEAST_WAIT)))
        for mine, theirs in zip(delays, recorded, strict=True)
        if mine.value == mine.value and theirs.value == theirs.value
    ]
    certain = [delay for delay in delays if delay.value > LEAST_WAIT and delay.error == delay.error]
    noise = [delay.error / delay.value for delay in certain]
    return replace(
        one,
        delays=delays,
        delay_error=float(np.mean(ratios)) if ratios else math.inf,
        delay_noise=float(np.mean(noise)) if noise else 0.0,
    )


def _sampled(process: ArrivalProcess | None, rng: np.random.Generator, size: int) -> Floats:
    assert process is not None
    return np.diff(process.times(rng, (size + 1) / process.rate))
