"""A pause: after a service the request leaves for a tool call, comes back, and is served again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from qmodel.errors import InputError
from qmodel.workload.distribution import Distribution

KeyValueCache = Literal["keep", "discard", "swap"]


@dataclass(frozen=True)
class Pause:
    """With `probability`, after each service, away for a draw of `duration` (seconds), then another service.

    Services, and so pauses, are geometric in number: 1 / (1 - probability) services on average. `kv` says what
    becomes of the request's key-value cache meanwhile, where an engine has one: it stays ("keep"), is given
    up and computed anew ("discard"; but for what an engine with prefix caching still finds), or moves to the host
    and back ("swap").

    >>> from qmodel.workload.continuous import Exponential
    >>> Pause(probability=0.75, duration=Exponential(mean=2.0)).services
    4.0
    """

    probability: float
    duration: Distribution
    kv: KeyValueCache = "keep"

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            raise InputError("pause, probability", f"{self.probability} is not between 0 and 1", "e.g. 0.5")
        if self.kv not in get_args(KeyValueCache):
            raise InputError("pause, kv", f"{self.kv!r} is unknown", "known: keep, discard, swap")

    @property
    def services(self) -> float:
        """Mean number of services of a request."""
        return 1.0 / (1.0 - self.probability)
