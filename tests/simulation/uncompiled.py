"""The simulator's modules imported a second time, with loops that are not compiled."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numba

PACKAGE = "qmodel.simulation"


def uncompiled(*names: str) -> list[ModuleType]:
    """These modules of the simulator as plain Python; those in use where nothing is compiled anyway.

    Everybody else goes on with the compiled ones: they read their compiled code, kept on disk, by names of modules.
    """
    if numba.config.DISABLE_JIT:
        return [importlib.import_module(f"{PACKAGE}.{name}") for name in names]
    own = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGE)}
    for name in own:
        del sys.modules[name]
    numba.config.DISABLE_JIT = True
    try:
        return [importlib.import_module(f"{PACKAGE}.{name}") for name in names]
    finally:
        numba.config.DISABLE_JIT = False
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]
        sys.modules.update(own)
        if PACKAGE in own:
            sys.modules["qmodel"].simulation = own[PACKAGE]  # type: ignore[attr-defined]
