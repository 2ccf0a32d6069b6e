"""How a table fits the page: which size, which columns wrap, where heads break. The same for LaTeX and PDF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from qmodel.report.inline import Content, Text, content, plain
from qmodel.report.table import FormattedTable

GAP = 2.4
"""Space between two columns, in characters."""

WRAPS_FROM = 18
"""Columns of words at least this wide may wrap."""

NARROWEST = 10
"""Characters that a column of words keeps where even the smallest type is too wide."""

LONG_ROWS = 18
"""Tables with more rows run over pages; shorter ones stay in one piece."""


@dataclass(frozen=True)
class Layout:
    """Type size, each column's share of the line where it wraps (None: natural width), heads by line."""

    size: str
    shares: tuple[float | None, ...]
    heads: tuple[tuple[Content, ...], ...]
    long: bool


def layout(table: FormattedTable, sizes: Mapping[str, int]) -> Layout:
    """The largest type in which the table fits, wrapping wide columns of words before shrinking.

    `sizes` are the writer's type sizes from large to small, each with the characters that fill a line.
    """
    cells = [max((len(plain(row[i])) for row in table.rows), default=0) for i in range(len(table.heads))]
    heads = tuple(broken_head(h, u, w) for h, u, w in zip(table.heads, table.units, cells, strict=True))
    widths = [max([cell, *(len(plain(line)) for line in head)]) for cell, head in zip(cells, heads, strict=True)]
    wraps = [a == "left" and w >= WRAPS_FROM for a, w in zip(table.aligns, widths, strict=True)]
    size, shares = fit(widths, wraps, sizes)
    return Layout(size, shares, heads, len(table.rows) > LONG_ROWS)


def fit(widths: list[int], wraps: list[bool], sizes: Mapping[str, int]) -> tuple[str, tuple[float | None, ...]]:
    """Size and shares for natural widths (characters) and the columns that may wrap."""
    total = sum(widths) + GAP * len(widths)
    stiff = sum(w for w, wrap in zip(widths, wraps, strict=True) if not wrap) + GAP * len(widths)
    for size, capacity in sizes.items():
        if total <= capacity:
            return size, (None,) * len(widths)
        if any(wraps) and capacity - stiff >= WRAPS_FROM * sum(wraps):
            return size, wrapped_shares(widths, wraps, (capacity - stiff) / capacity)
    if not any(wraps):
        return size, (None,) * len(widths)
    return size, wrapped_shares(widths, wraps, max(capacity - stiff, NARROWEST * sum(wraps)) / capacity)


def wrapped_shares(widths: list[int], wraps: list[bool], room: float) -> tuple[float | None, ...]:
    """Shares of the room by the square root of how much each column has to say."""
    weights = [w**0.5 if wrap else 0.0 for w, wrap in zip(widths, wraps, strict=True)]
    return tuple(room * weight / sum(weights) if weight else None for weight in weights)


def broken_head(head: Content, unit: str, cell_width: int) -> tuple[Content, ...]:
    """A head with its unit, broken into lines no wider than its column needs."""
    words = list(split_words(head)) + ([(Text(f"({unit})"),)] if unit else [])
    limit = max([cell_width, 10, *(len(plain(word)) for word in words)])
    return tuple(packed(words, limit))


def split_words(head: Content) -> Iterator[Content]:
    """A head word by word; a symbol is a word."""
    for inline in head:
        if type(inline) is Text:
            yield from ((Text(word),) for word in inline.text.split(" ") if word)
        else:
            yield (inline,)


def packed(words: Iterable[Content], limit: int) -> Iterator[Content]:
    """Words in lines of at most `limit` characters."""
    line: Content = ()
    for word in words:
        longer = content((*line, Text(" "), *word)) if line else word
        if line and len(plain(longer)) > limit:
            yield line
            longer = word
        line = longer
    yield line
