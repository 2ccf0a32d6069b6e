"""Answers by running inference: real requests, through a real serving loop, under the policy object itself.

from qmodel.live import LiveServer, draw_schedule, measured_answer
with LiveServer({"kind": "digits-diffusion"}) as server:
    run = server.run(scenario, draw_schedule(scenario, 60.0, seed=1), log_path="fcfs.csv")
answer = measured_answer(run, scenario)
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel.live.log import read_log
    from qmodel.live.measured import measured_answer, steady_part
    from qmodel.live.remote import RemoteServer
    from qmodel.live.run import LiveRun, LiveServer, RunFailed, run_live
    from qmodel.live.schedule import draw_schedule

__all__ = [
    "LiveRun",
    "LiveServer",
    "RemoteServer",
    "RunFailed",
    "draw_schedule",
    "measured_answer",
    "read_log",
    "run_live",
    "server_of",
    "steady_part",
]

_HOME = {
    "LiveRun": "run",
    "LiveServer": "run",
    "RemoteServer": "remote",
    "RunFailed": "run",
    "draw_schedule": "schedule",
    "measured_answer": "measured",
    "read_log": "log",
    "run_live": "run",
    "steady_part": "measured",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: the server process needs little of it."""
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def server_of(
    target: Mapping[str, Any], threads: int = 1, cores: Collection[int] = ()
) -> LiveServer | RemoteServer:
    """What runs the target: a server at a URL, or a serving process of our own, bound to `cores` if any."""
    from qmodel.live.remote import KIND, RemoteServer
    from qmodel.live.run import LiveServer

    if target.get("kind") == KIND:
        return RemoteServer(target, threads)
    return LiveServer(target, threads, cores=cores)
