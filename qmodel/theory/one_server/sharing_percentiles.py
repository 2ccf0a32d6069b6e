"""Percentiles of the response under processor sharing: what one server's laws ask of it, they share.

The law of V(x) given the size x is the same for all classes, which differ in their sizes alone. So a time at which
one class's probability was asked for is known to all, and percentiles are read off such times on a Weibull plot
while the laws are smooth. Laws that may jump are searched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qmodel.theory.numerics.doubling import DoublingLaw
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.numerics.sizes import components
from qmodel.theory.numerics.weibull_plot import Reading, one_more, reading
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Values = dict[int, tuple[Distribution, dict[tuple[float, int], float]]]
"""By the id of a law: the law, and P(T <= t) by t and terms."""

READ, READ_TAIL = 1e-6, 1e-3
"""Estimated error of a percentile that is read off, in probability; at most this share of P(T > t)."""
LOWEST, HIGHEST = 0.005, 0.9995
"""Levels beyond these are searched: what is read off there is the inversion's own error."""
NARROW = 0.01
"""Laws with components of a smaller scv are searched."""
MOST_LOOKS = 10
"""Times to look at for one percentile, before it is searched."""
FELT, AS_WELL = 1e-6, 1.5
"""Change on doubling the terms that has to be known next to the percentile itself; a smaller one may be known at a
time that is so far away in log t."""


class Server(Protocol):
    """What a law needs of the server that its requests share."""

    @property
    def size(self) -> Distribution:
        """Law of all sizes."""

    @property
    def others(self) -> tuple[Distribution, ...]:
        """Laws of size until delivery."""

    @property
    def load(self) -> float:
        """lambda E[S]."""

    @property
    def most_terms(self) -> int:
        """Terms of an inversion, at most."""

    @property
    def error(self) -> float:
        """Error that more terms do not show."""

    @property
    def atoms(self) -> tuple[Floats, Floats]:
        """Where the laws of the response may jump, first."""

    @property
    def values(self) -> Values:
        """Probabilities known so far."""

    def times(self, terms: int) -> list[float]:
        """Times at which the law is known with so many terms."""

    def probability(self, law: Distribution, t: float, terms: int) -> float:
        """P(T <= t) of requests with this law until delivery."""


class SharedServerLaw(DoublingLaw):
    """The law of the response of requests whose sizes have these laws, in these shares.

    >>> from qmodel.workload import Exponential
    >>> from qmodel.theory.one_server.sharing_phases import SharedServer, erlang_phases
    >>> from qmodel.workload import Exponential
    >>> unit = Exponential(mean=1.0)
    >>> server = SharedServer(0.8, unit, erlang_phases(unit))
    >>> round(SharedServerLaw([(1.0, unit)], server).cdf(30.0), 6)
    0.982437
    """

    def __init__(self, own: Sequence[tuple[float, Distribution]], server: Server) -> None:
        super().__init__(own, server.load, server.most_terms)
        self.server = server

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return super().error + self.server.error

    def together(self, shares: Sequence[float], laws: Sequence[Law]) -> Law | None:
        """The law of a request of any of these classes, if all are of one queue."""
        known = [law for law in laws if isinstance(law, SharedServerLaw) and law.server is self.server]
        if len(known) < len(laws):
            return None
        pairs = zip(shares, known, strict=True)
        return SharedServerLaw([(q * p, own) for q, law in pairs for p, own in law.own], self.server)

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        level = percent / 100.0
        if len(self._jumps()) or self._all_but_jumps:
            return super().percentile(percent)
        while True:
            self._look_at(self._known_times())
            found = self._read_off(level) if self._smooth and LOWEST <= level <= HIGHEST else None
            t = self._reaching(level) if found is None else found.t
            change = self._change(t)
            if change is None:
                self._terms *= 2
                self._seen.clear()
                continue
            if found is None:
                return self._reaching(level - change)
            self._error = max(self._error, found.error)
            moved = reading(self._seen, level - change)
            return t if moved is None else moved.t

    @cached_property
    def _parts(self) -> list[Distribution]:
        """Components of the laws of size."""
        return [part for law in (self.server.size, *self.server.others) for part in components(law)]

    @cached_property
    def _all_but_jumps(self) -> bool:
        """Whether a component hardly varies: what is known elsewhere tells little of where it is."""
        return any(part.scv < NARROW for part in self._parts)

    @cached_property
    def _smooth(self) -> bool:
        """Whether no law of size ends, or begins but at 0: the law of the response bends there."""
        return {end for part in self._parts for end in part.support()} <= {0.0, math.inf}

    def _read_off(self, level: float) -> Reading | None:
        """The percentile, after as many more looks as that takes; None where known times do not tell it."""
        goal = min(READ, READ_TAIL * (1.0 - level))
        self._look_at([] if self._seen else [self._start])
        for _ in range(MOST_LOOKS):
            found = reading(self._seen, level)
            if found is None or found.error <= goal:
                return found
            more = one_more(self._seen, found.t)
            if more is None:
                return None
            self._look_at([more])
        return None

    def _look_at(self, times: Sequence[float]) -> None:
        self._seen |= {t: self._value(t, self._terms) for t in times if t not in self._seen}

    def _change(self, t: float) -> float | None:
        """Change of a probability near t on doubling the terms; None where it has not come to a stand."""
        change = 0.0
        for near in self._to_check(t):
            fine, stands = self._checked(near, self._seen[near])
            if not stands:
                return None
            change = fine - self._seen[near]
            if abs(change) <= FELT:
                break
        return change

    def _to_check(self, t: float) -> list[float]:
        """A time not far from t that was checked for another law, and the known time next to t."""

        def away(other: float) -> float:
            return abs(math.log(other / t))

        twice = set(self.server.times(2 * self._terms))
        checked = [each for each in self._seen if each in twice and away(each) <= AS_WELL]
        return [*sorted(checked, key=away)[:1], min(self._seen, key=away)]

    def _known_times(self) -> list[float]:
        return self.server.times(self._terms)

    def _value(self, t: float, terms: int) -> float:
        found = sum(share * self._of(law, t, terms) for share, law in self.own)
        return float(np.clip(found, 0.0, 1.0))

    def _of(self, law: Distribution, t: float, terms: int) -> float:
        """P(T <= t) of one law, computed once for all that hold it."""
        _, values = self.server.values.setdefault(id(law), (law, {}))
        if (t, terms) not in values:
            values[t, terms] = self.server.probability(law, t, terms)
        return values[t, terms]

    def _jumps(self) -> Floats:
        return self.server.atoms[0]
