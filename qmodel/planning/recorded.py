"""Recorded requests as a plan's traffic: read from a trace, put in a scenario, stretched, dealt out, replayed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.answer import PolicyAnswer
from qmodel.errors import InputError
from qmodel.scenario import Scenario
from qmodel.workload import Empirical, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qmodel.simulation.iterations.outcome import TokenOutcome
    from qmodel.simulation.iterations.replaying import Replay

LENGTHS = ("input_tokens", "output_tokens")
FEWEST = 20
"""Requests without which a trace says nothing."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """Requests in order of arrival: times in seconds from the first, and lengths in tokens (None: not recorded).

    >>> Recorded(np.array([0.0, 1.0, 4.0])).rate
    0.5
    """

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64] | None = None
    output_tokens: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.arrival_s.size

    @property
    def rate(self) -> float:
        """Requests a second, from the first to the last."""
        return (len(self) - 1) / float(self.arrival_s[-1] - self.arrival_s[0])

    @property
    def has_lengths(self) -> bool:
        """Whether the lengths were recorded."""
        return self.input_tokens is not None and self.output_tokens is not None

    def of(self, chosen: slice | NDArray[np.bool_]) -> Recorded:
        """The chosen requests, at the times at which they came."""
        kept: dict[str, Any] = {name: None if of is None else of[chosen] for name, of in vars(self).items()}
        return Recorded(**kept)

    def at_rate(self, rate: float) -> Recorded:
        """The same requests, time stretched or compressed to another rate."""
        return replace(self, arrival_s=self.arrival_s * (self.rate / rate))

    def dealt(self, engines: int) -> list[Recorded]:
        """What each of so many engines is given when requests are dealt to them in turn."""
        return [self.of(slice(first, None, engines)) for first in range(engines)]


def read_recorded(path: Path) -> Recorded:
    """The requests of a trace or log of a known format. Raises InputError naming the file."""
    from qmodel.interop import read_file

    found = read_file(path)
    if found.shape != "requests":
        raise InputError(str(path), f"is no trace of requests but: {found.title}", "give times and lengths")
    frame = found.frame.sort_values("scheduled_s", kind="stable")
    arrival = frame["scheduled_s"].to_numpy(dtype=float)
    if arrival.size < FEWEST or not arrival[-1] > arrival[0]:
        raise InputError(str(path), f"holds {arrival.size} requests", f"give at least {FEWEST}, at several times")
    lengths: list[NDArray[np.int64] | None] = [None, None]
    if all(name in frame and frame[name].notna().all() for name in LENGTHS):
        lengths = [np.maximum(1, frame[name].to_numpy(dtype=np.int64)) for name in LENGTHS]
    return Recorded(arrival - arrival[0], *lengths)


def with_recorded(scenario: Scenario, recorded: Recorded) -> Scenario:
    """The scenario of one class with the trace's arrivals, and its lengths in place of the laws of factors.

    Raises InputError for several classes, or lengths that are needed and not recorded.
    """
    if len(scenario.classes) != 1:
        raise InputError("--trace", f"the scenario has {len(scenario.classes)} classes", "give one that has one")
    one = scenario.classes[0]
    factors = dict(one.factors)
    for name in LENGTHS:
        if name in factors and recorded.has_lengths:
            factors[name] = Empirical(getattr(recorded, name))
    if scenario.system.batching == "continuous" and not recorded.has_lengths:
        raise InputError("--trace", "holds no lengths", "continuous batching needs input and output tokens")
    arrivals = Trace(tuple(recorded.arrival_s.tolist()))
    return replace(scenario, classes=(replace(one, arrivals=arrivals, factors=factors),))


def replayed(
    scenario: Scenario, recorded: Recorded, percentiles: Sequence[float], engines: int = 1, seed: int = 1
) -> PolicyAnswer:
    """The answer of one pass over these requests, from empty, dealt in turn to so many batching engines.

    Lengths are those recorded, pair by pair; nothing is left out, and no steady state is supposed.
    """
    from qmodel.simulation.iterations.metrics import by_class, whole_run
    from qmodel.simulation.iterations.scenario_rules import class_answers, rules_of
    from qmodel.simulation.iterations.serving import Totals

    runs = [_run(scenario, part, seed) for part in recorded.dealt(engines) if len(part)]
    outcome, totals = _joined([run.outcome for run in runs]), Totals()
    for run in runs:
        totals.add(run.totals)
    span = max(float(np.nanmax(outcome.done_s)), 1e-9) if outcome.served.any() else math.inf
    metrics = [each for _, each in by_class(outcome, scenario.classes, percentiles, [len(outcome) / span])]
    classes = class_answers(scenario, metrics)
    classes[0].metrics |= whole_run(totals, rules_of(scenario).engine, percentiles, int(outcome.served.sum()))
    title = f"iteration-level replay of {len(recorded):,} recorded requests"
    answer = PolicyAnswer(
        scenario.policy.name, scenario.rate, "simulation", title, totals.busy_s / (span * engines), classes
    )
    answer.run = {"requests": len(recorded), "seed": seed, "warmup": 0}
    return answer


def _run(scenario: Scenario, recorded: Recorded, seed: int) -> Replay:
    from qmodel.simulation.iterations.replaying import replay_scenario

    assert recorded.input_tokens is not None and recorded.output_tokens is not None
    return replay_scenario(
        scenario, recorded.arrival_s, recorded.input_tokens, recorded.output_tokens, seed=seed, tell=None
    )


def _joined(outcomes: Sequence[TokenOutcome]) -> TokenOutcome:
    """What became of the requests of all engines, in order of arrival."""
    if len(outcomes) == 1:
        return outcomes[0]
    columns = [np.concatenate(column) for column in zip(*(vars(each).values() for each in outcomes), strict=True)]
    order = np.argsort(columns[3], kind="stable")
    return type(outcomes[0])(*(column[order] for column in columns))
