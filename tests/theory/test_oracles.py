"""Every reference value of oracles.json, asked as a user would, to 1e-8 or its last digit, and none left out."""

import numpy as np
import pytest

from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    PS,
    PSJF,
    PSPJF,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    NonPreemptivePriority,
    PreemptivePriority,
)
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ModelSwap, QueueCondition
from qmodel.theory import analyse
from qmodel.workload import (
    Deterministic,
    Exponential,
    Hyperexponential,
    Mmpp,
    Poisson,
    PredictedSize,
    RequestClass,
)
from tests.theory.scenarios import ORACLES, means, one, request_class, several

UNIT, H2 = Exponential(1.0), Hyperexponential(1.0, 4.0)
POLICIES = {
    policy.name: policy for policy in (SRPT(), PSJF(), SJF(), LAS(), PS(), FCFS(), SPJF(), PSPJF(), SPRPT())
}
PRIORITIES = {"np-priority": NonPreemptivePriority(), "pr-priority": PreemptivePriority()}


def mean(scenario):
    return analyse(scenario, percentiles=())["all"].mean_response_s


def order(law, load, name, **given):
    return mean(one(float(load), law, POLICIES[name], **given))


def two_classes(key):
    law = H2 if "H2" in key else UNIT
    return means(several([(0.3, law), (0.5, law)], PRIORITIES[key.split()[-1]]))


def weighted_sharing():
    classes = [request_class("a", 0.4, UNIT, weight=2.0), request_class("b", 0.4, UNIT)]
    return means(Scenario(classes, policy=DPS()))


def probabilities(policy):
    """P(T <= 5) and P(T <= 20)."""
    limits = [request_class("a", 0.8, H2, slo={"response_s": limit}) for limit in (5.0, 20.0)]
    return [analyse(Scenario([each], policy=policy), percentiles=())["all"].attainment for each in limits]


def limited_sharing(places):
    system = System(batching="processor-sharing", max_batch=None if places == "inf" else int(places))
    return mean(Scenario([request_class("a", 0.8, H2)], policy=FCFS(), system=system))


def take_all(load):
    system = System(batching="dynamic", iteration_time=IterationTime(1.8874, 0.1438))
    return mean(Scenario([request_class("a", float(load) / 0.1438, UNIT)], policy=FCFS(), system=system))


def markov_arrivals():
    arrivals = Mmpp((1.9, 0.3), ((-0.1, 0.1), (0.1, -0.1)))
    assert np.allclose(arrivals.matrices[0], [[-2.0, 0.1], [0.1, -0.4]])
    return mean(Scenario([RequestClass("a", arrivals=arrivals, service=Hyperexponential(0.5, 4.0))], policy=FCFS()))


def impatient():
    patient = RequestClass("a", arrivals=Poisson(9.0), service=UNIT, patience=Exponential(2.0))
    found = analyse(Scenario([patient], policy=FCFS(), system=System(servers=10)), percentiles=())
    return {"P(abandon)": found["all"].abandoned_share}


def setup():
    return mean(Scenario([request_class("a", 0.8, UNIT)], policy=FCFS(), system=System(setup_s=Exponential(2.0))))


def swapped():
    swap = ModelSwap(when=QueueCondition(4), service_factor=0.4)
    found = analyse(one(1.1, Deterministic(1.0), FCFS(), transforms=[swap]), percentiles=())["all"]
    return [found.mean_response_s, found.share_reduced]


NOISY = {"predicted_size": PredictedSize("exponential")}
ASKED = {
    "M/M/1 mean T": lambda load, name: order(UNIT, load, name),
    "M/H2/1 mean T (scv 4, balanced means)": lambda load, name: order(H2, load, name),
    "M/M/1 with exponential predictions, mean T": lambda load, name: order(UNIT, load, name, **NOISY),
    "two classes, arrival rates 0.3 and 0.5, class 1 first, mean T": two_classes,
    "DPS M/M/1, arrival rates 0.4 and 0.4, weights 2 and 1, mean T": weighted_sharing,
    "M/H2/1 (scv 4) at 0.8, P(T<=5) and P(T<=20)": lambda name: probabilities(POLICIES[name]),
    "limited processor sharing M/H2/1 (scv 4) at 0.8, mean T by number in service": limited_sharing,
    "take-all batching, service alpha*b + tau0, alpha 0.1438, tau0 1.8874, mean T by lambda*alpha": take_all,
    "MAP/PH/1 mean T: D0 [[-2,0.1],[0.1,-0.4]], D1 diag(1.9,0.3), service H2(p; 4p, 4(1-p)) scv 4 balanced": (
        markov_arrivals
    ),
    "Erlang-A lambda 9 mu 1 theta 0.5 s 10 (one_route)": lambda share: impatient()[share],
    "M/M/1 with exponential setup, mean 2, at 0.8 (one_route)": setup,
    "model swap at queue threshold 4: arrival rate 1.1, service 1.0 or 0.4 deterministic, mean T and share on the "
    "small model": swapped,
}
ELSEWHERE = {("Erlang-A lambda 9 mu 1 theta 0.5 s 10 (one_route)", "P(wait)")}
"""No answer carries it: `test_impatience.py` asks the model."""


def leaves(key, value, path=()):
    """Each reference value (a number, or the numbers of one question), with the words that lead to it."""
    if isinstance(value, dict):
        for word, inner in value.items():
            yield from leaves(key, inner, (*path, word))
    else:
        yield pytest.param(key, path, value, id=" ".join((key[:24], *path)))


def asked():
    for key, value in ORACLES.items():
        if key not in ("about", "beware"):
            yield from (leaf for leaf in leaves(key, value) if (key, *leaf.values[1]) not in ELSEWHERE)


def last_digit(value):
    """Half a unit of the last digit written, or 1e-8 of the value if that is more."""
    digits = len(repr(value).partition(".")[2])
    return max(0.5 * 10.0**-digits, 1e-8 * abs(value)) if digits > 1 else 1e-8 * abs(value)


ROUNDED = {
    "M/M/1 with exponential predictions, mean T": 4e-7,
    "M/H2/1 (scv 4) at 0.8, P(T<=5) and P(T<=20)": 2.6e-6,
}
"""Errors of reference values. Predictions: `test_predictions.py` has Bessel functions to 1e-9. Processor sharing:
P(T <= 20) agrees to 5e-9; of P(T <= 5), 20 to 320 terms on one contour for all sizes, and inversions size by size
with another grid of sizes, all say 0.7797676 (to 2e-7)."""


@pytest.mark.parametrize(("key", "path", "value"), list(asked()))
def test_oracle(key, path, value):
    found = ASKED[key](*path)
    expected = value if isinstance(value, list) else [value]
    for got, exact in zip(found if isinstance(found, list) else [found], expected, strict=True):
        assert abs(got - exact) <= 1.05 * last_digit(exact) + ROUNDED.get(key, 0.0) * abs(exact)
