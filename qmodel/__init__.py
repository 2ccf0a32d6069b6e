"""qmodel: what latency will my users see, and what would another policy do?

>>> import qmodel as qm
>>> chat = qm.RequestClass("chat", arrivals=qm.Poisson(rate=0.8), service=qm.Exponential(mean=1.0))
>>> answer = qm.predict(qm.Scenario(classes=[chat]))
>>> round(answer["all"].mean_response_s, 6), answer.results[0].method
(5.0, 'exact')
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel import policy as policies
    from qmodel.answer import Answer
    from qmodel.compare import compare
    from qmodel.errors import InputError
    from qmodel.paired import compare_paired
    from qmodel.predict import Asking, predict, simulate
    from qmodel.scenario import Scenario, System
    from qmodel.scenario_file import read_scenario
    from qmodel.sensitivity import sensitivity
    from qmodel.sweep import sweep
    from qmodel.theory import response_by_size
    from qmodel.workload import (
        BoundedPareto,
        Deterministic,
        Discrete,
        Distribution,
        Empirical,
        Erlang,
        Exponential,
        Gamma,
        Geometric,
        Hyperexponential,
        Lognormal,
        Mixture,
        Pareto,
        Poisson,
        PredictedSize,
        Renewal,
        RequestClass,
        Trace,
        Uniform,
        Weibull,
    )

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Asking",
    "BoundedPareto",
    "Deterministic",
    "Discrete",
    "Distribution",
    "Empirical",
    "Erlang",
    "Exponential",
    "Gamma",
    "Geometric",
    "Hyperexponential",
    "InputError",
    "Lognormal",
    "Mixture",
    "Pareto",
    "Poisson",
    "PredictedSize",
    "Renewal",
    "RequestClass",
    "Scenario",
    "System",
    "Trace",
    "Uniform",
    "Weibull",
    "__version__",
    "compare",
    "compare_paired",
    "policies",
    "predict",
    "read_scenario",
    "response_by_size",
    "sensitivity",
    "simulate",
    "sweep",
]

_WHERE = {
    "Answer": "qmodel.answer",
    "Asking": "qmodel.predict",
    "InputError": "qmodel.errors",
    "Scenario": "qmodel.scenario",
    "System": "qmodel.scenario",
    "compare": "qmodel.compare",
    "compare_paired": "qmodel.paired",
    "predict": "qmodel.predict",
    "read_scenario": "qmodel.scenario_file",
    "response_by_size": "qmodel.theory",
    "sensitivity": "qmodel.sensitivity",
    "simulate": "qmodel.predict",
    "sweep": "qmodel.sweep",
}


class _Package(ModuleType):
    """`qmodel.predict` and `qmodel.compare` are the functions; the modules that hold them do not hide them."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that `import qmodel` stays instant."""
    if name == "policies":
        return importlib.import_module("qmodel.policy")
    if name in __all__:
        return getattr(importlib.import_module(_WHERE.get(name, "qmodel.workload")), name)
    raise AttributeError(f"module 'qmodel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
