"""Scenarios that theory answers exactly: policies x laws x loads on one server, and what is out of the ordinary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qmodel.policy import make_policy
from qmodel.scenario import Scenario
from qmodel.scenario_file import from_tables
from qmodel.workload import (
    Deterministic,
    Distribution,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Poisson,
    PredictedSize,
    RequestClass,
    Uniform,
    Weibull,
)

LAWS: dict[str, Distribution] = {
    "exponential": Exponential(mean=1.0),
    "erlang": Erlang(k=4, mean=1.0),
    "deterministic": Deterministic(1.0),
    "hyperexponential": Hyperexponential(mean=1.0, scv=4.0),
    "lognormal": Lognormal(mean=1.0, scv=2.0),
    "weibull": Weibull(mean=1.0, scv=1.5),
    "uniform": Uniform(0.2, 1.8),
    "empirical": Empirical([0.1, 0.2, 0.4, 0.4, 0.7, 1.0, 1.6, 3.6]),
}
LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
OPTIONS: dict[str, dict[str, Any]] = {
    "mlfq": {"thresholds": (0.5, 1.0, 2.0)},
    "accumulating": {"rates": {"first": 2.0, "second": 1.0}},
}
ONE_CLASS = (
    "fcfs", "lcfs", "lcfs-pr", "random", "ps", "sjf", "psjf", "srpt", "las", "mlfq", "gittins",
    "spjf", "pspjf", "sprpt", "trail",
)  # fmt: skip
TWO_CLASSES = ("np-priority", "pr-priority", "dps", "accumulating")
Case = tuple[str, Scenario]


def one(policy: str, law: Distribution, load: float, error: str = "exponential") -> Scenario:
    """One class; predictions have an error."""
    scv = 0.5 if error == "lognormal" else None
    size = PredictedSize(error, scv=scv) if scv else PredictedSize(error)  # type: ignore[arg-type]
    request = RequestClass("a", Poisson(load), law, predicted_size=size)
    return Scenario((request,), policy=make_policy(policy, **OPTIONS.get(policy, {})))


def two(policy: str, law: Distribution, load: float) -> Scenario:
    """Two classes of different laws and priorities, 0.4 and 0.6 of the load."""
    classes = (
        RequestClass("first", Poisson(0.4 * load), law, priority=0, weight=3.0),
        RequestClass("second", Poisson(0.3 * load), law.scaled(2.0), priority=1, weight=1.0),
    )
    return Scenario(classes, policy=make_policy(policy, **OPTIONS.get(policy, {})))


def grid(loads: tuple[float, ...] = LOADS) -> Iterator[Case]:
    """Policies x laws x loads on one server with Poisson arrivals."""
    for name, law in LAWS.items():
        for load in loads:
            for policy in ONE_CLASS:
                yield f"{policy}, {name}, {load}", one(policy, law, load)
            for policy in TWO_CLASSES:
                yield f"{policy}, {name}, {load}", two(policy, law, load)


def small_grid() -> Iterator[Case]:
    """Every policy and every law at least once, at loads that a short run can tell."""
    laws = list(LAWS.items())
    for i, policy in enumerate((*ONE_CLASS, *TWO_CLASSES)):
        for name, law in (laws[i % len(laws)], laws[(i + 3) % len(laws)]):
            load = (0.3, 0.5, 0.7)[i % 3]
            made = one if policy in ONE_CLASS else two
            yield f"{policy}, {name}, {load}", made(policy, law, load)


PLAIN = {"distribution": "exponential", "mean": 1.0}
H2 = {"distribution": "hyperexponential", "mean": 1.0, "scv": 4.0}
ERLANG = {"distribution": "erlang", "k": 2, "mean": 1.0}
POISSON = {"process": "poisson", "rate": 1.0}
MAP = {"process": "map", "d0": [[-3.0, 0.5], [0.2, -0.6]], "d1": [[2.5, 0.0], [0.0, 0.4]]}
BURSTS = {"process": "mmpp", "rates": [2.0, 0.2], "generator": [[-0.4, 0.4], [0.2, -0.2]]}


def spelled(load: float, service: Any = None, arrivals: Any = None, **tables: Any) -> Scenario:
    """One class from the tables of a scenario file, at this load; keys of the class in `chat`."""
    chat = {"name": "chat", "arrivals": arrivals or POISSON, "service": service or PLAIN} | tables.pop("chat", {})
    if "services" in chat:
        chat.pop("service")
    made = from_tables({"class": [chat], **tables}, "case", Path())
    return made if chat["arrivals"]["process"] == "closed" else made.at_load(load)


def renewal(scv: float) -> dict[str, Any]:
    """Renewal arrivals."""
    return {"process": "renewal", "rate": 1.0, "scv": scv}


def odd() -> Iterator[Case]:
    """What is out of the ordinary: arrivals, several servers, and each feature."""
    for scv in (0.25, 0.5, 3.0):
        for law in (PLAIN, H2, ERLANG):
            yield f"GI/G/1, arrivals of scv {scv}, {law['distribution']}", spelled(0.7, law, renewal(scv))
    for name, process in (("MAP", MAP), ("MMPP", BURSTS)):
        for load in (0.4, 0.7):
            for law in (PLAIN, H2, ERLANG):
                yield f"{name}/G/1, {law['distribution']}, {load}", spelled(load, law, process)
            yield f"{name}/M/3, {load}", spelled(load, None, process, system={"servers": 3})
    for servers in (2, 5):
        for load in (0.5, 0.8, 0.9):
            yield f"M/M/{servers}, {load}", spelled(load, system={"servers": servers})
            fixed = {"distribution": "deterministic", "value": 1.0}
            yield f"M/D/{servers}, {load}", spelled(load, fixed, system={"servers": servers})
            yield f"M/H2/{servers}, {load}", spelled(load, H2, system={"servers": servers})
            yield f"M/E2/{servers}, {load}", spelled(load, ERLANG, system={"servers": servers})
            shared = {"servers": servers, "routing": "random"}
            yield f"random routing to {servers}, {load}", spelled(load, H2, system=shared)
            turns = {"servers": servers, "routing": "round-robin"}
            yield f"round robin to {servers}, {load}", spelled(load, system=turns)
            yield (
                f"ps on {servers}, {load}",
                spelled(load, H2, system={"servers": servers}, policy={"preset": "ps"}),
            )
    for routing in ("jsq", "least-work"):
        for load in (0.5, 0.8):
            queues = {"servers": 2, "routing": routing}
            yield f"{routing} to 2, {load}", spelled(load, system=queues)
    for load in (0.3, 0.7):
        for name in ("vacation_s", "setup_s"):
            for law in (PLAIN, H2):
                yield f"{name}, {law['distribution']}, {load}", spelled(load, law, system={name: ERLANG})
        speeds = {"speeds": [1.5, 0.5], "generator": [[-0.2, 0.2], [0.2, -0.2]]}
        yield f"environment, {load}", spelled(load, system={"environment": speeds})
        for servers in (1, 3):
            patient = {"patience": {"distribution": "exponential", "mean": 2.0}}
            fixed = {"patience": {"distribution": "deterministic", "value": 1.5}}
            yield f"M/M/{servers} + M, {load}", spelled(load, system={"servers": servers}, chat=patient)
            yield f"M/M/{servers} + D, {load}", spelled(load, system={"servers": servers}, chat=fixed)
            yield f"M/M/{servers}/6, {load}", spelled(load, system={"servers": servers, "buffer": 6})
        yield f"M/H2/1/6, {load}", spelled(load, H2, system={"buffer": 6})
        paused = {"pause": {"probability": 0.3, "duration": ERLANG}}
        yield f"pauses, {load}", spelled(load, chat=paused)
        yield f"pauses, ps, {load}", spelled(load, H2, chat=paused, policy={"preset": "ps"})
        stations = [{"name": "first"}, {"name": "second", "servers": 2, "transfer_s": 0.1}]
        line = {"services": {"first": PLAIN, "second": PLAIN}}
        yield f"two stations, {load}", spelled(load, chat=line, station=stations)
    for population in (1, 3, 10):
        asked = {"process": "closed", "population": population, "think_s": 3.0}
        yield f"closed, {population}", spelled(0.0, None, asked)
        yield f"closed, ps, {population}", spelled(0.0, H2, asked, policy={"preset": "ps"})
    batch = {"batching": "dynamic", "iteration_time": {"base": 0.6, "per_sequence": 0.1}}
    for rate in (0.5, 1.0, 3.0):
        chat = {"name": "chat", "arrivals": POISSON | {"rate": rate}, "service": PLAIN}
        for name, more in (("batches of at most 8", {"max_batch": 8}), ("batches of all", {}),
                           ("batches of 2 to 8", {"max_batch": 8, "min_batch": 2})):  # fmt: skip
            yield f"{name}, {rate}/s", from_tables({"class": [chat], "system": batch | more}, "case", Path())
