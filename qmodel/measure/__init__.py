"""Designed experiments that time real inference and write tidy CSV; knows nothing of queues.

from qmodel.measure import load_spec, run_profile
summary = run_profile(load_spec("profile.toml"), "profile.csv")
print("\\n".join(summary.lines()))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel.measure.profile import run_profile
    from qmodel.measure.spec import ProfileSpec
    from qmodel.measure.spec_file import load_spec
    from qmodel.measure.summary import ProfileSummary, summarise_profile

__all__ = ["ProfileSpec", "ProfileSummary", "load_spec", "run_profile", "summarise_profile"]

_HOME = {
    "ProfileSpec": "spec",
    "load_spec": "spec_file",
    "run_profile": "profile",
    "ProfileSummary": "summary",
    "summarise_profile": "summary",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: the worker process needs none of it."""
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
