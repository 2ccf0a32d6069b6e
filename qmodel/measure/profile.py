"""Runs a profile: visits every cell of the design, row by row into the CSV, and resumes where it was killed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qmodel.errors import InputError, nearest
from qmodel.measure import machine, rows
from qmodel.measure.budget import TimePlan, row_quota
from qmodel.measure.design import Cell, FactorLevels, Visit, plan_cells, plan_visits
from qmodel.measure.gpu_watch import GpuWatch
from qmodel.measure.instructions import row_file, shared_fields, visit_order, worker_of
from qmodel.measure.ledger import Ledger
from qmodel.measure.lock import only_one
from qmodel.measure.meta import Meta, meta_path
from qmodel.measure.summary import ProfileSummary, summarise_profile
from qmodel.measure.supervisor import Died, Hung, Unwritable
from qmodel.measure.targets.callable import ANY_FACTOR
from qmodel.measure.visit import VisitOrder

if TYPE_CHECKING:
    from qmodel.measure.spec import ProfileSpec

_HOPELESS = 3
"""When so many cells in a row hang and nothing was measured before, the rest would hang too."""


class Progress(Protocol):
    """Told how far the run is: visits done of how many, what is being timed, and the seconds it will still take."""

    def __call__(self, done: int, total: int, message: str, remaining_s: float | None, /) -> None:
        """Show it."""


def _silent(done: int, total: int, message: str, remaining_s: float | None) -> None:
    """Show nothing."""


def run_profile(
    spec: ProfileSpec,
    csv_path: str | os.PathLike[str],
    *,
    resume: bool = True,
    progress: Progress | None = None,
) -> ProfileSummary:
    """Measure what the spec asks for, into `csv_path` and `<name>.meta.toml` beside it.

    Each row is in the file before the next repetition starts. With `resume`, rows that are there are kept and
    the design goes on where it stopped; without, it starts anew. The target lives in a process of its own,
    which is ended when a repetition takes longer than `trial_timeout_s`. Raises InputError when the spec does
    not fit the target, when it has changed since the CSV was begun, when no cell could be measured, and when
    the files cannot be written.
    """
    path = Path(csv_path)
    begun = time.monotonic()
    warnings = [*spec.warnings(), *filter(None, [machine.load_warning()])]
    if not (resume and _is_complete(path, spec)):
        _prepare_folder(path)
        try:
            with only_one(path):
                _Run(spec, path, resume, progress or _silent).carry_out()
        except OSError as error:
            raise InputError(
                str(path), f"cannot be written: {error.strerror}", "make room, then start again"
            ) from error
    summary = summarise_profile(path)
    warnings += _shortfall(spec, summary)
    return replace(summary, duration_s=time.monotonic() - begun, warnings=warnings)


def _shortfall(spec: ProfileSpec, summary: ProfileSummary) -> list[str]:
    """A warning when the total budget left cells with fewer rows than they should have."""
    least, _ = row_quota(spec.design, spec.measurement, spec.design.blocks)
    short = sum(cell.status == rows.OK and cell.n < least for cell in summary.cells)
    if not short:
        return []
    return [
        f"{short} of {len(summary.cells)} cells have fewer than {least} rows: budget_s is too short for this design"
    ]


def _is_complete(path: Path, spec: ProfileSpec) -> bool:
    if not (path.is_file() and path.stat().st_size):
        return False
    meta = Meta.read(path)
    meta.check(spec)
    return bool(meta.content["complete"])


def _prepare_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            str(path.parent), f"cannot be made ({error.strerror})", "name another file with -o"
        ) from error
    if path.is_dir():
        raise InputError(str(path), "is a folder", "name a CSV file with -o")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(str(path), "cannot be written", "name another file with -o")


class _Run:
    """One session of a profile, from the start of the target to the end of the last visit."""

    def __init__(self, spec: ProfileSpec, path: Path, resume: bool, progress: Progress) -> None:
        self.spec, self.path, self.resume, self.progress = spec, path, resume, progress
        self.file = row_file(spec, path)
        self.worker = worker_of(spec, self.file)
        self.gpus = GpuWatch()
        self.fresh = self.session_open = False
        self.hung_in_a_row = 0

    def carry_out(self) -> None:
        """Measure; leaves no files behind when there was nothing to measure."""
        try:
            self.progress(0, 1, f"starting {self.spec.target.kind}", None)
            self.target = self.worker.start()
            phases = fitting_phases(self.spec, self.target)
            cells = plan_cells(self.spec, phases)
            self.visits = plan_visits(cells, self.spec.design.blocks, self.spec.design.seed)
            self.ledger = Ledger(self.file, cells)
            self._visit_all(self._open(phases, cells))
        except Unwritable:
            raise
        except KeyboardInterrupt:
            self._close_early()
            raise
        except InputError as error:
            self._discard()
            raise _inside(self.spec, error) from error
        finally:
            self.worker.stop()
        self.meta.close_session(complete=True, gpu_watch=self.gpus.seen())
        self.progress(len(self.visits), len(self.visits), "done", 0.0)

    def _open_session(self, rows_before: int) -> None:
        self.meta.open_session(rows_before)
        self.session_open = True

    def _close_early(self) -> None:
        """Note when this session ended, if it had begun."""
        if self.session_open:
            self.meta.close_session(complete=False, gpu_watch=self.gpus.seen())

    def _open(self, phases: Mapping[str, FactorLevels], cells: Sequence[Cell]) -> int:
        """Begin the files or take up old ones; returns the number of visits that are behind us."""
        earlier = self._earlier_rows()
        self.ledger.take_up(earlier)
        if not self.ledger.measured:  # nothing there, or nothing but failures: their cause may be mended by now
            return self._begin(phases, cells)
        self.meta.check(self.spec, self.target)
        self._open_session(len(earlier))
        return self.ledger.place_in(self.visits, earlier[-1])

    def _begin(self, phases: Mapping[str, FactorLevels], cells: Sequence[Cell]) -> int:
        self.fresh = True
        self.path.unlink(missing_ok=True)
        self.ledger.take_up([])
        self.meta = Meta.begin(self.path, self.spec, self.target, phases, cells)
        self._open_session(0)
        self.file.begin()
        return 0

    def _earlier_rows(self) -> list[rows.Row]:
        if not (self.resume and self.path.exists() and self.path.stat().st_size):
            return []
        self.meta = Meta.read(self.path)
        self.meta.check(self.spec)
        return self.file.recover()

    def _visit_all(self, done: int) -> None:
        plan = TimePlan(self.visits, self.spec.design, self.spec.measurement, done=done)
        for key, seconds in self.ledger.latencies_s.items():
            plan.spent(key, sum(seconds))
        for key in self.ledger.closed:
            plan.drop(key)
        for visit in self.visits[done:]:
            if visit.cell.key not in self.ledger.closed:
                self._visit(visit, plan)
        if not self.ledger.measured:
            self._give_up("every cell failed")

    def _visit(self, visit: Visit, plan: TimePlan) -> None:
        """Have one visit made and take note of what came of it."""
        try:
            outcome = self.worker.visit(self._order(visit, plan), self._reporter(visit, plan))
        except (Hung, Died) as end:
            self._lose_worker(visit, end)
            plan.drop(visit.cell.key)
            return
        self.hung_in_a_row = 0
        self.ledger.add(visit, outcome["latencies_s"], outcome["status"])
        self.file.sync()
        self.gpus.look()
        if outcome["status"] == rows.OK:
            plan.made(visit, outcome["overhead_s"], outcome["repeating_s"])
            return
        plan.drop(visit.cell.key)
        if outcome["status"] != rows.OUT_OF_MEMORY:  # what failed may have left the target in a bad state
            self.worker.stop()

    def _reporter(self, visit: Visit, plan: TimePlan) -> Any:
        """Tells the progress now, and again whenever the worker gives a sign of life."""
        message = f"{visit.cell.label()}, block {visit.block} of {self.spec.design.blocks}"
        estimate, began, total = plan.remaining_s(), time.monotonic(), len(self.visits)
        self.progress(visit.number, total, message, estimate)

        def alive(measured: int) -> None:
            left = max(0.0, estimate - (time.monotonic() - began))
            self.progress(visit.number, total, f"{message}, {measured} rows", left)

        return alive

    def _fixed(self, visit: Visit) -> dict[str, Any]:
        return shared_fields(visit.cell, visit.block, self.meta.run_id, self.target)

    def _order(self, visit: Visit, plan: TimePlan) -> VisitOrder:
        design, measurement, key = self.spec.design, self.spec.measurement, visit.cell.key
        least, most = row_quota(design, measurement, visit.block)
        share_s, deadline_s = plan.share(visit)
        return visit_order(
            self.spec,
            visit.cell,
            self._fixed(visit),
            warmup_s=measurement.warmup_s,
            least=least,
            most=most,
            precision=measurement.relative_precision,
            share_s=share_s,
            deadline_s=deadline_s,
            seed=f"{design.seed}/{visit.number}/{self.ledger.rows}",
            replicate=self.ledger.attempts[key] + 1,
            run_order=self.ledger.rows + 1,
            earlier_s=self.ledger.latencies_s[key],
        )

    def _lose_worker(self, visit: Visit, end: Hung | Died) -> None:
        self.worker.stop()
        timeout_s = self.spec.measurement.trial_timeout_s
        status = rows.failed(f"no answer within {timeout_s:g} s" if isinstance(end, Hung) else end)
        status = rows.OUT_OF_MEMORY if str(end) == rows.OUT_OF_MEMORY else status
        self.ledger.fail(visit, status, self._fixed(visit))
        self.hung_in_a_row = self.hung_in_a_row + 1 if isinstance(end, Hung) else 0
        if self.hung_in_a_row >= _HOPELESS and not self.ledger.measured:
            self._give_up(f"the first {_HOPELESS} cells hung")

    def _give_up(self, fault: str) -> None:
        why = next(iter(self.ledger.closed.values())).removeprefix(rows.FAILED).replace("_", " ")
        raise InputError(f"target '{self.spec.target.kind}'", f"{fault} ({why})", "mend the target")

    def _discard(self) -> None:
        """Remove files begun in this session: a spec that cannot be measured leaves nothing half-written."""
        if self.fresh:
            self.path.unlink(missing_ok=True)
            meta_path(self.path).unlink(missing_ok=True)


def _inside(spec: ProfileSpec, error: InputError) -> InputError:
    """The same error, with the name of the spec in its place."""
    if spec.place in error.place:
        return error
    return InputError(f"{spec.place}, {error.place}", error.fault, error.remedy)


def fitting_phases(spec: ProfileSpec, target: Mapping[str, Any]) -> dict[str, FactorLevels]:
    """The spec's phases and factors, once it is sure that the target knows them; raises InputError otherwise."""
    phases = spec.phases(tuple(target["phases"]))
    for phase, factors in phases.items():
        if phase not in target["phases"]:
            remedy = nearest(phase, list(target["phases"]))
            raise InputError(f"{spec.place}, phase", f"'{phase}' is unknown to {target['name']}", remedy)
        known = target["factors"][phase]
        for name in factors:
            if name not in known and ANY_FACTOR not in known:
                place = f"{spec.place}, phase {phase}, factor {name}"
                raise InputError(place, f"is unknown to {target['name']}", nearest(name, list(known)))
    return dict(phases)
