"""From measurements to a service model one can defend: ANOVA, the chosen function, and where not to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel.fit.service_function import FitResult, fit_measurements
    from qmodel.fit.table import Measurements, read_profile

__all__ = ["FitResult", "Measurements", "fit_measurements", "read_profile"]

_HOMES = {
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
