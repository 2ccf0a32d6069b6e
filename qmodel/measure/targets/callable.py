"""The user's own computation: any Python function, its factors as keyword arguments."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qmodel.errors import InputError, nearest
from qmodel.measure.targets.base import Levels, Trial
from qmodel.measure.targets.device import cpu_name

ANY_FACTOR = "*"
"""Stands among a target's factors when it takes any name."""


class CallableTarget:
    """Times `module:function`, looked up in the current folder and on Python's path.

    Factors are the function's keyword parameters; with `**kwargs` any name, or those listed in `factors`. One
    call is one repetition and its result is not looked at, unless `returns_seconds` says that it is the
    latency itself.

    >>> target = CallableTarget(callable="time:sleep", factors=["seconds"])
    >>> target.phases, target.factors["call"]
    (('call',), ('seconds',))
    """

    phases = ("call",)

    def __init__(
        self, *, callable: str, threads: int = 1, factors: Sequence[str] = (), returns_seconds: bool = False
    ) -> None:
        self.name, self.device = callable, cpu_name()
        self._function = find_function(callable)
        self._returns_seconds = returns_seconds
        self.factors: Mapping[str, tuple[str, ...]] = {"call": tuple(factors) or keyword_names(self._function)}

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """One call with these levels; raises InputError for arguments that the function does not take."""
        try:
            inspect.signature(self._function).bind(**levels)
        except TypeError as error:
            fault = f"{error}"
            raise InputError(f"callable '{self.name}'", fault, "make the factors its keyword arguments") from error
        except ValueError:
            pass  # functions written in C often have no signature
        call = partial(self._function, **levels)
        return call if self._returns_seconds else partial(_ignore_result, call)

    def peak_memory_bytes(self) -> int | None:
        """Not known: the process keeps only the peak of its whole life."""
        return None

    def versions(self) -> dict[str, str]:
        """Version of the function's package, where it tells one."""
        package = self.name.partition(":")[0].partition(".")[0]
        version = getattr(sys.modules.get(package), "__version__", None)
        return {package: str(version)} if version else {}

    def close(self) -> None:
        """Nothing is held."""


def _ignore_result(call: Callable[[], Any]) -> None:
    call()


def find_function(reference: str) -> Callable[..., Any]:
    """The function that `module:function` names; raises InputError when there is none."""
    place = f"callable '{reference}'"
    module_name, colon, path = reference.partition(":")
    if not (module_name and colon and path):
        raise InputError(place, "is not module:function", "write the module, a colon and the function")
    found: Any = _import(module_name, place)
    for name in path.split("."):
        if not hasattr(found, name):
            known = [other for other, value in vars(found).items() if callable(value) and other[0] != "_"]
            raise InputError(place, f"has no function {name}", nearest(name, known))
        found = getattr(found, name)
    if not callable(found):
        raise InputError(place, f"is {type(found).__name__}, not a function", "name a function")
    return found


def _import(module: str, place: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        fault = f"module {error.name} is not found"
        raise InputError(place, fault, "run from its folder, or put that on PYTHONPATH") from error
    except (Exception, SystemExit) as error:
        fault = f"its module fails on import: {type(error).__name__}: {error}"
        raise InputError(place, fault, "mend the module") from error


def keyword_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names that can be given as keyword arguments; `*` when any can, or when the function does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return (ANY_FACTOR,)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return (ANY_FACTOR,)
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
