"""Routing: which of several servers, each with its own queue, an arriving request joins."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qmodel.errors import InputError

KINDS = ("shared", "random", "round-robin", "jsq", "least-work")


@dataclass(frozen=True)
class Routing:
    """`kind`: one shared queue, or to a random server, in turn, to the shortest queue, to the least work.

    `choices`: with "jsq", how many servers drawn at random are compared (None: all of them).

    >>> Routing.parse("jsq:2")
    Routing(kind='jsq', choices=2)
    >>> str(Routing.parse("jsq:2"))
    'jsq:2'
    """

    kind: str = "shared"
    choices: int | None = None

    @classmethod
    def parse(cls, text: str) -> Routing:
        """From its spelling: a kind, or `jsq:D`. Raises InputError."""
        found = re.fullmatch(r"([a-z-]+)(?::([1-9]\d{0,5}))?", text)
        if found is None or found[1] not in KINDS or (found[2] and found[1] != "jsq"):
            raise InputError("system.routing", f"{text!r} is unknown", "known: " + ", ".join(KINDS) + ", jsq:2")
        return cls(found[1], int(found[2]) if found[2] else None)

    def __str__(self) -> str:
        return self.kind if self.choices is None else f"{self.kind}:{self.choices}"
