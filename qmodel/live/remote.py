"""Live runs on a server that somebody else wrote: the same schedule and the same log, over HTTP.

    with RemoteServer({"kind": "openai-server", "url": "http://127.0.0.1:8000"}) as server:
        run = server.run(scenario, draw_schedule(scenario, 60.0, seed=1), log_path="fcfs.csv")

The policy is the server's own: what the scenario names must be what it was started with. What happens inside it is
not seen, so when service began, and how long its iterations took, is unknown (NaN, and an account without totals).
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qmodel.errors import InputError, Terminated
from qmodel.files import write_atomically
from qmodel.live.log import csv_text, tokens_path
from qmodel.live.meta import after_run, before_run, identity, meta_path
from qmodel.live.run import LiveRun, RunFailed
from qmodel.measure.targets import make_target
from qmodel.toml_text import to_toml

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.live.load.running import LoadRun
    from qmodel.live.session import Progress
    from qmodel.measure.targets.openai_server import OpenAIServer
    from qmodel.scenario import Scenario

KIND = "openai-server"
UNKNOWN = ("started_s", "left_s", "service_s")


class RemoteServer:
    """A server at a URL, for several runs; stands where `LiveServer` does. Raises InputError for a bad target."""

    def __init__(self, target: Mapping[str, Any], threads: int = 1) -> None:
        made = make_target(KIND, threads=threads, **{k: v for k, v in target.items() if k != "kind"})
        self._known = cast("OpenAIServer", made)
        self.target, self.threads = dict(target), threads

    def __enter__(self) -> RemoteServer:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def run(
        self,
        scenario: Scenario,
        schedule: pd.DataFrame,
        *,
        log_path: Path | str,
        progress: Progress | None = None,
        drain_timeout_s: float = 60.0,
        about: Mapping[str, Any] | None = None,
    ) -> LiveRun:
        """Send the schedule, open loop, and write the log and its metadata.

        A request has `drain_timeout_s` more than the horizon of the run, at most the target's `timeout_s`. Raises
        InputError where nobody answers, and RunFailed for a run that did not come to its end.
        """
        from qmodel.live.load.running import LoadStopped, run_load

        path = Path(log_path)
        asked = identity(scenario, schedule, shown(self.target), self.threads)
        meta = before_run(asked, self._engine(), path)
        longest = schedule.attrs["horizon_s"] + drain_timeout_s
        target = replace(self._known.target, timeout_s=min(float(self.target.get("timeout_s", longest)), longest))
        begun = time.time()
        try:
            load = asyncio.run(run_load(plan_of(schedule), target, raw_path(path)))
        except LoadStopped as stopped:
            if stopped.signal:
                raise (Terminated if stopped.signal == signal.SIGTERM else KeyboardInterrupt) from stopped
            raise RunFailed(stopped.place, stopped.fault, stopped.remedy) from stopped
        log = log_of(load, schedule)
        meta |= after_run(log, schedule, {"server_metrics": load.measured}, begun, time.time())
        meta["engine"] |= engine_facts(load)
        meta["client"] = {"waking": load.waking}
        return _kept(LiveRun(log, meta | {"about": dict(about or {})}, path))

    def _engine(self) -> dict[str, Any]:
        return {"name": KIND, "device": self._known.device, "emulated": False, "versions": {}}


def raw_path(path: Path) -> Path:
    """Where the load generator writes, beside the log.

    >>> raw_path(Path("live/fcfs.csv")).name
    'fcfs.load.csv'
    """
    return path.with_name(f"{path.stem}.load.csv")


def _kept(run: LiveRun) -> LiveRun:
    """Tokens, metadata and, last, the log: where a log stands, all of it stands."""
    raw = raw_path(run.path)
    tokens_path(raw).replace(tokens_path(run.path))
    write_atomically(meta_path(run.path), to_toml(run.meta))
    write_atomically(run.path, csv_text(run.log))
    for left in (raw, meta_path(raw)):
        left.unlink(missing_ok=True)
    return run


def shown(target: Mapping[str, Any]) -> dict[str, Any]:
    """The target's options as they may be written down: without the key."""
    return {name: value for name, value in target.items() if name != "api_key"}


def plan_of(schedule: pd.DataFrame) -> pd.DataFrame:
    """The requests of a schedule as a load generator sends them. Raises InputError for requests without tokens."""
    missing = [name for name in ("input_tokens", "output_tokens") if name not in schedule]
    if missing:
        raise InputError("scenario", f"its classes have no {missing[0]}", "a language-model server counts tokens")
    plan = schedule[["request_id", "class", "scheduled_s"]].copy()
    plan["wanted_input_tokens"] = schedule["input_tokens"].astype(int)
    plan["wanted_output_tokens"] = schedule["output_tokens"].astype(int)
    plan["priority"] = schedule["priority"].astype(int)
    plan.attrs = dict(schedule.attrs)
    return plan


def log_of(load: LoadRun, schedule: pd.DataFrame) -> pd.DataFrame:
    """The request log of a live run: what the client saw, and what was planned."""
    log = load.log.drop(columns=["wanted_input_tokens", "wanted_output_tokens", "priority", "due_s"])
    log["exit"] = log["exit"].replace({"length": "full", "stop": "early"})
    log[list(UNKNOWN)] = math.nan
    log["size_s"] = schedule["size_s"].to_numpy()
    log["reduced"], log["delivered_at"] = 0, 1.0
    return log


def engine_facts(load: LoadRun) -> dict[str, Any]:
    """What the server says of itself."""
    card, software = load.server.card, load.server.software
    facts: dict[str, Any] = {"emulated": bool(card.get("emulated"))}
    if card.get("engine"):
        facts["name"] = str(card["engine"])
    if software:
        facts["versions"] = {"server": software}
    return facts
