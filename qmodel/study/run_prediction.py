"""What one live run is held against: a prediction at the host's speed just before it, and the speed after it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.ladder import Rung
from qmodel.study.host import HostSpeed

if TYPE_CHECKING:
    import pandas as pd

HOST_RUNG = "host as profiled"


@dataclass(frozen=True)
class RunPrediction:
    """What one live run is held against: the host's speed before it, its prediction, and the speed after it."""

    before: HostSpeed
    answer: PolicyAnswer
    after: HostSpeed | None = None

    @property
    def changed(self) -> float:
        """By which share the host was slower after the run; NaN where that was not seen."""
        return math.nan if self.after is None else self.before.changed(self.after)

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        after = {} if self.after is None else {"after": self.after.to_dict()}
        data = {"before": self.before.to_dict(), **after, "answer": self.answer.to_dict()}
        write_atomically(path, json.dumps(data, indent=1, allow_nan=False))

    @classmethod
    def read(cls, path: Path) -> RunPrediction:
        """Read it back. Raises InputError."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(str(path), "is no prediction of a run", "run the study again") from error
        after = HostSpeed.from_dict(data["after"]) if "after" in data else None
        return cls(HostSpeed.from_dict(data["before"]), PolicyAnswer.from_dict(data["answer"]), after)


def as_profiled(log: pd.DataFrame, rate: float) -> pd.DataFrame:
    """The log with its times as they would be at the rate of the host as profiled: `rate` times as long."""
    times = [str(name) for name in log if str(name).endswith("_s")]
    return log if rate == 1.0 else log.assign(**{name: log[name] * rate for name in times})


def mean_answer(answers: Sequence[PolicyAnswer], weights: Sequence[float]) -> PolicyAnswer:
    """Each metric's weighted mean over answers to one setting; None where one of them has none."""
    first, total = answers[0], sum(weights)
    if len(answers) == 1:
        return first

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return sum(w * v for w, v in zip(weights, known, strict=True)) / total

    def together(name: str) -> ClassAnswer:
        parts = [answer[name] for answer in answers]
        metrics = {metric: mean([part.metrics.get(metric) for part in parts]) for metric in parts[0].metrics}
        ends = {m: [part.ci95.get(m, (math.nan, math.nan)) for part in parts] for m in parts[0].ci95}
        spans = {
            m: (mean([low for low, _ in pairs]), mean([high for _, high in pairs])) for m, pairs in ends.items()
        }
        rate = mean([part.arrival_rate for part in parts])
        return replace(parts[0], arrival_rate=rate, metrics=metrics, ci95=spans)  # type: ignore[arg-type]

    return replace(
        first,
        rate=mean([answer.rate for answer in answers]),  # type: ignore[arg-type]
        utilisation=mean([answer.utilisation for answer in answers]),
        classes=[together(part.name) for part in first.classes],
    )


def before_the_host(saved: PolicyAnswer) -> list[Rung]:
    """The rung below theory: what had been predicted for the host as it was profiled, at the same load."""
    words = {HOST_RUNG: "the host's speed before the run against that of the profile, at the same load"}
    return [
        Rung(each.name, HOST_RUNG, math.nan if mean is None else mean, math.nan, math.nan, words)
        for each in saved.classes
        for mean in [each.metrics.get("mean_response_s")]
    ]
