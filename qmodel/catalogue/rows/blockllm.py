"""R35: BlockLLM: blocks of layers that tenants share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import agrees, at_most, near
from qmodel.catalogue.row import Check, Row, Setting

NAMES = ("common-a", "common-b", "own-a", "own-b")


def law(mean: float, scv: float = 1.0) -> dict[str, Any]:
    """Service at a block: gamma, exponential for an scv of 1."""
    return (
        {"distribution": "gamma", "mean": mean, "scv": scv}
        if scv != 1
        else {"distribution": "exponential", "mean": mean}
    )


DEDICATED: dict[str, Any] = {
    "station": [{"name": name} for name in NAMES],
    "class.tenant-a.services": {"common-a": law(1.0), "own-a": law(0.8)},
    "class.tenant-b.services": {"common-b": law(1.0), "own-b": law(0.8)},
}


def varied(scv: float) -> dict[str, Any]:
    """Blocks whose service varies so."""
    return {f"class.tenant-{t}.services": {"common": law(1.0, scv), f"own-{t}": law(0.8, scv)} for t in ("a", "b")}


def accept(case: Case) -> Iterator[Check]:
    """M/M/2 against two M/M/1; the network in simulation; two moments within 15 % at loads up to 0.7."""
    shared, dedicated = case.mean(name="tenant-a"), case.mean(DEDICATED, "tenant-a")
    own = 0.8 / (1 - 0.6 * 0.8)
    yield near("dedicated", dedicated, 1 / (1 - 0.6) + own, within=1e-9)
    yield near("shared", shared, 1 / (1 - 0.6**2) + own, within=1e-9)
    yield at_most("shared block", shared, "dedicated blocks", dedicated)
    yield agrees("shared", case.mean(), case.simulate(requests=200_000))
    for scv in (0.25, 3.0):
        found = value(case.simulate(varied(scv), requests=200_000), "mean_response_s")
        yield near(f"two moments, scv {scv}", case.mean(varied(scv)), found, within=0.15)


ROW = Row(
    number=35,
    name="blockllm",
    title="blocks of layers shared among tenants",
    method="exact",
    idea="""Models of several tenants are cut into blocks, and equal blocks are served once for all. A
    request is a chain of blocks. Two servers that both tenants may use wait less than one for each:
    the gain of pooling.""",
    formula="network of queues: product form for exponential blocks, two moments (QNA) otherwise",
    reference="Hu et al. 2024, arXiv 2404.18322; Jackson 1957; Whitt 1983",
    unchecked="BlockLLM-like: no batching inside a block, and blocks as fast shared as dedicated",
    missing="speculation with surrogate blocks; batches of their own size in each block",
    settings=(
        Setting("common block shared"),
        Setting("and services of scv 3", varied(3.0)),
        Setting("dedicated blocks", DEDICATED),
    ),
    shown=("mean_response_s", "p95_response_s", "tenant-a:mean_response_s", "mean_wait_s"),
    accept=accept,
)
