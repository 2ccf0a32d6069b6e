"""A batching engine's run in virtual time: the live scheduler decides, iterations take what the formula says.

No clock and no process: as many requests as wanted, in seconds. It predicts what the compiled simulation of
iterations does not have, a queue condition that is read as a service starts; where both can answer, they agree to
the last token.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.live.batch_loop import sequence_of
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.engines.emulated import seconds, within
from qmodel.live.measured import class_metrics
from qmodel.live.order import make_order
from qmodel.live.schedule import draw_schedule
from qmodel.live.server import entries_of
from qmodel.live.wire import RunOrder, unpack_policy
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from qmodel.scenario import Scenario

REQUESTS = 20_000
WARMUP_SHARE = 0.1
ENGINE: dict[str, Any] = {"name": "virtual time", "emulated": True, "factors": (), "batching": ("continuous",)}


def answer_in_virtual_time(
    scenario: Scenario,
    *,
    requests: int = REQUESTS,
    seed: int = 1,
    percentiles: Sequence[float] = (50.0, 95.0, 99.0),
) -> PolicyAnswer:
    """The steady state of continuous batching from one long run, its first tenth left out.

    Intervals are by batch means.
    Raises InputError for what the live scheduler refuses, and for a load that the engine does not carry.
    """
    schedule = draw_schedule(scenario, requests / scenario.rate, seed)
    order = make_order(scenario, schedule, ENGINE)
    log = serve(order, schedule)
    horizon_s = float(schedule.attrs["horizon_s"])
    present = int((log.done_s > horizon_s).sum())
    if present > 4 * math.sqrt(len(log)):
        fault = f"leaves {present} of {len(log)} requests in the queue"
        raise InputError(f"load of {scenario.rate:g} requests/s", fault, "ask for a lower one")
    kept = log[log.scheduled_s >= WARMUP_SHARE * horizon_s]
    limits = {each.name: limit_of(each.slo, "response") for each in scenario.classes}
    parts = {"all": (scenario.rate, kept)}
    parts |= {each.name: (each.rate, kept[kept["class"] == each.name]) for each in scenario.classes}
    watched_s = (1.0 - WARMUP_SHARE) * horizon_s
    classes = [_answer(name, rate, part, limits, watched_s, percentiles) for name, (rate, part) in parts.items()]
    return PolicyAnswer(
        scenario.policy.name,
        scenario.rate,
        "simulation",
        f"the live scheduler over {len(log):,} requests in virtual time",
        float(log.attrs["busy_s"]) / max(horizon_s, float(log.done_s.max())),
        classes,
        source="qmodel simulation",
        assumptions=[f"warm-up dropped: the first {100 * WARMUP_SHARE:g} % of the run"],
        run={"requests": len(log), "seed": seed},
    )


def serve(order: RunOrder, schedule: pd.DataFrame) -> pd.DataFrame:
    """The schedule with the times of each request's first and last token; `attrs["busy_s"]` sums the iterations.

    Raises InputError for an order that is not of continuous batching.
    """
    batches = order.batches
    if batches is None or not batches.continuous or batches.worth is None or batches.max_batch is None:
        raise InputError("system.batching", "is not continuous", "simulate it")
    assert batches.time is not None
    scheduler = BatchScheduler(unpack_policy(order.policy), batches.max_batch, batches.worth, order.condition)
    sequences = [sequence_of(entry, batches.prefixes) for entry in entries_of(order)]
    arrival = schedule.scheduled_s.to_numpy()
    begun, first, done, spent = (np.full(len(arrival), np.nan) for _ in range(4))
    now, coming, busy_s = 0.0, 0, 0.0
    while coming < len(arrival) or scheduler.present:
        if not scheduler.present:
            now = max(now, arrival[coming])
        while coming < len(arrival) and arrival[coming] <= now:
            scheduler.add(sequences[coming])
            coming += 1
        computed = within(scheduler.choose(batches.max_batched_tokens, now), batches.max_batched_tokens)
        scheduler.took([sequence for sequence, _ in computed])
        began, now = now, now + seconds(batches.time, computed)
        busy_s += now - began
        for sequence, tokens in computed:
            index = sequence.number
            if np.isnan(begun[index]):
                begun[index], spent[index] = began, 0.0
            spent[index] += now - began
            if sequence.advance(tokens) and sequence.generated == 1:
                first[index] = now
            if sequence.generated == sequence.output:
                scheduler.finish(sequence)
                done[index] = now
    log = schedule.assign(
        status="ok", first_token_s=first, done_s=done, service_s=spent, response_s=done - arrival, delivered_at=1.0,
        reduced=[int(sequence.entry.reduced) for sequence in sequences],
        output_tokens=[sequence.output for sequence in sequences],
    )  # fmt: skip
    log.attrs["busy_s"] = busy_s
    return log


def _answer(
    name: str, rate: float, part: pd.DataFrame, limits: dict[str, float], watched_s: float,
    percentiles: Sequence[float],
) -> ClassAnswer:  # fmt: skip
    found = class_metrics(part, limits, watched_s, percentiles)
    values: dict[str, float | None] = {m: None if i is None else i.value for m, i in found.items()}
    bounded = {m: (i.low, i.high) for m, i in found.items() if i is not None and math.isfinite(i.low)}
    return ClassAnswer(name, rate, values, ci95=bounded)
