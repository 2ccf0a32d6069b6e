"""R5: "learned" operating systems: a knob set by search over a model, judged on traffic it has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import at_most, near, true
from qmodel.catalogue.row import Check, Row, Setting, Tuned
from qmodel.catalogue.tuned import objective, search
from qmodel.planning.knobs import lattice, parse_knob, values_at

QUANTUM = "policy.options.quantum=0.2..20.0"
BAYESIAN = Setting("bayesian", tuned=Tuned((QUANTUM,), "p95_response_s"))
ANNEALING = Setting("annealing", tuned=Tuned((QUANTUM,), "p95_response_s", "annealing"))
CALM: dict[str, Any] = {"class.jobs.arrivals": {"process": "poisson", "rate": 0.65}}
NO_TURNS = {**CALM, "policy.options.quantum": 1e6}


def judged(case: Case, setting: Setting, values: tuple[float | int, ...]) -> float:
    """The 95th percentile at these values on the requests that no tuner saw."""
    assert isinstance(setting.tuned, Tuned)
    return objective(case, setting, setting.tuned, values, judged=True)


def accept(case: Case) -> Iterator[Check]:
    """On unseen requests each tuner is within 5 % of the best of 200 quanta; the default is told."""
    knob = parse_knob(QUANTUM)
    values = [values_at([knob], point) for point in lattice([knob], 200)]
    best = min(judged(case, BAYESIAN, each) for each in values)
    for setting in (BAYESIAN, ANNEALING):
        assert isinstance(setting.tuned, Tuned)
        tried = search(case, setting, setting.tuned)
        yield true(f"{setting.label}: {len(tried.known)} tries, at most 30", len(tried.known) <= 30)
        found = judged(case, setting, tried.best)
        yield at_most(f"{setting.label}: p95 on unseen requests", found, "best of 200", best, slack=0.05)
        yield at_most(f"{setting.label}: p95 on unseen requests", found, "default", judged(case, setting, (5.0,)))
    endless = case.mean({**CALM, "policy": {"preset": "fcfs"}})
    simulated = case.simulate(NO_TURNS, requests=400_000)["all"].metrics["mean_response_s"] or 0.0
    yield near("E[T], Poisson arrivals, turns without end", simulated, endless, within=0.05)


ROW = Row(
    number=5,
    name="learned-os",
    title="knobs tuned by search over the model",
    method="simulation",
    idea="""A position paper: timers, sizes, policies and mappings of an operating system could be learned.
    What is testable in it is a tuner: it searches a declared knob, here the length of a turn, on a
    model, which is cheap, and is judged on traffic it has not seen. Short turns let short jobs
    overtake, but every change costs; so there is a best length between, and where it lies depends
    on the traffic.""",
    formula="""none: the loss is the simulated 95th percentile; Bayesian optimisation takes the point of largest
    expected improvement of a Gaussian process, annealing a random step that Metropolis' rule accepts""",
    reference="Zhang & Huang, Operating Systems Review 53(1), 2019",
    unchecked="""Tuning-like: the paper gives no algorithm and no numbers; the knob, the cost of a change and the
    tuners are chosen here""",
    missing="""learned policies and mechanisms, and the cost of training; controllers that move while the
    system runs are in qmodel plan --tune""",
    settings=(BAYESIAN, ANNEALING, Setting("default")),
    shown=("mean_response_s", "p95_response_s", "attainment"),
    no_live="its quantum is weighed against a switching cost, and the engines here switch at no cost",
    accept=accept,
)
