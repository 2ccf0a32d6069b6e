"""What a scheduling policy is: a rank, lowest first, with its structure declared.

Sharing policies (PS, DPS) serve everyone at once; all others serve the request of lowest rank. Ties go to the
earlier arrival. `depends_on` states what the rank reads, so that theory can pick a result without guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from qmodel.workload.distribution import Distribution

Dependence = Literal["arrival", "class", "size", "prediction", "deadline", "age", "random", "time", "turn"]


class Sized(Protocol):
    """What a policy may know of a class before it is served."""

    @property
    def name(self) -> str: ...
    @property
    def rate(self) -> float: ...
    @property
    def priority(self) -> int: ...
    @property
    def weight(self) -> float: ...
    @property
    def size(self) -> Distribution: ...


@dataclass(slots=True)
class Request:
    """What a policy may see of a request. Times are seconds, sizes are seconds of service.

    `lottery` is uniform on [0, 1), drawn at arrival; `deadline_s` is arrival plus the class's response SLO
    (infinite without one). `joined` is its place in the cyclic order of turns: whoever puts requests in order gives
    out growing numbers, one as a request joins the queue, and a new one when its turn is over.
    """

    arrival_s: float
    size: float
    predicted_size: float
    priority: int = 0
    weight: float = 1.0
    deadline_s: float = float("inf")
    lottery: float = 0.0
    class_name: str = ""
    joined: float = 0.0


class Policy:
    """A scheduling policy on one server.

    Attributes: `name` (preset name), `preemptive` (a better rank interrupts service, work is kept), `sharing`
    (None, or how the server is split among all present: "equal" or "weighted"), `depends_on`; `timed` (the rank is
    `rank_at` and changes while a request waits, so that it is asked for whenever a service ends); `binds` (the
    policy must be told of the classes first; a scenario does so).
    """

    name: ClassVar[str] = ""
    preemptive: ClassVar[bool] = False
    sharing: ClassVar[Literal["equal", "weighted"] | None] = None
    depends_on: ClassVar[frozenset[Dependence]] = frozenset()
    timed: ClassVar[bool] = False
    binds: ClassVar[bool] = False

    def rank(self, request: Request, attained: float) -> float:
        """Lower goes first. `attained` is the service received so far, in seconds."""
        return request.arrival_s

    def rank_at(self, request: Request, attained: float, now_s: float) -> float:
        """The rank at a moment; the same at all times unless the policy is `timed`."""
        return self.rank(request, attained)

    def bound(self, classes: Sequence[Sized]) -> Policy:
        """The policy as it serves these classes."""
        return self

    @property
    def spelled_options(self) -> dict[str, Any]:
        """What was asked of it, by name; not what a scenario told it."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.spelled_options == other.spelled_options

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.spelled_options.items())
        return f"{type(self).__name__}({options})"


class Rank(Policy):
    """Base of a user's own policy: give `preemptive` and `rank`, and nothing else.

    >>> class ShortestRemainingPrompt(Rank):
    ...     preemptive = True
    ...     def rank(self, request, attained):
    ...         return request.predicted_size - attained
    >>> ShortestRemainingPrompt().rank(Request(0.0, 3.0, 2.0), 0.5)
    1.5
    """
