"""A row answered: every setting, what the idea changes against its baseline, and the verdict of its acceptance."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from qmodel.answer import PolicyAnswer
from qmodel.catalogue.case import Case
from qmodel.catalogue.row import Check, Setting
from qmodel.catalogue.tuned import resolved


@dataclass(frozen=True)
class Ran:
    """Settings, tuned where that was asked, their answers, checks (none on another system), and seconds it took."""

    case: Case
    settings: tuple[Setting, ...]
    answers: tuple[PolicyAnswer, ...]
    checks: tuple[Check, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check.holds for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON of `qmodel catalogue NAME --run --json`."""
        row = self.case.row
        settings = [
            {"setting": setting.label, **answer.to_dict()}
            for setting, answer in zip(self.settings, self.answers, strict=True)
        ]
        checks = [{"check": check.says, "holds": check.holds} for check in self.checks]
        accepted = self.holds if checks else None
        return {
            "schema": "qmodel.catalogue/1", "row": row.code, "name": row.name, "method": row.method,
            "own_system": not self.case.is_own, "results": settings, "checks": checks, "accepted": accepted,
            "seconds": self.seconds,
        }  # fmt: skip


def run(case: Case) -> Ran:
    """Answer every setting of the case's row and, on the row's own scenario, judge its acceptance."""
    began = time.perf_counter()
    settings = tuple(resolved(case, setting) for setting in case.row.settings)
    answers = tuple(case.ask(setting) for setting in settings)
    checks = tuple(case.row.accept(case)) if case.is_own else ()
    return Ran(case, settings, answers, checks, time.perf_counter() - began)


def metric_of(answer: PolicyAnswer, metric: str) -> float | None:
    """A metric, `name` or `class:name`; None where the answer has none."""
    class_name, _, name = metric.rpartition(":")
    known = {one.name: one for one in answer.classes}
    found = known.get(class_name or "all")
    return None if found is None else found.metrics.get(name)
