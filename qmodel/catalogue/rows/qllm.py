"""R24: QLLM: latency-sensitive requests interrupt best-effort ones at any layer."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, at_most, near, rising
from qmodel.catalogue.row import Check, Row, Setting

FCFS = {"policy": {"preset": "fcfs"}}
AT_ONCE = {"policy.grain_s": 0.0}


def accept(case: Case) -> Iterator[Check]:
    """Without a grain the sensitive class has the server to itself; with one it waits half a grain more at most."""
    load = 0.6 * 0.25
    alone = 0.25 + load * 0.25 / (1 - load)
    yield near("sensitive, grain 0", case.mean(AT_ONCE, "sensitive"), alone, within=1e-9)
    others = [{**AT_ONCE, "class.best-effort.arrivals.rate": rate} for rate in (0.1, 0.2, 0.4)]
    for changes in others:
        yield near("whatever the best-effort load", case.mean(changes, "sensitive"), alone, within=1e-9)
    grains = [0.005, 0.1, 0.5, 1.0]
    means = [case.mean({"policy.grain_s": grain}, "sensitive") for grain in grains]
    yield rising("sensitive, grains of 5 ms to 1 s", means)
    yield at_most("sensitive, grain 5 ms", means[0], "alone and half a grain", alone + 0.0025 / (1 - load))
    simulated = case.simulate({"policy.grain_s": 0.5}, requests=400_000)
    yield agrees("grain 0.5 s:", means[2], simulated, "sensitive:mean_response_s")


ROW = Row(
    number=24,
    name="qllm",
    title="preemption between layers",
    method="exact",
    idea="""Latency-sensitive requests interrupt best-effort ones at the next layer rather than at the end
    of an iteration or a request. Their response hardly depends on the best-effort load any more.
    The factor over FCFS grows without bound as the best-effort work saturates the server: that is
    where large factors come from.""",
    formula="T_LS = E[S] + lambda E[S^2] / (2 (1 - rho_LS)) + what is left of a grain under way",
    reference="Siavashi, Dindarloo, Kostic & Chiesa, EuroMLSys 2025, arXiv 2503.09304",
    missing="queues of single experts: preemption is of whole requests on one server",
    settings=(
        Setting("grain of a layer, 5 ms"),
        Setting("grain of an iteration, 0.1 s", {"policy.grain_s": 0.1}),
        Setting("non-preemptive", {"policy": {"preset": "np-priority"}}),
        Setting("fcfs", FCFS),
    ),
    shown=(
        "sensitive:mean_response_s",
        "sensitive:p95_response_s",
        "sensitive:attainment",
        "best-effort:mean_response_s",
    ),
    accept=accept,
)
