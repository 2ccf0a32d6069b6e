"""From measurements to a service model one can defend: ANOVA, the chosen function, and where not to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel.fit.planning import Plan, next_measurements, replicates_needed
    from qmodel.fit.posthoc import tukey
    from qmodel.fit.service_function import FitResult, fit_measurements
    from qmodel.fit.table import Measurements, read_profile

__all__ = [
    "FitResult",
    "Measurements",
    "Plan",
    "fit_measurements",
    "next_measurements",
    "read_profile",
    "replicates_needed",
    "tukey",
]

_HOMES = {
    "Plan": "qmodel.fit.planning",
    "next_measurements": "qmodel.fit.planning",
    "replicates_needed": "qmodel.fit.planning",
    "tukey": "qmodel.fit.posthoc",
    "FitResult": "qmodel.fit.service_function",
    "fit_measurements": "qmodel.fit.service_function",
    "Measurements": "qmodel.fit.table",
    "read_profile": "qmodel.fit.table",
}


def __getattr__(name: str) -> Any:
    """Import on first use: pandas and statsmodels are slow to load."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
