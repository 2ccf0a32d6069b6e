"""A user's own rank as a function that compiled loops can call: compiled from the policy, or Python called back."""

from __future__ import annotations

import ctypes
from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import cfunc, njit, types
from numba.experimental import function_type

from qmodel.errors import InputError
from qmodel.policy import Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy import Policy
    from qmodel.simulation.kernels.rank import Own
    from qmodel.simulation.requests import Requests

SIGNATURE = types.float64(*[types.float64] * 9)
PROBES = 5
PROBED, AGES = 100, 200


assert function_type is not None  # imported so that numba knows first-class functions from the start


class View(NamedTuple):
    """What compiled code sees of a request: `qmodel.policy.Request` less the class's name."""

    arrival_s: float
    size: float
    predicted_size: float
    priority: int
    weight: float
    deadline_s: float
    lottery: float


class Callback(types.WrapperAddressProtocol):
    """A Python rank behind a C function pointer, for numba's first-class functions.

    The first exception of any kind (`SystemExit` too) is kept in `fault`, and NaN is returned from then on.
    """

    def __init__(self, policy: Policy, names: tuple[str, ...]) -> None:
        self.fault: BaseException | None = None
        self._policy, self._names = policy, names
        self._pointer = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_double] * 9)(self.__call__)

    def __call__(self, *values: float) -> float:
        if self.fault is not None:
            return float("nan")
        try:
            return float(self._policy.rank(_request(values, self._names), values[-1]))
        except BaseException as error:  # nothing may pass through the compiled loop, which would swallow it
            self.fault = error
            return float("nan")

    def __wrapper_address__(self) -> int:
        address = ctypes.cast(self._pointer, ctypes.c_void_p).value
        assert address is not None
        return address

    def signature(self) -> Any:
        return SIGNATURE


def _request(values: tuple[float, ...], names: tuple[str, ...]) -> Request:
    arrival, size, predicted, priority, weight, deadline, lottery, index = values[:8]
    return Request(arrival, size, predicted, int(priority), weight, deadline, lottery, names[int(index)])


def own(policy: Policy, requests: Requests) -> tuple[Own, Callback | None]:
    """The policy's rank over these requests; with the callback when it had to stay Python."""
    from qmodel.simulation.kernels.rank import SEEN, SEEN_FIELDS, Own

    names = tuple(served.name for served in requests.classes)
    seen = np.empty(len(requests), dtype=SEEN)
    for name in SEEN_FIELDS:
        seen[name] = getattr(requests, name)
    function: Any = compile_rank(policy)
    if function is None or not _agrees(function, policy, seen, names):
        function = Callback(policy, names)
    callback = function if isinstance(function, Callback) else None
    return Own(function, np.zeros(1, dtype=np.int64), seen), callback


def compile_rank(policy: Policy) -> Any | None:
    """The policy's `rank` as a C function of numbers; None where numba cannot compile it."""
    constants = _constants(policy)
    return _compiled(type(policy).rank, tuple(constants), tuple(constants.values()))


@lru_cache(maxsize=32)
def _compiled(function: Callable, names: tuple[str, ...], values: tuple) -> Any | None:
    constants = namedtuple("Constants", names)(*values)
    try:
        rank = njit(error_model="numpy")(function)

        def flat(
            arrival_s: float, size: float, predicted: float, priority: float, weight: float, deadline_s: float,
            lottery: float, class_index: float, attained: float,
        ) -> float:  # fmt: skip
            view = View(arrival_s, size, predicted, int(priority), weight, deadline_s, lottery)
            return float(rank(constants, view, attained))

        return cfunc(SIGNATURE)(flat)
    except Exception:  # whatever numba cannot do, Python can
        return None


def _constants(policy: Policy) -> dict[str, Any]:
    """The policy's numbers and tuples of numbers, by name, in place of `self`."""
    names = [name for name in dir(policy) if not name.startswith("_")]
    values = {name: getattr(policy, name) for name in names}
    return {name: value for name, value in values.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(part, int | float) for part in value)
    return isinstance(value, int | float)


def _agrees(function: Any, policy: Policy, seen: np.ndarray, names: tuple[str, ...]) -> bool:
    """Whether the compiled rank is what Python says, on a few requests at two ages."""
    for row in np.linspace(0, seen.size - 1, PROBES).astype(int):
        values = seen[row].tolist()
        for attained in (0.0, 0.6 * values[1]):
            try:
                expected = float(policy.rank(_request(values, names), attained))
            except BaseException:  # the loop's callback meets it again, and keeps it
                return False
            if not np.isclose(function.ctypes(*values, attained), expected, rtol=1e-12, equal_nan=True):
                return False
    return True


def rises(own: Own, requests: Requests) -> bool:
    """Whether the rank was seen to get worse with age: on `PROBED` of the requests, at `AGES` ages each."""
    from qmodel.simulation.kernels.rank import own_rise

    chosen = np.unique(np.linspace(0, len(requests) - 1, PROBED).astype(np.int64))
    return bool(own_rise(own, chosen, AGES))


PYTHON_RANK = "the rank could not be compiled and was called in Python, which is slower"


def check(own: Own, callback: Callback | None, policy: Policy, owner: NDArray[np.int64] | None = None) -> None:
    """Raise InputError if the rank raised, or was not a number; `owner` is the request of each row seen."""
    place = f"policy '{policy.name or type(policy).__name__}', rank"
    if callback is not None and callback.fault is not None:
        fault = callback.fault
        if isinstance(fault, KeyboardInterrupt):  # the user's, not the rank's
            raise fault
        raise InputError(place, f"raised {type(fault).__name__}: {fault}", "correct it") from fault
    if own.faults[0]:
        row = int(own.faults[0])
        request = row if owner is None else int(owner[row - 1]) + 1
        raise InputError(place, f"is not a number for request {request}", "return a finite float or an infinity")
