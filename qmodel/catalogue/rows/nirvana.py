"""R12: NIRVANA: denoising resumed from the cached state of a similar prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.service.cache_hits import hit_ratio

PLAIN: dict[str, Any] = {"transform": []}
CACHE = {"kind": "cache", "items": 5000, "capacity": 500, "zipf": 0.9, "saved_fraction": 0.39, "lookup_s": 0.03}
LRU = {"transform": [CACHE]}
LFU = {"transform": [{**CACHE, "eviction": "lfu"}]}


def accept(case: Case) -> Iterator[Check]:
    """Che's hit ratio; mean service falls by sum of h_K K / N, the response by more, once there is a queue."""
    yield near("hits of 500 of 5000 items, Zipf 0.9, LRU", hit_ratio(5000, 500, 0.9), 0.5366, within=5e-4)
    exact, simulated = case.theory(LRU), case.simulate(LRU, requests=400_000)
    found = value(simulated, "mean_service_s")
    yield near("mean service with a real LRU cache", found, value(exact, "mean_service_s"), within=0.005)
    exit_law = case.tables["transform"][0]
    pairs = zip(exit_law["fractions"], exit_law["probabilities"], strict=True)
    saved = sum((1 - fraction) * p for fraction, p in pairs)
    before, after = case.theory(PLAIN), case.theory()
    service = 1 - value(after, "mean_service_s") / value(before, "mean_service_s")
    response = 1 - value(after, "mean_response_s") / value(before, "mean_response_s")
    yield near("saving of mean service", service, saved, within=1e-9)
    yield near("saving of mean service", service, 0.21, within=0.01)
    yield true(f"the response falls by {response:.3f}, more than the service by {service:.3f}", response > service)


ROW = Row(
    number=12,
    name="nirvana",
    title="approximate cache of diffusion states",
    method="exact",
    idea="""A prompt similar to an earlier one starts from that one's noise state after K of N steps, so
    only N - K are left. More steps skipped need more similarity, so they are rarer. Service falls
    by the mean share skipped; the response falls by more, because waits shrink faster than service.
    A published saving of the whole response below that of the service says that look-ups and the
    network are not free: the cache of the second setting has lookup_s.""",
    formula="""S = (1 - K/N) S0 with probability h_K: M/G/1 with a mixture; saving = sum of h_K K / N; h of LRU
    by Che""",
    reference="""Agarwal, Mitra, Chakraborty, Karanam, Mukherjee & Saini, NSDI 2024, arXiv 2312.04429; Che et al.
    2002""",
    unchecked="""NIRVANA-like: the set of K (5 to 25 of 50) and the hit profile are assumed, chosen to save the
    published 21 % of compute; eviction is LRU or LFU, not LCBFU (least frequency times compute
    saved)""",
    missing="LCBFU eviction",
    settings=(
        Setting("hit profile of K"),
        Setting("LRU cache, one K", LRU),
        Setting("LFU cache, one K", LFU),
        Setting("no cache", PLAIN),
    ),
    shown=("mean_service_s", "mean_wait_s", "mean_response_s", "p95_response_s"),
    accept=accept,
)
