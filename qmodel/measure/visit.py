"""One stay at a cell, in the worker process: warm up, repeat until the median is known, write each row.

Needs neither pydantic nor pandas, so that it runs wherever the target does.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from qmodel.errors import InputError
from qmodel.measure import rows
from qmodel.measure.failure import TrialFailed, is_out_of_memory, reason
from qmodel.measure.precision import RunningMedian
from qmodel.measure.targets.base import Level, Target, Trial

LONGEST_GAP = 10.0
"""Idle gaps are cut at this many means, so that a hang can be told from a pause."""
_SIGN_OF_LIFE_S = 0.1

Tell = Callable[[dict[str, Any]], None]
Rest = Callable[[float], None]
"""Spends the seconds of an idle gap."""


@dataclass(frozen=True)
class VisitOrder:
    """What the worker is told of one visit.

    `least` and `most` bound the rows that the cell has after this visit, those of earlier blocks included;
    `earlier_s` are the latencies already in the file, `row` the fields that stay the same. After `share_s`
    seconds of repetitions the visit ends, once it has `least` rows; after `deadline_s` at once, if it has
    added one.
    """

    phase: str
    levels: Mapping[str, Level]
    row: Mapping[str, Level]
    warmup_s: float
    idle_gap_s: float
    least: int
    most: int
    precision: float
    share_s: float
    deadline_s: float
    seed: str
    replicate: int
    run_order: int
    earlier_s: list[float] = field(default_factory=list)


def measure(
    target: Target, order: VisitOrder, file: rows.RowFile, tell: Tell, rest: Rest = time.sleep
) -> dict[str, Any]:
    """Carry out a visit; returns what came of it: `status`, new latencies and the times spent.

    `rest` spends the seconds between repetitions where there are idle gaps. Raises InputError for levels that make
    no sense and OSError when rows cannot be written.
    """
    begun = time.perf_counter()
    stay = _Stay(target, order, file, tell, rest)
    if stay.enough(0.0):
        return stay.outcome(rows.OK, begun, begun)
    try:
        trial = target.prepare(order.phase, order.levels)
        tell({"event": "prepared"})
        with _quiet_memory():
            stay.warm_up(trial)
            repeating = time.perf_counter()
            stay.repeat(trial, repeating)
    except (InputError, _Unwritable):
        raise
    except (Exception, SystemExit) as error:
        status = rows.OUT_OF_MEMORY if is_out_of_memory(error) else rows.failed(reason(error))
        stay.write(None, status, time.time())
        return stay.outcome(status, begun, time.perf_counter())
    return stay.outcome(rows.OK, begun, repeating)


class _Unwritable(OSError):
    """The row could not be written: no fault of the target."""


@contextmanager
def _quiet_memory() -> Iterator[None]:
    """Keep the garbage collector out of the timed calls."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass
class _Stay:
    target: Target
    order: VisitOrder
    file: rows.RowFile
    tell: Tell
    rest: Rest

    def __post_init__(self) -> None:
        self.new_s: list[float] = []
        self.written = 0
        self._median = RunningMedian(self.order.earlier_s)
        self._told = time.perf_counter()

    def warm_up(self, trial: Trial) -> None:
        """At least one call, and as many as fit in the warm-up time."""
        end = time.perf_counter() + self.order.warmup_s
        trial()
        while time.perf_counter() < end:
            trial()
            self._sign_of_life()

    def repeat(self, trial: Trial, begun: float) -> None:
        """Time repetitions until the cell has enough of them."""
        gaps, mean = random.Random(self.order.seed), self.order.idle_gap_s
        while not self.enough(time.perf_counter() - begun):
            if mean:
                self.rest(min(gaps.expovariate(1 / mean), LONGEST_GAP * mean))
            started_at = time.time()
            seconds = _timed(trial)
            self._median.add(seconds)
            self.new_s.append(seconds)
            self.write(seconds, rows.OK, started_at)
            self._sign_of_life()

    def enough(self, elapsed_s: float) -> bool:
        """Whether the cell has its rows: the stopping rule."""
        order, have = self.order, len(self._median)
        if have >= order.most:
            return True
        if self.new_s and elapsed_s >= order.deadline_s:
            return True
        if have < order.least:
            return False
        return elapsed_s >= order.share_s or self._median.precision <= order.precision

    def write(self, seconds: float | None, status: str, started_at: float) -> None:
        """Write one row, in the file before the next repetition starts."""
        row = {
            **self.order.row,
            "replicate": self.order.replicate + self.written,
            "run_order": self.order.run_order + self.written,
            "latency_s": seconds,
            "energy_j": self._energy() if seconds else None,
            "peak_memory_bytes": self.target.peak_memory_bytes() if seconds else None,
            "status": status,
            "started_at": rows.timestamp(started_at),
        }
        try:
            self.file.append(row)
        except OSError as error:
            raise _Unwritable(error.errno, error.strerror) from error
        self.written += 1

    def _energy(self) -> float | None:
        """Joules of the last repetition, from targets that can tell."""
        energy: Callable[[], float | None] | None = getattr(self.target, "energy_j", None)
        return energy() if energy else None

    def _sign_of_life(self) -> None:
        """Tell the supervisor now and then, not at each repetition: it would wake another process in between."""
        now = time.perf_counter()
        if now - self._told > _SIGN_OF_LIFE_S:
            self._told = now
            self.tell({"event": "alive", "rows": self.written})

    def outcome(self, status: str, begun: float, repeating: float) -> dict[str, Any]:
        """What came of the visit: times before the first repetition, and from there on."""
        end = time.perf_counter()
        return {
            "event": "end",
            "status": status,
            "latencies_s": self.new_s,
            "rows": self.written,
            "overhead_s": repeating - begun,
            "repeating_s": end - repeating,
        }


def _timed(trial: Trial) -> float:
    """Latency of one repetition in seconds: the target's own if it times itself, else the clock around the call."""
    start = time.perf_counter_ns()
    own = trial()
    elapsed = (time.perf_counter_ns() - start) * 1e-9
    seconds = elapsed if own is None else float(own)
    if not (math.isfinite(seconds) and seconds > 0):
        raise TrialFailed(f"gave {seconds} as its latency in seconds")
    return seconds
