"""R7: a queue whose server is a radio channel: its speed follows a Markov chain, lost packets are sent again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, near, true
from qmodel.catalogue.row import Check, Row, Setting

CHAIN = [[-0.02, 0.02], [0.18, -0.18]]
STEADY: dict[str, Any] = {"system": {}}
MEAN_SPEED: dict[str, Any] = {"system": {}, "class.packets.service.mean": 1 / (0.9 * 1.0 + 0.1 * 0.3)}


def resent(lost: float) -> dict[str, float]:
    """Each packet sent until it arrives: a geometric number of exponential times is exponential again."""
    return {"class.packets.service.mean": 1.0 / (1.0 - lost)}


def accept(case: Case) -> Iterator[Check]:
    """Equal speeds are M/M/1; losses stretch service by 1 / (1 - p); the simulation; variation costs."""
    equal = {"system.environment": {"speeds": [1.0, 1.0], "generator": CHAIN}}
    yield near("equal speeds", case.mean(equal), 1 / (1 - 0.6), within=1e-9)
    lossy = case.mean({**STEADY, **resent(0.2)})
    yield near("a fifth lost, steady channel", lossy, 1.25 / (1 - 0.6 * 1.25), within=1e-9)
    simulated = case.simulate(requests=1_000_000)
    yield agrees("E[T]", case.mean(), simulated)
    found = simulated["all"].metrics["mean_response_s"] or 0.0
    yield near("E[T] simulated", found, case.mean(), within=0.03)
    yield true("a channel that varies is worse than its mean speed", case.mean() > case.mean(MEAN_SPEED))


ROW = Row(
    number=7,
    name="wireless",
    title="a radio channel as a server",
    method="exact",
    idea="""The state of a radio channel drives its coding rate; packets that get lost are sent again. The
    channel is a server whose speed follows a Markov chain: bad spells pile up a queue that the mean
    speed does not show. As the last hop of a stream of tokens it delays what the reader sees.""",
    formula="quasi birth and death process of (channel, number there); with losses p: E[S] / (1 - p)",
    reference="Sen, survey of cross-layer protocols, 2011; Neuts 1981; Gilbert 1960, Elliott 1963",
    settings=(
        Setting("channel of two states"),
        Setting("and a tenth lost", resent(0.1)),
        Setting("constant mean speed", MEAN_SPEED),
    ),
    shown=("mean_response_s", "p95_response_s", "p99_response_s", "attainment"),
    missing="the hop behind an engine of continuous batching, where QoE is measured at the client; energy per bit",
    no_live="the engines here do not change their speed by a Markov chain",
    accept=accept,
)
