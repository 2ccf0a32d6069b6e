"""One stage from its name to its rows: device, ceilings, model, design, files, run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.bench import Bench
from campaign.clock import Clock
from campaign.forecast import Forecast
from campaign.metadata import Metadata
from campaign.plan import Design
from campaign.power import energy_meter
from campaign.records import Identity, Records, take_over
from campaign.runner import Outcome, Runner
from campaign.stages import Stage
from campaign.timing import Ceilings, free_memory_bytes, measured_ceilings
from qmodel.errors import InputError
from qmodel.measure.targets.base import OutOfMemory
from qmodel.measure.targets.torch_engine import TorchEngine


@dataclass(frozen=True)
class Settings:
    """What the command line says: where rows go, where earlier ones lie, on what to run."""

    out: Path
    source: Path | None = None
    resume: bool = False
    device: str = "auto"
    threads: int = 1


def measure(stage: Stage, settings: Settings, clock: Clock) -> Outcome | None:
    """Run a stage until it is complete or the clock has run out; None if it was complete. Raises InputError."""
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / f"{stage.name}.csv"
    resumed = take_over(path, settings.source, resume=settings.resume or settings.source is not None)
    if resumed and Metadata.read(path).content.get("complete"):
        return None
    engine = TorchEngine(settings.device, "bfloat16", settings.threads)
    if engine.on_cuda:
        import torch

        torch.cuda.set_device(engine.device)
    capacity = stage.capacity_bytes or free_memory_bytes(engine)
    ceilings = measured_ceilings(engine, width=stage.ceiling_width, copied_bytes=stage.ceiling_bytes)
    engine.release()
    bench = make_bench(stage, engine)
    try:
        design = stage.design(executions(bench))
        metadata = open_metadata(path, stage, bench, design, engine, resumed=resumed)
        records = open_records(path, design, metadata, bench, engine, resumed=resumed)
        return _run(stage, bench, design, records, metadata, ceilings, clock, capacity)
    finally:
        bench.close()


def make_bench(stage: Stage, engine: TorchEngine) -> Bench:
    """The stage's model on the device. Raises InputError when its weights do not fit there."""
    try:
        return stage.bench(engine)
    except OutOfMemory as error:
        fault = "the model's weights do not fit in the device's memory"
        raise InputError(f"stage {stage.name}", fault, "leave this stage out") from error


def executions(bench: Bench) -> tuple[str, ...]:
    """Ways of running a decode step on this device."""
    find: Any = getattr(bench, "executions", None)
    return find() if find else ("eager",)


def open_metadata(
    path: Path, stage: Stage, bench: Bench, design: Design, engine: TorchEngine, *, resumed: bool
) -> Metadata:
    """New metadata, or those of the rows to go on with."""
    fingerprint = design.fingerprint(f"{stage.name} {bench.name}")
    if resumed:
        metadata = Metadata.read(path)
        metadata.check(fingerprint, engine.name)
        return metadata
    protocol = stage.protocol
    subject = {
        "warm_up": f"each visit: one short call, then full calls for {protocol.warmup_s:g} s; "
        "calls above 1 s only the short one",
        "stopping": f"{design.rounds * design.repetitions} repetitions a cell, fewer where the time ran out",
        "timing": "latency_s: between CUDA events; wall_s: perf_counter_ns; from an idle device to an idle device"
        if engine.on_cuda
        else "latency_s and wall_s: perf_counter_ns",
        "energy": f"mean of one call over {protocol.energy_window_s:g} s of calls back to back"
        if engine.on_cuda
        else "none",
        "cold_l2": False,
        "scale": stage.scale,
        "target": {"name": bench.name, "device": engine.name, "versions": bench.versions()},
        "model": bench.about(),
        "plan": design.content(),
    }
    return Metadata.begin(path, stage.name, fingerprint, subject, engine.threads)


def open_records(
    path: Path, design: Design, metadata: Metadata, bench: Bench, engine: TorchEngine, *, resumed: bool
) -> Records:
    """The file of rows, new or with what stands in it."""
    identity = Identity(metadata.run_id, bench.name, engine.name)
    records = Records(path, design.factors, identity, design.cells())
    if resumed:
        records.recover()
    else:
        metadata.write()  # before the rows: a CSV without its metadata cannot be gone on with
        records.begin()
    return records


def _run(
    stage: Stage,
    bench: Bench,
    design: Design,
    records: Records,
    metadata: Metadata,
    ceilings: Ceilings,
    clock: Clock,
    capacity: float,
) -> Outcome:
    forecast = Forecast(ceilings, stage.setup_s if bench.engine.on_cuda else 0.0)
    meter = energy_meter(bench.engine.on_cuda, bench.engine.device.index or 0)
    metadata.open_session(records.rows, ceilings, meter.source, clock.budget_s)
    runner = Runner(
        bench,
        stage.cost_of,
        design,
        records,
        metadata,
        forecast,
        meter,
        clock,
        capacity_bytes=capacity,
        protocol=stage.protocol,
    )
    try:
        with last_resort(clock, lambda: runner.outcome("overrun").line):
            return runner.run()
    finally:
        meter.close()


@contextmanager
def last_resort(clock: Clock, line: Callable[[], str]) -> Iterator[None]:
    """Should a call outlast all forecasts, end the program at the budget: rows that are written stay."""

    def stop() -> None:
        print(f"the budget is over in the middle of a call: {line()}", file=sys.stderr, flush=True)
        os._exit(0)

    timer = threading.Timer(max(0.1, clock.budget_s - clock.used_s), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
