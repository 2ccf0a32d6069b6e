"""How the answers move, as text: intervals, elasticities, and the rate at which an SLO is first missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qmodel.cli.tables import Column, significant, time_unit
from qmodel.sensitivity import Moved, Sensitivity


def print_moved(found: Sequence[Sensitivity]) -> None:
    """One table a policy and rate, under the what-if table."""
    for one in found:
        print()
        for line in moved_lines(one):
            print(line.rstrip())


def moved_lines(found: Sensitivity) -> Iterator[str]:
    """Caption, table and the first SLO to be missed."""
    rows = [row for row in found.moved if row.class_name != "all" or _alone(found)]
    unit, scale = time_unit([row.value for row in rows])
    yield f"{found.policy} at {found.rate:.6g} requests/s: how it moves, in {unit}"
    yield f"{found.confidence:.0%} interval from {found.source}"
    if found.unstable_share > 0:
        yield f"unstable with probability {found.unstable_share:.2%}"
    yield ""
    columns = _columns(rows, scale, with_class=not _alone(found))
    head = "  ".join(column.shown(None, column.width) for column in columns)
    yield from (head, "-" * len(head))
    for i in range(len(rows)):
        yield "  ".join(column.shown(i, column.width) for column in columns)
    if found.first_missed is not None:
        limit = found.first_missed.limited_by
        yield ""
        yield f"SLOs are met up to {found.first_missed.rate:.4g} requests/s:"
        yield "stability ends there" if limit is None else f"class {limit[0]}, {limit[1]} is missed first"


def _alone(found: Sensitivity) -> bool:
    return len({row.class_name for row in found.moved}) == 2


def _columns(rows: list[Moved], scale: float, with_class: bool) -> list[Column]:
    if not with_class:
        rows[:] = [row for row in rows if row.class_name == "all"]
    names = [Column("class", [row.class_name for row in rows], is_name=True)] if with_class else []
    return [
        *names,
        Column("metric", [short_name(row.metric) for row in rows], is_name=True),
        Column("value", [significant(row.value * scale) for row in rows]),
        Column("low", [significant(row.low * scale) for row in rows]),
        Column("high", [significant(row.high * scale) for row in rows]),
        Column("+1% rate", [_share(row.by_rate) for row in rows]),
        Column("+1% service", [_share(row.by_service) for row in rows]),
    ]


def short_name(metric: str) -> str:
    """As the what-if table heads it.

    >>> short_name("mean_response_s"), short_name("p99_response_s")
    ('mean', 'p99')
    """
    return metric.removesuffix("_response_s")


def _share(elasticity: float | None) -> str:
    return "-" if elasticity is None else f"{elasticity:+.2f}%"
