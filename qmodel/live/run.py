"""Live runs: a schedule sent at its times to a serving process, and the request log that comes of it.

    with LiveServer({"kind": "digits-diffusion"}) as server:
        run = server.run(scenario, draw_schedule(scenario, 60.0, seed=1), log_path="fcfs.csv")

A log stands under its name only when its run is complete; until then it is `NAME.csv.part`, which keeps the
finished rows of a run that died.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.live.collector import Collector
from qmodel.live.log import (
    OK,
    TOKEN_COLUMNS,
    PartialLog,
    RowMaker,
    csv_text,
    frame_of,
    partial_path,
    read_log,
    tokens_path,
)
from qmodel.live.meta import after_run, before_run, check_meta, identity, meta_path
from qmodel.live.order import make_order
from qmodel.live.process import ServerProcess
from qmodel.live.session import Progress, Session, not_sent
from qmodel.toml_text import to_toml

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.scenario import Scenario


class RunFailed(InputError):
    """A live run that did not come to its end; what it finished stands in the partial log."""


@dataclass(frozen=True)
class LiveRun:
    """A complete live run: one row a request, and what must be known to read them."""

    log: pd.DataFrame
    meta: dict[str, Any]
    path: Path

    @property
    def emulated(self) -> bool:
        """Whether nothing was computed."""
        return bool(self.meta["engine"]["emulated"])

    @classmethod
    def read(cls, path: Path | str) -> LiveRun:
        """A run from its log and the metadata beside it. Raises InputError."""
        path = Path(path)
        return cls(read_log(path), read_meta(path), path)


def read_meta(log_path: Path) -> dict[str, Any]:
    """The metadata beside a log. Raises InputError."""
    path = meta_path(log_path)
    try:
        meta = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), "is not the metadata of a live run", "make the run again") from error
    check_meta(meta, log_path)
    return meta


class LiveServer:
    """A serving process that stays up for several runs. A context manager: leaving it ends the process.

    `target` names the engine (`kind`) and its options; its process is bound to `cores`, if there are any. A server
    that died is started again by the next run. `step_timeout_s`: without a sign of life for so long while requests
    wait, the server is held to hang.
    """

    def __init__(
        self,
        target: Mapping[str, Any],
        threads: int = 1,
        *,
        setup_timeout_s: float = 120.0,
        step_timeout_s: float = 30.0,
        cores: Collection[int] = (),
    ) -> None:
        if "kind" not in target:
            raise InputError("engine", "has no kind", "name one, e.g. kind = 'digits-diffusion'")
        self.target, self.threads, self.cores = dict(target), threads, cores
        self._setup_timeout_s, self._step_timeout_s = setup_timeout_s, step_timeout_s
        self._process: ServerProcess | None = None

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while it is not up."""
        return self._process.pid if self._process else None

    def engine(self) -> dict[str, Any]:
        """What the engine says of itself; starts the server if need be. Raises InputError."""
        return self._running().introduction

    def close(self) -> None:
        """End the server."""
        process, self._process = self._process, None
        if process:
            process.stop()

    def run(
        self,
        scenario: Scenario,
        schedule: pd.DataFrame,
        *,
        log_path: Path | str,
        progress: Progress | None = None,
        drain_timeout_s: float = 60.0,
        about: Mapping[str, Any] | None = None,
        resume: bool = False,
    ) -> LiveRun:
        """Send the schedule and serve it under the scenario's policy; writes the log and its metadata.

        After the last arrival the server has `drain_timeout_s` to finish; what it has not done then is counted as
        failed. `about` goes into the metadata (e.g. the hash of predictions saved before). With `resume`, a
        complete log of the same question stands instead of a new run. Raises InputError for what cannot be run, and
        RunFailed when the server died or hung, every request failed, or the log could not be written.
        """
        path = Path(log_path)
        asked = identity(scenario, schedule, self.target, self.threads)
        if resume and (found := find_run(path, asked)):
            return found
        process = self._running()
        order = make_order(scenario, schedule, process.introduction)
        meta = before_run(asked, process.introduction, path)
        maker = RowMaker(schedule)
        log = PartialLog(path, maker.columns)
        collector = Collector(process.records, maker, log, not_sent(len(schedule)))
        times = schedule["scheduled_s"].to_numpy(dtype=float)
        session = Session(process, collector, times, self._step_timeout_s, progress)
        begun = time.time()
        try:
            process.prepare(order, self._setup_timeout_s)
            session.serve(drain_timeout_s)
        except BaseException:
            self._drop()
            collector.join()
            log.close()
            raise
        if session.failure:
            self._drop()
            collector.join()
        missing = session.missing_rows(maker)
        if session.failure:
            raise _failed(path, log, collector, missing, session.failure)
        frame = frame_of([*collector.rows.values(), *missing], maker.columns)
        if not (frame["status"] == OK).any():
            raise _failed(path, log, collector, missing, f"no request came through, the first {frame['status'][0]}")
        log.close()
        meta |= after_run(frame, schedule, collector.statistics or {}, begun, time.time())
        meta["client"] = {"waking": session.waking, "engine_cores": sorted(self.cores)}
        return _keep(LiveRun(frame, meta | {"about": dict(about or {})}, path), collector.token_times_s)

    def _running(self) -> ServerProcess:
        if self._process is None or not self._process.alive:
            self._drop()
            self._process = ServerProcess(self.target, self.threads, self._setup_timeout_s, self.cores)
        return self._process

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()


def run_live(
    scenario: Scenario,
    schedule: pd.DataFrame,
    *,
    target: Mapping[str, Any],
    log_path: Path | str,
    threads: int = 1,
    progress: Progress | None = None,
    drain_timeout_s: float = 60.0,
    about: Mapping[str, Any] | None = None,
) -> LiveRun:
    """One run on a server of its own; see `LiveServer.run`."""
    with LiveServer(target, threads) as server:
        return server.run(
            scenario,
            schedule,
            log_path=log_path,
            progress=progress,
            drain_timeout_s=drain_timeout_s,
            about=about,
        )


def find_run(path: Path, asked: Mapping[str, Any]) -> LiveRun | None:
    """The complete run at `path`, if it answered the question with this identity."""
    if not path.exists():
        return None
    try:
        run = LiveRun.read(path)
    except InputError:
        return None
    return run if all(run.meta.get(name) == _as_read(value) for name, value in asked.items()) else None


def _as_read(value: Any) -> Any:
    """As TOML gives it back."""
    return tomllib.loads(to_toml({"value": value})).get("value", {})


def _keep(run: LiveRun, token_times_s: Mapping[int, tuple[float, ...]]) -> LiveRun:
    """Write tokens, metadata and, last, the log: where a log stands, all of it stands."""
    try:
        run.path.unlink(missing_ok=True)
        if token_times_s:
            write_atomically(tokens_path(run.path), _token_text(token_times_s))
        write_atomically(meta_path(run.path), to_toml(run.meta))
        write_atomically(run.path, csv_text(run.log))
    except OSError as error:
        remedy = f"make room; finished rows are in {partial_path(run.path)}"
        raise RunFailed(str(run.path), f"cannot be written: {error.strerror}", remedy) from error
    partial_path(run.path).unlink(missing_ok=True)
    return run


def _token_text(token_times_s: Mapping[int, tuple[float, ...]]) -> str:
    lines = [
        f"{request},{index},{t:.9f}"
        for request, times in sorted(token_times_s.items())
        for index, t in enumerate(times)
    ]
    return "\n".join([",".join(TOKEN_COLUMNS), *lines]) + "\n"


def _failed(
    path: Path, log: PartialLog, collector: Collector, missing: list[dict[str, Any]], why: str
) -> RunFailed:
    """The error for a run that failed, after noting in the partial log what is missing."""
    with suppress(InputError):
        log.append(missing)
    with suppress(InputError):
        log.close()
    count = len(collector.rows)
    place = f"live run {os.fspath(path)}"
    return RunFailed(place, f"{why}, with {count} of {count + len(missing)} requests served", f"see {log.path}")
