"""qmodel: what latency will my users see, and what would another policy do?

>>> import qmodel as qm
>>> chat = qm.RequestClass("chat", arrivals=qm.Poisson(rate=0.8), service=qm.Exponential(mean=1.0))
>>> answer = qm.predict(qm.Scenario(classes=[chat]))
>>> round(answer["all"].mean_response_s, 6), answer.results[0].method
(5.0, 'exact')
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Answer": "qmodel.answer",
    "Asking": "qmodel.predict",
    "InputError": "qmodel.errors",
    "Scenario": "qmodel.scenario",
    "System": "qmodel.scenario",
    "compare": "qmodel.compare",
    "predict": "qmodel.predict",
    "read_scenario": "qmodel.scenario_file",
    "simulate": "qmodel.predict",
} | dict.fromkeys(
    (
        "BoundedPareto Deterministic Discrete Distribution Empirical Erlang Exponential Gamma Geometric "
        "Hyperexponential Lognormal Mixture Pareto Poisson PredictedSize Renewal RequestClass Trace Uniform Weibull"
    ).split(),
    "qmodel.workload",
)

__all__ = ["__version__", "policies", *_WHERE]


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that `import qmodel` stays instant."""
    if name == "policies":
        return importlib.import_module("qmodel.policy")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'qmodel' has no attribute {name!r}")
