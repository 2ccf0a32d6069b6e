"""Answers as text that reads well at 80 columns; humanised units here, never in files.

No number is ever cut: names give way first, and then the percentiles go on below in a second block.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qmodel.answer import Answer, PolicyAnswer, percentile_name

SCALES = (("s", 1.0), ("ms", 1e3), ("us", 1e6))
GAP = 2
SHORTEST_NAME = 8
"""Blanks between columns, and to how many characters a name may be cut."""


def time_unit(seconds: Sequence[float | None]) -> tuple[str, float]:
    """Unit in which the typical value has at least one digit before the point, and its factor.

    >>> time_unit([0.004, 0.02]), time_unit([1.5, None])
    (('ms', 1000.0), ('s', 1.0))
    """
    known = sorted(value for value in seconds if value is not None and math.isfinite(value) and value > 0)
    middle = known[len(known) // 2] if known else 1.0
    return next(((unit, scale) for unit, scale in SCALES if middle * scale >= 1.0), SCALES[-1])


def significant(value: float | None, digits: int = 4) -> str:
    """A number to so many significant digits, in powers of ten only where it would be long; a dash for None.

    >>> significant(23.02585), significant(0.00123456), significant(None), significant(12345.6)
    ('23.03', '0.001235', '-', '12346')
    >>> significant(9.99996), significant(1.5e-7), significant(2.5e9)
    ('10.00', '1.5e-07', '2.5e+09')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits}g}"
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


@dataclass
class Column:
    """A head and its cells; numbers to the right, names to the left."""

    head: str
    cells: list[str]
    is_name: bool = False

    @property
    def width(self) -> int:
        """Of its longest cell."""
        return max(map(len, (self.head, *self.cells)))

    def shown(self, i: int | None, width: int) -> str:
        """Cell i (the head for None), in `width` characters."""
        text = cut(self.head if i is None else self.cells[i], width)
        return text.ljust(width) if self.is_name else text.rjust(width)


def cut(text: str, width: int) -> str:
    """The text in at most `width` characters, its middle left out.

    >>> cut("nightly-summaries", 11)
    'night..ries'
    """
    if len(text) <= width:
        return text
    tail = (width - 2) // 2
    return text[: width - 2 - tail] + ".." + text[len(text) - tail :]


def print_answer(answer: Answer, percentiles: Sequence[float]) -> None:
    """Print table and legend, as wide as the terminal; into a pipe or a file, as wide as it takes."""
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = shutil.get_terminal_size().columns if asked else 10_000
    for line in answer_lines(answer, percentiles, max(width, 40)):
        print(line.rstrip())


QUANTITIES = {
    "response": "response times",
    "ttft": "times to first token",
    "tpot": "times per output token after the first",
}
LOST = {"abandoned_share": "left", "rejected_share": "rejected"}
"""Shares that stand beside the response times where an answer has them."""


def answer_lines(answer: Answer, percentiles: Sequence[float], width: int) -> Iterator[str]:
    """The what-if tables, one row a policy, rate and class, and what the numbers rest on."""
    for quantity in QUANTITIES:
        if quantity == "response" or _known(answer, f"mean_{quantity}_s"):
            yield from _quantity_lines(answer, quantity, percentiles, width)
    for line in legend(answer):
        yield from textwrap.wrap(line, min(width, 100), subsequent_indent="  ", break_on_hyphens=False)


def _known(answer: Answer, metric: str) -> bool:
    return any(c.metrics.get(metric) is not None for r in answer.results for c in r.classes)


def _quantity_lines(answer: Answer, quantity: str, percentiles: Sequence[float], width: int) -> Iterator[str]:
    """The table of one quantity; shares stand in that of the response times."""
    metrics = [f"mean_{quantity}_s", *(percentile_name(percent, quantity) for percent in percentiles)]
    unit, scale = time_unit([c.metrics.get(m) for r in answer.results for c in r.classes for m in metrics])
    yield caption(answer, unit) if quantity == "response" else f"{QUANTITIES[quantity]} in {unit}"
    yield ""
    heads = ["mean", *(f"p{percent:.12g}" for percent in percentiles)]
    numbers = [
        Column(head, _cells(answer, metric, _scaled(scale))) for head, metric in zip(heads, metrics, strict=True)
    ]
    if quantity == "response":
        shares = {"attainment": "in SLO"} | LOST
        numbers += [Column(shares[m], _cells(answer, m, share)) for m in shares if _known(answer, m)]
    ends = _ends(answer)
    for lines in blocks(_names(answer), numbers, _methods(answer), width):
        yield from (lines[0], "-" * len(lines[0]))
        for i, line in enumerate(lines[1:]):
            yield line
            if i in ends:
                yield ""
    if not ends:
        yield ""


def caption(answer: Answer, unit: str) -> str:
    """What all rows share: rate and load, if there is one, and the unit of time."""
    about = f"response times in {unit}"
    rates = {(result.rate, result.utilisation) for result in answer.results}
    if len(rates) != 1:
        return about
    rate, load = next(iter(rates))
    known = "" if load is None else f", load {significant(load, 3)}"
    return f"{about} at {rate:.6g} requests/s{known}"


def blocks(names: list[Column], numbers: list[Column], method: Column, width: int) -> Iterator[list[str]]:
    """Lines, the head first; as many blocks as the numbers need."""
    narrow = sum(min(c.width, SHORTEST_NAME) + GAP for c in names) + method.width
    room = max(width - narrow, max(c.width for c in numbers) + GAP)
    while numbers:
        taken = max(n for n in range(1, len(numbers) + 1) if n == 1 or _width(numbers[:n]) <= room)
        yield _lines(names, [*numbers[:taken], method], width)
        numbers = numbers[taken:]


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + GAP for column in columns)


def _lines(names: list[Column], others: list[Column], width: int) -> list[str]:
    widths = [column.width for column in names]
    while sum(widths) + GAP * len(names) + _width(others) - GAP > width and max(widths) > SHORTEST_NAME:
        widths[widths.index(max(widths))] -= 1
    columns = list(zip([*names, *others], [*widths, *(column.width for column in others)], strict=True))
    rows = [None, *range(len(names[0].cells))]
    return [(" " * GAP).join(column.shown(i, wide) for column, wide in columns) for i in rows]


def _shown(result: PolicyAnswer) -> list:
    return result.classes[:1] if len(result.classes) == 2 else result.classes


def _ends(answer: Answer) -> set[int]:
    """Rows after which a blank line parts the results: none where each result is a single row."""
    lengths = [len(_shown(result)) for result in answer.results]
    return {sum(lengths[: i + 1]) - 1 for i in range(len(lengths))} if max(lengths, default=0) > 1 else set()


def _once(answer: Answer, texts: Sequence[str]) -> list[str]:
    """One text a result, in the first of its rows."""
    return [
        text if i == 0 else ""
        for result, text in zip(answer.results, texts, strict=True)
        for i in range(len(_shown(result)))
    ]


def _names(answer: Answer) -> list[Column]:
    """Varied fields, policy, rate and load where they differ, and class where there are several."""
    columns = [
        *_settings(answer),
        Column("policy", _once(answer, [r.policy for r in answer.results]), is_name=True),
    ]
    if len({(result.rate, result.utilisation) for result in answer.results}) > 1:
        columns.append(Column("rate/s", _once(answer, [f"{result.rate:.6g}" for result in answer.results])))
        loads = [significant(result.utilisation, 3) for result in answer.results]
        columns.append(Column("load", _once(answer, loads)))
    classes = [one.name for result in answer.results for one in _shown(result)]
    return [*columns, Column("class", classes, is_name=True)] if set(classes) != {"all"} else columns


def _settings(answer: Answer) -> list[Column]:
    """The fields that a sweep varied, by the last word of their path where that is enough to tell them apart."""
    paths = list(dict.fromkeys(path for result in answer.results for path in result.settings))
    paths = [path for path in paths if path != "policy.preset"]  # it has its column
    last = [path.rpartition(".")[2] for path in paths]
    heads = last if len(set(last)) == len(last) else paths
    values = [[_text(result.settings.get(path)) for result in answer.results] for path in paths]
    return [Column(head, _once(answer, cells), is_name=True) for head, cells in zip(heads, values, strict=True)]


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def share(value: float | None) -> str:
    """A share in per cent; only a share of 1 is called 100 %.

    >>> share(0.98765), share(0.999999), share(1.0), share(None)
    ('98.77%', '>99.99%', '100.00%', '-')
    """
    if value is None:
        return "-"
    return ">99.99%" if 0.99995 <= value < 1 else f"{value:.2%}"


def _scaled(scale: float) -> Callable[[float | None], str]:
    return lambda value: significant(None if value is None else value * scale)


def _cells(answer: Answer, metric: str, written: Callable[[float | None], str]) -> list[str]:
    """Values of one metric; ~ before one that was had in another way than the rest of its result."""
    cells = []
    for result in answer.results:
        for one in _shown(result):
            value = one.metrics.get(metric)
            differs = value is not None and result.method_of(one.name, metric) != result.method
            cells.append(("~" if differs else "") + written(value))
    return cells


def _methods(answer: Answer) -> Column:
    words = [result.method if result.stable else "unstable" for result in answer.results]
    return Column("method", _once(answer, words), is_name=True)


def legend(answer: Answer) -> list[str]:
    """Where the numbers come from: each result with its source, notes with whom they concern, what ~ means."""
    lines = []
    notes: dict[str, list[str]] = {}
    for result in answer.results:
        source = f" ({result.source})" if result.source else ""
        lines.append(f"{result.policy}: {result.result}{source}")
        for note in result.notes:
            notes.setdefault(note, []).append(result.policy)
    lines += [", ".join(dict.fromkeys(policies)) + f": {note}" for note, policies in notes.items()]
    other = {m for r in answer.results for c in r.classes for m in c.methods.values() if m != r.method}
    if other:
        lines.append(f"~ by {' or '.join(sorted(other))}, intervals in --json")
    return list(dict.fromkeys(lines))
