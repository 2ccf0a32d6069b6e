"""Makes the visits of a design, one after the other, until all is measured or the time is used up."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from campaign.bench import Bench, Trial
from campaign.clock import Clock
from campaign.costs import CostOf
from campaign.forecast import Forecast
from campaign.metadata import Metadata
from campaign.plan import Cell, Design, Visit
from campaign.power import EnergyMeter
from campaign.records import Records
from campaign.timing import Timing, timed
from qmodel.errors import InputError
from qmodel.measure import rows
from qmodel.measure.failure import is_out_of_memory, reason
from qmodel.measure.gpu_watch import GpuWatch

LONG_CALL_S = 1.0
"""Calls longer than this are rehearsed, not run in full, to warm up: the device is warm from the cell before."""
TELL_EVERY_S = 15.0
MOST_FAILURES = 5
"""So many cells that fail one after the other end the stage: the device itself is in trouble."""


@dataclass(frozen=True)
class Protocol:
    """How a visit is made: seconds of warm-up, and seconds over which energy is measured (0: not at all)."""

    warmup_s: float = 0.15
    energy_window_s: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What came of a run: cells in all, those with every replicate, those closed, visits left and their seconds."""

    cells: int
    complete: int
    out_of_memory: int
    failed: int
    visits_left: int
    left_s: float
    rows: int
    ended_by: str

    @property
    def line(self) -> str:
        """One line for people."""
        text = f"{self.complete} of {self.cells} cells complete, {self.out_of_memory} out of memory"
        text += f", {self.failed} failed" if self.failed else ""
        if not self.visits_left:
            return f"{text}; {self.rows} rows"
        return f"{text}; {self.rows} rows; {self.visits_left} visits left, about {self.left_s:.0f} s"


class Runner:
    """One stage's run over its design."""

    def __init__(
        self,
        bench: Bench,
        cost_of: CostOf,
        design: Design,
        records: Records,
        metadata: Metadata,
        forecast: Forecast,
        meter: EnergyMeter,
        clock: Clock,
        *,
        capacity_bytes: float,
        protocol: Protocol | None = None,
    ) -> None:
        self.bench, self.design, self.records, self.metadata = bench, design, records, metadata
        self.forecast, self.meter, self.clock = forecast, meter, clock
        self.capacity_bytes, self.protocol = capacity_bytes, protocol or Protocol()
        self.visits = design.visits()
        self._costs = {cell.key: cost_of(cell) for cell in design.cells()}
        self._short: list[Cell] = []
        self._failures = 0
        self._told = time.monotonic()
        self._watch = GpuWatch()
        self._block: int | None = None
        for cell in design.cells():
            for seconds in records.latencies_s[cell.key]:
                forecast.learn_call(cell, self._costs[cell.key], seconds)
            if records.closed.get(cell.key) == rows.OUT_OF_MEMORY:
                self._short.append(cell)

    def run(self) -> Outcome:
        """Make every visit that fits in the time left; cells that cannot fit in memory get their row untried."""
        ended_by = "interruption"
        try:
            self._close_what_cannot_fit()
            with _without_collection():
                for visit in self.visits:
                    if self._due(visit) and self._fits(visit):
                        self._enter(visit.block)
                        self._visit(visit)
            ended_by = "budget" if self._left() else "completion"
        finally:
            self._leave(ended_by)
        return self.outcome(ended_by)

    def outcome(self, ended_by: str) -> Outcome:
        """Where the run stands."""
        left, closed, cells = self._left(), self.records.closed, self.design.cells()
        waiting = {visit.cell.key for visit in left}
        memory = sum(status == rows.OUT_OF_MEMORY for status in closed.values())
        return Outcome(
            cells=len(cells),
            complete=sum(cell.key not in closed and cell.key not in waiting for cell in cells),
            out_of_memory=memory,
            failed=len(closed) - memory,
            visits_left=len(left),
            left_s=math.fsum(self._visit_s(visit) for visit in left),
            rows=self.records.rows,
            ended_by=ended_by,
        )

    # --- what is to be done ------------------------------------------------------------------------------

    def _due(self, visit: Visit) -> bool:
        timed_already = self.records.timed[visit.cell.key, visit.block]
        return visit.cell.key not in self.records.closed and timed_already < self.design.repetitions

    def _left(self) -> list[Visit]:
        return [visit for visit in self.visits if self._due(visit)]

    def _fits(self, visit: Visit) -> bool:
        return self._visit_s(visit) <= self.clock.left_s

    def _visit_s(self, visit: Visit) -> float:
        """Seconds that a visit will take: setting up, warming up, repetitions, energy."""
        call_s = self.forecast.call_s(visit.cell, self._costs[visit.cell.key])
        warmup_s = 0.1 * call_s if call_s > LONG_CALL_S else self.protocol.warmup_s + call_s
        energy_s = self.protocol.energy_window_s + call_s if self.design.wants_energy(visit) else 0.0
        return self.forecast.overhead_s + warmup_s + self.design.repetitions * call_s + energy_s

    def _close_what_cannot_fit(self) -> None:
        """Give cells whose arithmetic says that they are larger than the memory their row, without trying."""
        for visit in self._left():
            if self._due(visit) and self._costs[visit.cell.key].held_bytes > self.capacity_bytes:
                self.records.close_cell(visit, rows.OUT_OF_MEMORY)

    # --- one visit ---------------------------------------------------------------------------------------

    def _visit(self, visit: Visit) -> None:
        if any(visit.cell.at_least(short) for short in self._short):
            self.records.close_cell(visit, rows.OUT_OF_MEMORY)
            return
        begun, calls_before = time.monotonic(), self.records.rows
        spent_s = self._attempt(visit)
        if spent_s is not None and self.records.rows > calls_before:
            self.forecast.learn_overhead(max(0.0, time.monotonic() - begun - spent_s))
        self._watch.look()
        self._tell(visit)

    def _attempt(self, visit: Visit) -> float | None:
        """Seconds in calls that the forecast accounts for; None when the cell could not be timed."""
        try:
            spent_s = self._measure(visit)
        except (InputError, OSError):
            raise
        except Exception as error:
            status = rows.OUT_OF_MEMORY if is_out_of_memory(error) else rows.failed(reason(error))
        else:
            self._failures = 0
            return spent_s
        self._give_up(visit, status)
        return None

    def _give_up(self, visit: Visit, status: str) -> None:
        """Close the cell, outside the handler: a traceback keeps what it saw in memory."""
        gc.collect()
        self.records.close_cell(visit, status)
        if status == rows.OUT_OF_MEMORY:
            self._short.append(visit.cell)
            self.bench.engine.release()
            return
        print(f"  {visit.cell.label}: {status}", file=sys.stderr, flush=True)
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            fault = f"{MOST_FAILURES} cells failed one after the other, the last with '{status}'"
            raise InputError(self.bench.name, fault, "look at the device, then go on with --resume")

    def _measure(self, visit: Visit) -> float:
        engine = self.bench.engine
        with engine.guarded():
            trial = self.bench.prepare(visit.cell)
            spent_s = self._warm_up(visit.cell, trial)
            have = self.records.timed[visit.cell.key, visit.block]
            for repetition in range(have + 1, self.design.repetitions + 1):
                last = repetition == self.design.repetitions
                spent_s += self._repeat(visit, trial, energy=last and self.design.wants_energy(visit))
        return spent_s

    def _warm_up(self, cell: Cell, trial: Trial) -> float:
        """Rehearse, then call in full until the warm-up time is over; long calls are only rehearsed."""
        begun = time.monotonic()
        trial.rehearse()
        self.bench.engine.synchronise()
        if self.forecast.call_s(cell, self._costs[cell.key]) <= LONG_CALL_S:
            until = time.monotonic() + self.protocol.warmup_s
            while True:
                trial.begin()()
                self.bench.engine.synchronise()
                if time.monotonic() >= until:
                    break
        return time.monotonic() - begun

    def _repeat(self, visit: Visit, trial: Trial, *, energy: bool) -> float:
        begun = time.monotonic()
        work, started_at = trial.begin(), time.time()
        timing = timed(self.bench.engine, work)
        del work
        joules = self._energy(trial, timing) if energy else None
        self.records.write(visit, timing, joules, started_at)
        self.forecast.learn_call(visit.cell, self._costs[visit.cell.key], timing.wall_s)
        return time.monotonic() - begun

    def _energy(self, trial: Trial, timing: Timing) -> float | None:
        """Joules of one repetition: the mean over as many as fill the window, back to back."""
        if not self.protocol.energy_window_s or self.meter.source == "none":
            return None
        calls = max(1, math.ceil(self.protocol.energy_window_s / timing.wall_s))
        mark = self.meter.mark()
        for _ in range(calls):
            trial.begin()()
        self.bench.engine.synchronise()
        joules = self.meter.since(mark)
        return None if joules is None else joules / calls

    # --- around the visits -------------------------------------------------------------------------------

    def _enter(self, block: int) -> None:
        """Note the state of the device where one block ends and the next begins."""
        if block == self._block:
            return
        self.metadata.note_state(self._block, block)
        self.metadata.write()
        self._block = block

    def _leave(self, ended_by: str) -> None:
        if self._block is not None:
            self.metadata.note_state(self._block, None)
        left = len(self._left())
        self.metadata.close_session(ended_by, complete=not left, seen=self._watch.seen(), left=left)

    def _tell(self, visit: Visit) -> None:
        if time.monotonic() - self._told < TELL_EVERY_S:
            return
        self._told = time.monotonic()
        outcome = self.outcome("")
        place = f"block {visit.block} of {self.visits[-1].block}"
        print(f"  {self.clock.used_s:4.0f} s  {place}  {outcome.line}", file=sys.stderr, flush=True)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector out of the timed calls."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
