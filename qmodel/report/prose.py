"""Sentences with light markup and named values, so that a section of a report reads like prose.

The template is the author's; values put into it are never parsed. Markup: `**strong**`, `*emphasis*`,
`` `code` ``, `$rho$` (a name from `symbols`), `@tab:label` (cross reference), `[@key]` (citation),
`[text](https://...)`, `^[footnote]`, `{value}`; a backslash makes any of these marks plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from numbers import Integral

from qmodel.report.inline import Cite, Code, Content, Emphasis, Footnote, Inline, Link, Ref, Strong, Text, content
from qmodel.report.quantity import SPACE, Estimate, Interval, Quantity
from qmodel.report.symbols import symbol

Value = str | int | Quantity | Estimate | Interval | Inline | Content

TOKEN = re.compile(
    r"""
    \\(?P<escaped>[\\*`$@\[\]^{}])
  | \{(?P<value>[A-Za-z_]\w*)\}
  | \*\*(?P<strong>[^*]+)\*\*
  | \*(?P<emphasis>[^*]+)\*
  | `(?P<code>[^`]+)`
  | \$(?P<symbol>[^$]+)\$
  | \^\[(?P<footnote>(?:[^\[\]]|\[[^\[\]]*\])+)\]
  | \[@(?P<cite>[a-z0-9-]+)\]
  | \[(?P<link>[^\[\]]+)\]\((?P<url>[^\s()]+)\)
  | @(?P<ref>(?:fig|tab|sec|eq):[a-z0-9]+(?:-[a-z0-9]+)*)
  | (?P<stray>[*`${}])
  | (?P<text>[^\\*`$@\[\]^{}]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)

UNIT_AFTER_NUMBER = re.compile(r"(?<=\d) (?=%|(?:[nµm]?s|min|h|[mk]?J|[mk]?W|[KMGT]i?B|cores?)\b)")
"""The blank that must not become the end of a line."""


def prose(template: str, **values: Value) -> Content:
    """A sentence or several, with its values in place.

    Raises ValueError for a mark without its partner, a placeholder without a value, a value that is not
    used, and TypeError for a bare float: a number needs its unit (`Quantity`).

    >>> prose("Mean *wait* is {wait}.", wait=Quantity(0.002, "s"))[2]
    Text(text=' is 2.00\\xa0ms.')
    """
    unused = set(values)
    parsed = content(tuple(parse(template, values, unused)))
    if unused:
        raise ValueError(f"values without a place in the text: {', '.join(sorted(unused))}")
    return parsed


def parse(template: str, values: Mapping[str, Value], unused: set[str]) -> Iterator[Inline]:
    """The inlines of a template; names that it uses are taken out of `unused`."""
    for found in TOKEN.finditer(template):
        kind, matched = str(found.lastgroup), found[str(found.lastgroup)]
        match kind:
            case "stray":
                raise ValueError(
                    f"'{matched}' stands alone in {template!r}; write '\\{matched}' for the mark itself"
                )
            case "text" | "escaped":
                yield Text(UNIT_AFTER_NUMBER.sub(SPACE, matched))
            case "value":
                yield from spliced(take(matched, values, unused))
            case "strong" | "emphasis" | "code":
                styled = {"strong": Strong, "emphasis": Emphasis, "code": Code}[kind]
                yield styled(filled(matched, values, unused))
            case "symbol":
                yield symbol(matched)
            case "footnote":
                yield Footnote(content(tuple(parse(matched, values, unused))))
            case "cite":
                yield Cite(matched)
            case "url":
                yield Link(filled(found["link"], values, unused), matched)
            case "ref":
                yield Ref(matched)


def take(name: str, values: Mapping[str, Value], unused: set[str]) -> Value:
    """The value of a placeholder, noted as used."""
    if name not in values:
        raise ValueError(f"no value for {{{name}}}")
    unused.discard(name)
    return values[name]


def filled(text: str, values: Mapping[str, Value], unused: set[str]) -> str:
    """Text whose placeholders are replaced by the words of their values."""
    return re.sub(r"\{([A-Za-z_]\w*)\}", lambda m: worded(take(m[1], values, unused)), text)


def spliced(value: Value) -> Content:
    """A value as inlines."""
    if isinstance(value, tuple):
        return value
    return (value,) if isinstance(value, Inline) else (Text(worded(value)),)


def worded(value: Value) -> str:
    """A value as words: counts in groups of thousands, quantities with their unit."""
    if isinstance(value, bool) or not isinstance(value, str | Integral | Quantity | Estimate | Interval):
        raise TypeError(f"{value!r} cannot stand in a sentence; give text, a count, or a Quantity with its unit")
    return f"{int(value):,}".replace("-", "−") if isinstance(value, Integral) else str(value)
