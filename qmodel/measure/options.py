"""A target's own options, checked before it is built."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from qmodel.errors import InputError, nearest
from qmodel.measure.targets.base import TARGETS


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for an option that the target does not have, and for one that it needs.

    An unknown kind passes: building the target refuses it.

    >>> check_options("command", {"comand": "sleep {seconds}"})
    Traceback (most recent call last):
    qmodel.errors.InputError: target, comand: is an unknown key; did you mean 'command'?
    """
    if kind not in TARGETS:
        return
    module, name = TARGETS[kind].split(":")
    parameters = dict(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    parameters.pop("threads", None)
    for option in options:
        if option not in parameters:
            raise InputError(f"target, {option}", "is an unknown key", nearest(option, ["kind", *parameters]))
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise InputError("target", f"{option} is missing", f"a target of kind '{kind}' needs it")
