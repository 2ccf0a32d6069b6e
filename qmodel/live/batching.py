"""The loops of servers that serve requests together, made for an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from qmodel.errors import InputError
from qmodel.live.batch_loop import BatchLoop
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.dynamic_loop import DynamicLoop
from qmodel.live.engine import warm_up

if TYPE_CHECKING:
    from qmodel.live.batches import Batches
    from qmodel.live.engine import Engine
    from qmodel.live.scheduler import Entry
    from qmodel.live.server import Loop
    from qmodel.live.wire import Inbox, Outbox, RunOrder
    from qmodel.policy.base import Policy

LARGEST_WARM = 64


def batching_loop(
    engine: Engine, order: RunOrder, policy: Policy, entries: Sequence[Entry], inbox: Inbox, outbox: Outbox
) -> Loop:
    """The loop for the order's batches, its engine warm. Raises InputError for what the engine cannot do."""
    batches = order.batches
    assert batches is not None
    kind = "continuous" if batches.continuous else "dynamic"
    if kind not in getattr(engine, "batching", ()):
        raise InputError("system.batching", f"'{kind}' is not run by engine '{engine.name}'", "use another engine")
    served = cast(Any, engine)  # an engine with `open`, or with `start_batch`
    if not batches.continuous:
        _warm_batches(served, batches, order)
        return DynamicLoop(served, policy, batches, entries, inbox, outbox)
    assert batches.worth is not None and batches.max_batch is not None
    scheduler = BatchScheduler(policy, batches.max_batch, batches.worth, order.condition, batches.drops)
    session = served.open(batches, scheduler)
    return BatchLoop(engine, scheduler, session, entries, inbox, outbox, batches.prefixes, batches.pauses)


def _warm_batches(engine: Any, batches: Batches, order: RunOrder) -> None:
    """One step at each size of a batch that is likely, and some time of steps."""
    if engine.emulated:
        return
    most = min(batches.max_batch or LARGEST_WARM, LARGEST_WARM, len(order.works))
    for size in range(1, most + 1):
        engine.start_batch(order.works[:size], batches).step()
    warm_up(engine, order.works[:1])
