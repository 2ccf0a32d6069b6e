"""Scenarios that together go through all of the general event loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qmodel.policy import FCFS, PS, Policy, PreemptivePriority
from qmodel.policy.preemption import Preemption
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.service.station import Station
from qmodel.service.transform import EarlyExit, FewerSteps, QueueCondition
from qmodel.workload import Closed, Erlang, Exponential, Hyperexponential, Pause, Poisson, RequestClass
from tests.simulation.cases import preset, two_classes


class Wavy(Policy):
    """A user's rank that goes up and down with age."""

    name, preemptive = "own", True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return request.size - attained if attained < 1.0 else request.lottery


def network_cases() -> dict[str, Scenario]:
    """Scenarios that together go through all of the general loop."""
    one, steps = Exponential(1.0), Erlang(2, 1.0)
    condition = FewerSteps(QueueCondition(above=2, below=1, swap_time_s=0.1), fraction=0.5)
    early = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.3, 0.7), delivery="release")
    slow = Environment((1.5, 0.0), ((-0.5, 0.5), (2.0, -2.0)))
    patient = replace(two_classes(FCFS()).classes[0], patience=Exponential(1.5))
    several = replace(two_classes(FCFS()).classes[1], pause=Pause(0.4, one))
    servers = {"servers": 3}

    def case(policy: Policy, preemption: Preemption | None = None, **system: Any) -> Scenario:
        return replace(two_classes(policy, 0.9), system=System(**system), preemption=preemption or Preemption())

    tandem = (
        RequestClass("a", Poisson(0.5), services={"x": one, "z": steps}),
        RequestClass("b", Poisson(0.3), services={"x": one, "y": steps, "z": one}, pause=Pause(0.3, one)),
    )
    return {
        "routed": case(preset("srpt"), routing=Routing("jsq", 2), migration_s=0.1, **servers),
        "least work": case(PS(), routing=Routing("least-work"), environment=slow, **servers),
        "in turn": case(preset("dps"), routing=Routing("round-robin"), setup_s=one, **servers),
        "at random": case(preset("lcfs-pr"), routing=Routing("random"), vacation_s=one, **servers),
        "shortest": case(preset("las"), routing=Routing("jsq"), **servers),
        "setups": case(preset("edf"), setup_s=one, buffer=4, **servers),
        "grain and cost": case(preset("las"), Preemption(cost_s=0.05, grain_s=0.5), **servers),
        "grain": case(preset("srpt"), Preemption(grain_s=0.5)),
        "own, grain": case(Wavy(), Preemption(grain_s=0.5)),
        "own": case(Wavy(), buffer=8),
        "shared in turns": case(PS(), Preemption(grain_s=0.5), **servers),
        "turns": case(preset("round-robin"), Preemption(cost_s=0.01, grain_s=0.1), environment=slow),
        "levels": case(preset("mlfq"), setup_s=one).with_transforms(condition, early),
        "trail": case(preset("trail"), buffer=9).with_transforms(early),
        "limited": case(preset("sjf"), batching="processor-sharing", max_batch=2, buffer=9).with_transforms(early),
        "own, reduced": case(Wavy(), buffer=9).with_transforms(condition),
        "accumulating": case(preset("accumulating")),
        "gittins": replace(two_classes(preset("gittins"), 0.9, Hyperexponential(1.0, 4.0))),
        "nested": case(PreemptivePriority(within="sjf"), **servers),
        "impatient": Scenario((patient, several), policy=preset("sjf"), system=System(servers=2, buffer=4)),
        "tandem": Scenario(tandem, stations=(Station("x", transfer_s=0.1), Station("y", 2), Station("z", 1, PS()))),
        "closed": Scenario((RequestClass("a", Closed(4, 1.0), one),), preset("srpt"), System(buffer=3)),
    }  # fmt: skip


NETWORK = network_cases()
