"""Laws whose percentiles are read off the times that any law of the same queue asked for.

Probabilities with few terms are known at some times. A percentile is read off them on a Weibull plot; one more time
is looked at while the reading is in doubt. What twice the terms change is found next to the percentile, or at a
time not far from it that was looked at twice for another law, if it is next to nothing there.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Iterable

from qmodel.theory.numerics.doubling import DoublingLaw
from qmodel.theory.numerics.weibull_plot import one_more, reading

READ, READ_TAIL = 2e-6, 1e-3
"""Estimated error of a percentile that is read off, in probability; at most this share of P(T > t)."""
LOWEST, HIGHEST = 0.005, 0.9995
"""Levels beyond these are searched: what is read off there is the inversion's own error."""
MOST_LOOKS = 12
"""Times to look at for one percentile, before it is searched."""
FELT, FELT_TAIL, AS_WELL = 5e-6, 3e-3, 0.7
"""Change on doubling the terms, and as a share of P(T > t), that has to be known next to the percentile itself; a
smaller one may be known at a time that is so far away in log t."""


class ReadLaw(DoublingLaw):
    """A law that is read off if it is smooth."""

    @abstractmethod
    def _known_times(self) -> list[float]:
        """Times at which what other laws of the queue asked for is this law's too."""

    @abstractmethod
    def _checked_times(self) -> Collection[float]:
        """Of these, those known with twice the terms."""

    @property
    @abstractmethod
    def _is_smooth(self) -> bool:
        """Whether the law neither jumps nor bends sharply: others are searched."""

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        level, terms = percent / 100.0, self._terms
        if self._is_smooth and LOWEST <= level <= HIGHEST:
            found = self._read_off(level)
            if found is not None:
                return found
            self._terms = terms
            self._seen.clear()
        return super().percentile(percent)

    def _read_off(self, level: float) -> float | None:
        """The percentile, read off and checked; None where the known times do not tell it."""
        goal = min(READ, READ_TAIL * (1.0 - level))
        for _ in range(MOST_LOOKS):
            self._look_at(self._known_times() or [self._start])
            found = reading(self._seen, level)
            if found is None:
                return None
            if found.error > goal:
                more = one_more(self._seen, found.t)
                if more is None:
                    return None
                self._look_at([more])
                continue
            change = self._change(found.t)
            if change is not None:
                self._error = max(self._error, found.error)
                moved = reading(self._seen, level - change)
                return found.t if moved is None else moved.t
            self._terms *= 2
            self._seen.clear()
        return None

    def _look_at(self, times: Iterable[float]) -> None:
        self._seen |= {t: self._value(t, self._terms) for t in times if t not in self._seen}

    def _change(self, t: float) -> float | None:
        """Change of a probability near t on doubling the terms; None where it has not come to a stand."""
        change = 0.0
        for near in self._to_check(t):
            fine, stands = self._checked(near, self._seen[near])
            if not stands:
                return None
            change = fine - self._seen[near]
            if abs(change) <= min(FELT, FELT_TAIL * (1.0 - fine)):
                break
        return change

    def _to_check(self, t: float) -> list[float]:
        """A time not far from t that was checked for another law, and the known time next to t."""

        def away(other: float) -> float:
            return abs(math.log(other / t))

        known = [each for each in self._seen if each > 0]
        twice = set(self._checked_times())
        checked = [each for each in known if each in twice and away(each) <= AS_WELL]
        return [*sorted(checked, key=away)[:1], min(known, key=away)]
