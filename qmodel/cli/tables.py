"""Answers as tables that read well at 80 columns; humanised units here, never in files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qmodel.answer import Answer, PolicyAnswer, percentile_name

if TYPE_CHECKING:
    from rich.table import Table

SCALES = (("s", 1.0), ("ms", 1e3), ("us", 1e6))


def time_unit(seconds: Sequence[float | None]) -> tuple[str, float]:
    """Unit in which the typical value has at least one digit before the point, and its factor.

    >>> time_unit([0.004, 0.02]), time_unit([1.5, None])
    (('ms', 1000.0), ('s', 1.0))
    """
    known = sorted(value for value in seconds if value is not None and math.isfinite(value) and value > 0)
    middle = known[len(known) // 2] if known else 1.0
    return next(((unit, scale) for unit, scale in SCALES if middle * scale >= 1.0), SCALES[-1])


def significant(value: float | None, digits: int = 4) -> str:
    """A number to so many significant digits, never in powers of ten below a million; a dash for None.

    >>> significant(23.02585), significant(0.00123456), significant(None), significant(12345.6)
    ('23.03', '0.001235', '-', '12346')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def answer_table(answer: Answer, percentiles: Sequence[float]) -> Table:
    """The what-if table: one row a policy, rate and class."""
    from rich import box
    from rich.table import Table

    metrics = ["mean_response_s", *(percentile_name(percent) for percent in percentiles)]
    values = [c.metrics.get(m) for r in answer.results for c in r.classes for m in metrics]
    unit, scale = time_unit(values)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for head in ("policy", "rate /s", "load", "class"):
        table.add_column(head, justify="left" if head in ("policy", "class") else "right", no_wrap=True)
    for head in (f"mean {unit}", *(f"p{percent:g} {unit}" for percent in percentiles)):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for result in answer.results:
        for i, row in enumerate(_rows(result, metrics, scale)):
            table.add_row(*row, end_section=i + 1 == len(_shown(result)))
    return table


def _shown(result: PolicyAnswer) -> list:
    return result.classes[:1] if len(result.classes) == 2 else result.classes


def _rows(result: PolicyAnswer, metrics: Sequence[str], scale: float) -> list[list[str]]:
    rows = []
    for i, answer in enumerate(_shown(result)):
        head = [result.policy, f"{result.rate:g}", significant(result.utilisation, 3)] if i == 0 else ["", "", ""]
        cells = []
        for metric in metrics:
            value = answer.metrics.get(metric)
            mark = "~" if result.method_of(answer.name, metric) != result.method and value is not None else ""
            cells.append(mark + significant(None if value is None else value * scale))
        method = result.method if result.stable else "unstable"
        rows.append([*head, answer.name, *cells, method if i == 0 else ""])
    return rows


def legend(answer: Answer) -> list[str]:
    """Where the numbers come from: each result once, with its source; what ~ means; notes."""
    lines = []
    for result in answer.results:
        source = f" ({result.source})" if result.source else ""
        lines.append(f"{result.policy}: {result.result}{source}")
        lines += [f"{result.policy}: {note}" for note in result.notes]
    other = {m for r in answer.results for c in r.classes for m in c.methods.values() if m != r.method}
    if other:
        lines.append(f"~ by {' or '.join(sorted(other))}, intervals in --json")
    return list(dict.fromkeys(lines))


def print_answer(answer: Answer, percentiles: Sequence[float]) -> None:
    """Print table and legend."""
    from rich.console import Console

    console = Console(soft_wrap=False, highlight=False)
    console.print(answer_table(answer, percentiles))
    for line in legend(answer):
        console.print(line, style="dim", markup=False)
