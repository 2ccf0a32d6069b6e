"""R8: Conveyor: the tool starts while the answer is still being decoded."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import agrees, at_most, inside, near
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.service.overlap import overlapped, tool_left

DECODE, TOOL, PARTS = 10.0, 6.0, 10


def tool(seconds: float) -> dict[str, float]:
    """So much of the tool is left when the answer is whole."""
    return {"class.requests.services.tool.value": seconds}


def accept(case: Case) -> Iterator[Check]:
    """Formula and simulation; the engine's queue is the same; the gain is below its bound."""
    scenario = case.scenario()
    yield near("tool left after the answer", scenario.classes[0].services["tool"].mean,
               tool_left(DECODE, TOOL, PARTS), within=1e-12)  # fmt: skip
    rho = scenario.rate * DECODE
    wait = rho * DECODE / (2 * (1 - rho))
    found = case.simulate(requests=100_000)
    yield agrees("W + max(D + To/k, D/k + To)", wait + overlapped(DECODE, TOOL, PARTS), found)
    gap = value(case.simulate(tool(TOOL), requests=100_000), "mean_response_s") - value(found, "mean_response_s")
    yield near("sequential less overlapped, simulated", gap, TOOL - tool_left(DECODE, TOOL, PARTS), within=1e-6)
    gain = 1 - overlapped(DECODE, TOOL, PARTS) / (DECODE + TOOL)
    yield at_most("gain", gain, "min(D, To) / (D + To)", min(DECODE, TOOL) / (DECODE + TOOL))
    gains = [1 - overlapped(10 * (1 - share), 10 * share, 1000) / 10 for share in (0.2, 0.388, 0.5, 0.8)]
    yield inside("greatest gain over shares of the tool", max(gains), 0.388, 0.5)
    small = 1 - overlapped(DECODE, 1e-6, PARTS) / (DECODE + 1e-6)
    yield at_most("gain with a tool of a microsecond", small, "nothing", 1e-6)


ROW = Row(
    number=8,
    name="conveyor",
    title="tools that start on an answer half written",
    method="exact",
    idea="""A parser reads the answer as it is decoded and starts the tool on what is there: a search, a
    line of Python. Tool and decoding overlap like stages of a conveyor belt. The engine is as busy
    as before and its queue as long; only the end of the response comes earlier, by at most half.""",
    formula="""k equal parts: T = W + max(D + To/k, D/k + To) against W + D + To; gain <= min(D, To) / (D + To)
    <= 1/2""",
    reference="Xu, Kong, Chen & Zhuo 2024, arXiv 2406.00059",
    unchecked="""Conveyor-like: k equal parts are assumed (max-plus algebra); the tool has as many servers as it
    needs""",
    settings=(
        Setting("overlapped in 10 parts"),
        Setting("overlapped in 2 parts", tool(3.0)),
        Setting("one after the other", tool(TOOL)),
    ),
    shown=("mean_response_s", "p95_response_s", "mean_wait_s"),
    accept=accept,
)
