"""The answer: per-class metrics, each with the way it was obtained; JSON and DataFrame.

Units are seconds and requests per second. A metric that cannot be had is None, never 0.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import qmodel
from qmodel.errors import InputError, short

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "qmodel.answer/1"
Method = Literal["exact", "bound", "approximation", "simulation", "measured"]
CORE_METRICS = ("mean_service_s", "mean_wait_s", "mean_response_s")


def percentile_name(percent: float, quantity: str = "response") -> str:
    """Metric name of a percentile.

    >>> percentile_name(99), percentile_name(99.9, "ttft")
    ('p99_response_s', 'p99.9_ttft_s')
    """
    return f"p{percent:.12g}_{quantity}_s"


@dataclass
class ClassAnswer:
    """Metrics of one class, or of `all`; a metric is also an attribute: `answer["all"].mean_response_s`."""

    name: str
    arrival_rate: float
    metrics: dict[str, float | None] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    ci95: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __getattr__(self, metric: str) -> float | None:
        try:
            return self.__dict__["metrics"][metric]
        except KeyError:
            raise AttributeError(f"no metric {metric!r}") from None

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON; NaN and infinity become null."""
        out: dict[str, Any] = {"class": self.name, "arrival_rate": _finite(self.arrival_rate)}
        out |= {name: _finite(value) for name, value in self.metrics.items()}
        if self.methods:
            out["methods"] = dict(self.methods)
        if self.ci95:
            out["ci95"] = {name: [_finite(low), _finite(high)] for name, (low, high) in self.ci95.items()}
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClassAnswer:
        """Inverse of `to_dict`."""
        rest = dict(data)
        name, rate = rest.pop("class"), rest.pop("arrival_rate")
        methods = rest.pop("methods", {})
        intervals = {metric: _interval(pair) for metric, pair in rest.pop("ci95", {}).items()}
        return cls(name, rate, rest, methods, intervals)


@dataclass
class PolicyAnswer:
    """One policy at one rate: method, the result's name and source, its assumptions, and the classes.

    `settings` are the values that a sweep gave to fields of the scenario.
    """

    policy: str
    rate: float
    method: Method
    result: str
    utilisation: float | None
    classes: list[ClassAnswer]
    source: str = ""
    assumptions: list[str] = field(default_factory=list)
    stable: bool = True
    notes: list[str] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> ClassAnswer:
        for answer in self.classes:
            if answer.name == name:
                return answer
        raise KeyError(name)

    def method_of(self, class_name: str, metric: str) -> Method:
        """How that metric was obtained."""
        return self[class_name].methods.get(metric, self.method)

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON."""
        out: dict[str, Any] = {
            "policy": self.policy,
            "rate": _finite(self.rate),
            "method": self.method,
            "result": self.result,
            "source": self.source,
            "assumptions": self.assumptions,
            "stable": self.stable,
            "utilisation": _finite(self.utilisation),
        }
        out |= {"notes": self.notes} if self.notes else {}
        out |= {"run": self.run} if self.run else {}
        out |= {"settings": self.settings} if self.settings else {}
        return out | {"classes": [answer.to_dict() for answer in self.classes]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PolicyAnswer:
        """Inverse of `to_dict`."""
        rest = dict(data)
        classes = [ClassAnswer.from_dict(entry) for entry in rest.pop("classes")]
        return cls(classes=classes, **rest)


@dataclass
class Answer:
    """What one instrument says to one scenario, for one or several policies and rates."""

    scenario: str
    results: list[PolicyAnswer]
    version: str = qmodel.__version__

    def __getitem__(self, name: str) -> ClassAnswer:
        """A class of the only result. Raises KeyError when there are several: use `answer.results[i][name]`."""
        if len(self.results) != 1:
            raise KeyError(f"{len(self.results)} results; use answer.results[i][{name!r}]")
        return self.results[0][name]

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON."""
        results = [result.to_dict() for result in self.results]
        return {"schema": SCHEMA, "scenario": self.scenario, "qmodel": self.version, "results": results}

    def to_json(self, indent: int | None = 1) -> str:
        """Valid JSON: no NaN, no infinity."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """Tidy: policy, rate, class, metric, value, low, high, method; one row a metric.

        A sweep's varied fields come first, a column each.
        """
        import pandas as pd

        varied = list(dict.fromkeys(path for result in self.results for path in result.settings))
        rows = [
            {path: result.settings.get(path) for path in varied}
            | {
                "policy": result.policy,
                "rate": result.rate,
                "class": answer.name,
                "metric": metric,
                "value": value,
                "low": answer.ci95.get(metric, (None, None))[0],
                "high": answer.ci95.get(metric, (None, None))[1],
                "method": result.method_of(answer.name, metric),
            }
            for result in self.results
            for answer in result.classes
            for metric, value in answer.metrics.items()
        ]
        columns = ["policy", "rate", "class", "metric", "value", "low", "high", "method"]
        return pd.DataFrame(rows, columns=[*varied, *columns]).astype({"value": float, "low": float, "high": float})

    @classmethod
    def from_dict(cls, data: dict[str, Any], place: str = "answer") -> Answer:
        """Inverse of `to_dict`. Raises InputError for another schema, or what is missing or too much."""
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise InputError(place, f"schema {short(schema)} is not {SCHEMA}", "give a file written by qmodel")
        try:
            return cls(data["scenario"], [PolicyAnswer.from_dict(r) for r in data["results"]], data["qmodel"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(place, f"is no whole answer: {error}", "give a file written by qmodel") from error


@dataclass(frozen=True)
class NotAnalysable:
    """Theory's way of saying no: why there is no result, and which scenario nearby has one."""

    reason: str
    nearest: str = ""

    def __str__(self) -> str:
        return f"not analysable: {self.reason}" + (f"; nearest: {self.nearest}" if self.nearest else "")


def unstable(policy: str, rate: float, utilisation: float, class_rates: dict[str, float]) -> PolicyAnswer:
    """The answer for a queue that grows without bound: every mean None."""
    empty: dict[str, float | None] = dict.fromkeys(CORE_METRICS)
    names = {"all": math.fsum(class_rates.values())} | class_rates
    classes = [ClassAnswer(name, class_rate, dict(empty)) for name, class_rate in names.items()]
    return PolicyAnswer(policy, rate, "exact", "unstable queue", utilisation, classes, stable=False)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _interval(pair: list[float | None]) -> tuple[float, float]:
    low, high = (math.nan if end is None else end for end in pair)
    return low, high
