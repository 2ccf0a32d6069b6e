"""What a class is promised of one request: the strictest of its limits on response, TTFT and TPOT."""

from __future__ import annotations

import math
from collections.abc import Mapping


def limit_of(slo: Mapping[str, float], quantity: str) -> float:
    """Limit on the `quantity` (response, ttft, tpot) of a single request (s); infinite without one.

    >>> limit_of({"ttft_p95_s": 1.0, "ttft_s": 0.5, "response_s": 9.0}, "ttft")
    0.5
    """
    return min((limit for name, limit in slo.items() if name.split("_")[0] == quantity), default=math.inf)
