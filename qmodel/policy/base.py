"""What a scheduling policy is: a rank, lowest first, with its structure declared.

Sharing policies (PS, DPS) serve everyone at once; all others serve the request of lowest rank. Ties go to the
earlier arrival. `depends_on` states what the rank reads, so that theory can pick a result without guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Dependence = Literal["arrival", "class", "size", "prediction", "deadline", "age", "random"]


@dataclass(slots=True)
class Request:
    """What a policy may see of a request. Times are seconds, sizes are seconds of service.

    `lottery` is uniform on [0, 1), drawn at arrival; `deadline_s` is arrival plus the class's response SLO
    (infinite without one).
    """

    arrival_s: float
    size: float
    predicted_size: float
    priority: int = 0
    weight: float = 1.0
    deadline_s: float = float("inf")
    lottery: float = 0.0
    class_name: str = ""


class Policy:
    """A scheduling policy on one server.

    Attributes: `name` (preset name), `preemptive` (a better rank interrupts service, work is kept), `sharing`
    (None, or how the server is split among all present: "equal" or "weighted"), `depends_on`.
    """

    name: ClassVar[str] = ""
    preemptive: ClassVar[bool] = False
    sharing: ClassVar[Literal["equal", "weighted"] | None] = None
    depends_on: ClassVar[frozenset[Dependence]] = frozenset()

    def rank(self, request: Request, attained: float) -> float:
        """Lower goes first. `attained` is the service received so far, in seconds."""
        return request.arrival_s

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
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
