"""Did the machine change while it was measured? Trend of latency over run order, cell by cell."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median


@dataclass(frozen=True)
class Drift:
    """Trend of latency over the run: `change` is relative (0.02 = 2 % longer at the end), `p_value` two-sided."""

    change: float
    p_value: float
    visits: int

    @property
    def significant(self) -> bool:
        """Whether the trend is told from chance at 5 %."""
        return self.p_value < 0.05

    def line(self) -> str:
        """One sentence for reports."""
        told = "is told from chance" if self.significant else "is not told from chance"
        return f"drift over the run: {100 * self.change:+.1f} % (p = {self.p_value:.2g}), {told}"


def find_drift(visits: Iterable[tuple[Hashable, float, float]]) -> Drift | None:
    """Seasonal Kendall test and seasonal Sen slope, with cells for seasons.

    Takes (cell, place in the run order, median latency) for each visit. Visits, not rows, are the unit:
    repetitions of one visit follow one another and share the machine's mood. Cells are compared only with
    themselves, so their latencies may differ by any factor. None when no cell was visited twice. Source:
    Hirsch, Slack & Smith, Water Resources Research 18 (1982) 107-121.

    >>> find_drift([(c, 10 * b + c, (1 + c) * 1.1**b) for c in range(8) for b in range(3)]).significant
    True
    """
    series: dict[Hashable, list[tuple[float, float]]] = defaultdict(list)
    for cell, order, latency in visits:
        series[cell].append((order, math.log(latency)))
    pairs = [pair for points in series.values() for pair in combinations(sorted(points), 2)]
    if not pairs:
        return None
    score = sum((later > earlier) - (later < earlier) for (_, earlier), (_, later) in pairs)
    variance = sum(n * (n - 1) * (2 * n + 5) / 18 for n in map(len, series.values()))
    corrected = max(0, abs(score) - 1)
    slope = median((later - earlier) / (end - start) for (start, earlier), (end, later) in pairs)
    orders = [order for points in series.values() for order, _ in points]
    p_value = 2 * (1 - NormalDist().cdf(corrected / math.sqrt(variance)))
    return Drift(math.expm1(slope * (max(orders) - min(orders))), p_value, len(orders))
