"""Results that are out before their service ends: T = W(occupancy) + delivery, policy by policy, or a refusal."""

import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import PRESETS, make_policy
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.workload import Exponential, Gamma
from tests.theory.scenarios import request_class

RELEASE = EarlyExit(fractions=(0.3, 1.0), probabilities=(0.6, 0.4), delivery="release")
REFUSED = {"dps", "gittins", "trail", "edf", "round-robin"}


def scenario(policy, load=0.7, system=None, transforms=(RELEASE,)):
    servers = (system or System()).servers
    classes = [
        request_class("a", 0.4 * load * servers / 0.7, Exponential(1.0), 0),
        request_class("b", 0.2 * load * servers / 0.7, Gamma(1.5, 2.0), 1),
    ]
    return Scenario(classes, policy=make_policy(policy), transforms=transforms, system=system or System())


@pytest.mark.parametrize("policy", sorted(PRESETS))
def test_against_simulation_or_refused(policy):
    answer = analyse(scenario(policy), percentiles=())
    if policy in REFUSED:
        assert isinstance(answer, NotAnalysable)
        return
    assert answer.method == "exact"
    run = simulate(scenario(policy), requests=80_000, percentiles=())
    for name in ("a", "b"):
        low, high = run[name].ci95["mean_response_s"]
        assert high - low < 0.25 * run[name].mean_response_s
        assert abs(answer[name].mean_response_s - run[name].mean_response_s) < high - low


@pytest.mark.parametrize("policy", ["fcfs", "np-priority", "lcfs"])
def test_an_uninterrupted_service_is_only_cut_short_at_its_end(policy):
    """E[T] - E[D] is the wait of the whole occupancy, with the exit or without."""
    exits, plain = analyse(scenario(policy)), analyse(scenario(policy, transforms=()))
    for name in ("a", "b"):
        assert exits[name].mean_wait_s == pytest.approx(plain[name].mean_wait_s, rel=1e-9)
        assert exits[name].mean_service_s == pytest.approx((0.6 * 0.3 + 0.4) * plain[name].mean_service_s, rel=1e-9)


@pytest.mark.parametrize(
    ("policy", "system"),
    [
        ("fcfs", System(servers=3)),
        ("ps", System(servers=3)),
        ("fcfs", System(servers=3, routing=Routing("round-robin"))),
        ("ps", System(servers=3, routing=Routing("random"))),
    ],
)
def test_several_servers(policy, system):
    answer = analyse(scenario(policy, system=system), percentiles=())
    run = simulate(scenario(policy, system=system), requests=80_000, percentiles=())
    for name in ("a", "b"):
        assert answer[name].mean_response_s == pytest.approx(run[name].mean_response_s, rel=0.06)
