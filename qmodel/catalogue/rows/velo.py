"""R21: VELO: similar answers from the edge, the rest from the cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, falling, near, true
from qmodel.catalogue.row import Check, Row, Setting

TOTAL, EDGE, CLOUD, HOP = 10.0, 0.02, 0.14, 0.05


def hits(share: float) -> dict[str, Any]:
    """This share of all requests is answered at the edge."""
    return {"class.hit.arrivals.rate": TOTAL * share, "class.miss.arrivals.rate": TOTAL * (1 - share)}


def by_hand(share: float) -> float:
    """h T_e + (1 - h) (T_e + hop + T_c), each station M/M/1, the cloud with lambda (1 - h)."""
    edge, cloud = EDGE / (1 - TOTAL * EDGE), CLOUD / (1 - TOTAL * (1 - share) * CLOUD)
    return edge + (1 - share) * (HOP + cloud)


def satisfaction(case: Case, share: float) -> float:
    """Quality 1 - h^2 / 2, as similar answers get less similar, less a fifth of the response in seconds."""
    return 1 - share**2 / 2 - 0.2 * case.mean(hits(share))


def accept(case: Case) -> Iterator[Check]:
    """The cloud sees the thinned stream; delay falls with the hits, quality too, and the best lies between."""
    shares = (0.31, 0.4, 0.6, 0.8, 0.95)
    means = [case.mean(hits(share)) for share in shares]
    for share, mean in zip(shares, means, strict=True):
        yield near(f"E[T] at hit share {share}", mean, by_hand(share), within=1e-9)
    yield falling("E[T] over hit shares", means)
    values = [satisfaction(case, share) for share in shares]
    yield true("the best share of hits lies inside: " + ", ".join(f"{v:.3f}" for v in values),
               max(values) not in (values[0], values[-1]))  # fmt: skip
    yield agrees("E[T]", case.mean(), case.simulate(requests=400_000))


ROW = Row(
    number=21,
    name="velo",
    title="similar answers cached at the edge",
    method="exact",
    idea="""A vector database at the edge holds answers; a question similar enough to an old one is answered
    there, the rest goes to the cloud, which sees a thinned stream. A lower bar for similarity means
    more hits, less delay and worse answers: the best lies in between.""",
    formula="E[T] = h T_e + (1 - h) (T_e + hop + T_c), the cloud with arrival rate lambda (1 - h) (Jackson)",
    reference="Yao, Tang, Lou, Shen & Jia, ICWS 2024, arXiv 2406.13399; Jackson 1957",
    unchecked="""VELO-like: hits independent of each other; a quality of 1 - h^2 / 2 and its price are assumed,
    to show an optimum inside""",
    missing="the learned decision for each request (controllers)",
    settings=(
        Setting("40 % of hits"),
        Setting("70 % of hits", hits(0.7)),
        Setting("hardly any, 30 %", hits(0.3)),
    ),
    shown=("mean_response_s", "p95_response_s", "hit:mean_response_s", "miss:mean_response_s"),
    accept=accept,
)
