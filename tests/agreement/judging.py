"""Exact answers of theory against the simulation's 95 % interval: who lies outside, and whether too many do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scipy import stats

from qmodel.answer import NotAnalysable, PolicyAnswer
from qmodel.simulation import simulate
from qmodel.theory import analyse
from tests.agreement.cases import Case

METRICS = ("mean_response_s", "mean_wait_s", "p50_response_s", "p95_response_s", "std_response_s", "mean_slowdown")
SHARES = ("attainment", "rejected_share", "abandoned_share")
LONGEST = 6_400_000


@dataclass(frozen=True)
class Verdict:
    """One exact number, and the interval of the run."""

    case: str
    class_name: str
    metric: str
    exact: float
    value: float
    low: float
    high: float
    requests: int

    @property
    def inside(self) -> bool:
        """Whether the interval covers it; a rounding's breadth counts as inside."""
        slack = 1e-9 * abs(self.exact)
        return self.low - slack <= self.exact <= self.high + slack

    @property
    def errors(self) -> float:
        """Distance in half widths; none where only rounding tells the two apart, as at a point mass."""
        half, apart = (self.high - self.low) / 2, abs(self.value - self.exact)
        return apart / half if half and apart > 1e-9 * abs(self.exact) else 0.0

    def __str__(self) -> str:
        words = f"{self.case}: {self.metric} of {self.class_name} is {self.exact:.6g}"
        return f"{words}, simulated {self.value:.6g} [{self.low:.6g}, {self.high:.6g}], {self.requests:,} requests"


def judge(case: Case, seed: int, requests: int = 100_000, longest: int = LONGEST) -> list[Verdict] | str:
    """Every exact number of a case beside its interval; or why there is none.

    A pilot finds how long a run must be; the run that is judged is twice as long and has another seed, for a run
    that may stop when it looks well is no fair one.
    """
    name, scenario = case
    theory = analyse(scenario, percentiles=(50.0, 95.0))
    if isinstance(theory, NotAnalysable):
        return str(theory)
    while 2 * requests <= longest and is_short(simulate(scenario, requests=requests, seed=seed + 1, tell=None)):
        requests *= 2
    run = simulate(scenario, requests=2 * requests, seed=seed, percentiles=(50.0, 95.0), tell=None)
    return verdicts(name, theory, run, 2 * requests)


def is_short(run: PolicyAnswer) -> bool:
    """Whether the means need more requests."""
    return any("too short" in note and "mean_" in note for note in run.notes)


def verdicts(case: str, theory: PolicyAnswer, run: PolicyAnswer, requests: int) -> list[Verdict]:
    """The exact numbers that the run has intervals for; classes one by one only where there are several."""
    found = []
    for answer in theory.classes[:1] if len(theory.classes) == 2 else theory.classes:
        simulated = run[answer.name]
        for metric in (*METRICS, *SHARES):
            exact = answer.metrics.get(metric)
            if exact is None or metric not in simulated.ci95 or theory.method_of(answer.name, metric) != "exact":
                continue
            value = simulated.metrics[metric]
            assert value is not None
            found.append(Verdict(case, answer.name, metric, exact, value, *simulated.ci95[metric], requests))
    return found


def most_outside(count: int, chance: float = 0.05, doubt: float = 1e-3) -> int:
    """How many of `count` independent 95 % intervals may miss before it is no longer chance."""
    return int(stats.binom.ppf(1 - doubt, count, chance))


def by_metric(found: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """The verdicts on all requests by metric: one a case, so independent of one another."""
    parted: dict[str, list[Verdict]] = {}
    for verdict in found:
        if verdict.class_name == "all":
            parted.setdefault(verdict.metric, []).append(verdict)
    return parted
