"""The process in which the target lives: `python -m qmodel.measure.worker`, started by the supervisor.

A process of its own, so that thread counts hold from the first import, a hang can be ended and a crash is
survived. Messages are JSON lines: the setup and then visit orders come in on stdin, events go out on what was
stdout. What the target prints goes to stderr. When stdin ends, the supervisor is gone and this process ends,
whatever it is doing.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from qmodel.engine_process import settle, stay_awake
from qmodel.errors import InputError
from qmodel.measure.failure import is_out_of_memory, reason
from qmodel.measure.options import check_options
from qmodel.measure.rows import RowFile
from qmodel.measure.targets.base import Target, make_target
from qmodel.measure.visit import Rest, Tell, VisitOrder, measure

Receive = Callable[[], dict[str, Any] | None]
_GRACE_S = 2


def serve(
    receive: Receive, tell: Tell, keep: Callable[[Target], None] = lambda target: None, rest: Rest = time.sleep
) -> None:
    """Build the target, then make visits until told to stop; every fault becomes a message.

    `keep` is given the target as soon as it is there; `rest` spends idle gaps.
    """
    setup = receive() or {}
    target = _build(setup, tell)
    if target is None:
        return
    keep(target)
    try:
        tell(_introduction(target))
        file = RowFile(Path(setup["csv"]), setup["header"])
        while order := receive():
            _visit(target, VisitOrder(**order), file, tell, rest)
    finally:
        target.close()


def _build(setup: dict[str, Any], tell: Tell) -> Target | None:
    """The target, or None when it cannot be built; why has been told then."""
    kind = setup["kind"]
    try:
        check_options(kind, setup["options"])
        return make_target(kind, threads=setup["threads"], **setup["options"])
    except InputError as error:
        tell(_refusal(error))
    except (Exception, SystemExit) as error:
        fault = (
            "needs more memory than there is" if is_out_of_memory(error) else f"cannot be set up: {reason(error)}"
        )
        tell(_refusal(InputError(f"target '{kind}'", fault, "correct its options")))
    return None


def _introduction(target: Target) -> dict[str, Any]:
    """What the supervisor needs to know of the target."""
    return {
        "event": "ready",
        "name": target.name,
        "device": target.device,
        "phases": list(target.phases),
        "factors": {phase: list(names) for phase, names in target.factors.items()},
        "versions": target.versions(),
        "prefix_cache": getattr(target, "prefix_cache", "none"),
        "kv_capacity_tokens": getattr(target, "kv_capacity_tokens", None),
    }


def _visit(target: Target, order: VisitOrder, file: RowFile, tell: Tell, rest: Rest) -> None:
    try:
        tell(measure(target, order, file, tell, rest))
    except InputError as error:
        tell(_refusal(error))
    except OSError as error:
        fault = f"cannot be written: {error.strerror}"
        tell(_refusal(InputError(str(file.path), fault, "make room and start again: it resumes"), unwritable=True))


def _refusal(error: InputError, *, unwritable: bool = False) -> dict[str, Any]:
    what = {"place": error.place, "fault": error.fault, "remedy": error.remedy}
    return {"event": "refused", **what, "unwritable": unwritable}


def main() -> None:
    """Entry point of the process."""
    own_cores = settle()
    orders, events = _take_channels()
    inbox: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    targets: list[Target] = []
    threading.Thread(target=_listen, args=(orders, inbox, targets), daemon=True).start()

    def tell(message: dict[str, Any]) -> None:
        events.write(json.dumps(message) + "\n")
        events.flush()

    serve(inbox.get, tell, targets.append, stay_awake if own_cores else time.sleep)


def _take_channels() -> tuple[IO[str], IO[str]]:
    """Keep stdin and stdout for messages; what the target reads is empty, what it prints goes to stderr."""
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return orders, events


def _listen(orders: IO[str], inbox: SimpleQueue[dict[str, Any] | None], targets: list[Target]) -> None:
    """Pass orders on; at the end of input, end the process and all it started."""
    for line in orders:
        inbox.put(json.loads(line))
    signal.alarm(_GRACE_S)  # ends the process even if closing the target hangs
    for target in targets:
        target.close()
    if os.getpgrp() == os.getpid():  # the supervisor made us the leader of our own group
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
