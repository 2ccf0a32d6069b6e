"""What a policy brings against another, as text: per cent with the interval, a row a class."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from qmodel.cli.tables import Column, blocks
from qmodel.paired import Paired
from qmodel.statistics.intervals import Interval


def print_gained(found: Sequence[Paired]) -> None:
    """Print the table under the what-if table, as wide as the terminal."""
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = max(shutil.get_terminal_size().columns if asked else 10_000, 40)
    for line in gained_lines(found, width):
        print(line.rstrip())


def gained_lines(found: Sequence[Paired], width: int) -> Iterator[str]:
    """Caption, table, and what to know before believing it."""
    yield ""
    yield "how much lower response times are, in per cent, on the same requests (95 % interval)"
    yield ""
    rows = [(one, name) for one in found for name in one.classes if len(one.classes) != 2 or name == "all"]
    metrics = list(found[0].classes["all"])
    numbers = [Column(head(m), [percent(one[name][m]) for one, name in rows]) for m in metrics]
    for lines in blocks(_names(rows), numbers, Column("requests", [f"{one.requests:,}" for one, _ in rows]), width):
        yield from (lines[0], "-" * len(lines[0]), *lines[1:], "")
    for note in dict.fromkeys(f"{one.policy}: {note}" for one in found for note in one.notes):
        yield from textwrap.wrap(note, min(width, 100), subsequent_indent="  ", break_on_hyphens=False)


def _names(rows: Sequence[tuple[Paired, str]]) -> list[Column]:
    names = [
        Column("policy", [one.policy for one, _ in rows], is_name=True),
        Column("against", [one.baseline for one, _ in rows], is_name=True),
    ]
    if len({one.rate for one, _ in rows}) > 1:
        names.append(Column("rate/s", [f"{one.rate:.6g}" for one, _ in rows]))
    if len({name for _, name in rows}) > 1:
        names.append(Column("class", [name for _, name in rows], is_name=True))
    return names


def head(metric: str) -> str:
    """A metric as the what-if table heads it.

    >>> head("mean_response_s"), head("p99.9_response_s")
    ('mean', 'p99.9')
    """
    return metric.split("_")[0]


def percent(found: Interval) -> str:
    """Value and interval, with as many decimals as the interval allows.

    >>> percent(Interval(52.957, 52.1, 53.8)), percent(Interval(-3.0142, -3.021, -3.008))
    ('53.0 (52.1 to 53.8)', '-3.01 (-3.02 to -3.01)')
    """
    width = found.high - found.low
    if not width < float("inf"):
        return f"{found.value:.1f} (unbounded)"
    places = next((n for n in (1, 2, 3) if width >= 10.0 ** (0 - n)), 3)
    return f"{found.value:.{places}f} ({found.low:.{places}f} to {found.high:.{places}f})"
