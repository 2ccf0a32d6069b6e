"""The live scheduler in virtual time, written out plainly: a second route to what the compiled simulation answers.

No clock and no process: the scheduler of live runs decides, iterations take what the formula says.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.live.batch_loop import sequence_of
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.engines.emulated import give_up, seconds, within
from qmodel.live.pausing import away_s
from qmodel.live.server import entries_of
from qmodel.live.wire import RunOrder, unpack_policy

if TYPE_CHECKING:
    import pandas as pd

ENGINE: dict[str, Any] = {"name": "virtual time", "emulated": True, "factors": (), "batching": ("continuous",)}


def serve(order: RunOrder, schedule: pd.DataFrame) -> pd.DataFrame:
    """The schedule with the times of each request's first and last token; `attrs["busy_s"]` sums the iterations.

    Raises InputError for an order that is not of continuous batching.
    """
    batches = order.batches
    if batches is None or not batches.continuous or batches.worth is None or batches.max_batch is None:
        raise InputError("system.batching", "is not continuous", "simulate it")
    assert batches.time is not None
    scheduler = BatchScheduler(unpack_policy(order.policy), batches.max_batch, batches.worth, order.condition)
    sequences = [sequence_of(entry, batches.prefixes, batches.pauses) for entry in entries_of(order)]
    arrival = schedule.scheduled_s.to_numpy()
    begun, first, done, spent = (np.full(len(arrival), np.nan) for _ in range(4))
    now, coming, busy_s = 0.0, 0, 0.0
    away: list[tuple[float, int]] = []
    while coming < len(arrival) or scheduler.present or away:
        if not scheduler.present:
            now = max(now, min([*arrival[coming : coming + 1], *(back for back, _ in away[:1])]))
        while coming < len(arrival) and arrival[coming] <= now:
            scheduler.add(sequences[coming])
            coming += 1
        while away and away[0][0] <= now:
            scheduler.come_back(sequences[heappop(away)[1]], now)
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
            if sequence.generated < sequence.output:
                continue
            if service := sequence.comes_back:
                heappush(away, (now + service.pause_s, index))
                scheduler.pause(sequence)
                give_up(sequence, batches)
            else:
                scheduler.finish(sequence)
                done[index] = now
    log = schedule.assign(
        status="ok", first_token_s=first, done_s=done, service_s=spent,
        response_s=done - arrival - away_s(schedule), delivered_at=1.0,
        reduced=[int(sequence.entry.reduced) for sequence in sequences],
        output_tokens=[sequence.output for sequence in sequences],
    )  # fmt: skip
    log.attrs["busy_s"] = busy_s
    return log
