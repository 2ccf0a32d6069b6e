"""Which requests share a batch, decided on the whole queue: by promise and predicted length."""

from __future__ import annotations

from collections.abc import Sequence

LARGEST, MARGIN, MOST_PADDED = 10, 1.2, 15_000.0


def by_promise_and_length(
    slo: Sequence[float], predicted: Sequence[float], *, slo_weight: float = 1.0, length_weight: float = 0.5
) -> list[list[int]]:
    """Groups of requests, by number, as UELLM's SLO-ODBS makes them.

    Sorted by slo_weight * SLO + length_weight * predicted length; the next one joins while the group has fewer than
    10 and (its length - the group's longest) * (requests with it) * 1.2 <= 15,000. As published in code
    (HYIUYOU/UELLM); the rule as catalogued, its remarks on units are not known.

    >>> by_promise_and_length([10, 10, 10], [100, 9000, 120])
    [[0, 2], [1]]
    """
    order = sorted(range(len(slo)), key=lambda i: slo_weight * slo[i] + length_weight * predicted[i])
    groups: list[list[int]] = []
    for i in order:
        longest = max((predicted[j] for j in groups[-1]), default=0.0) if groups else 0.0
        padded = (predicted[i] - longest) * (len(groups[-1]) + 1) * MARGIN if groups else 0.0
        if groups and len(groups[-1]) < LARGEST and padded <= MOST_PADDED:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def padded_share(lengths: Sequence[float], groups: Sequence[Sequence[int]]) -> float:
    """Share of a static batch's token slots that are padding: 1 - sum of lengths / sum of (requests x longest).

    >>> padded_share([1.0, 3.0], [[0, 1]])
    0.33333333333333337
    """
    slots = sum(len(group) * max(lengths[i] for i in group) for group in groups)
    return 1.0 - sum(lengths[i] for group in groups for i in group) / slots
