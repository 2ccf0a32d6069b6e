"""Numbers and tables as a thesis prints them: Markdown, LaTeX, and plain text within 80 columns."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence

import pandas as pd

from qmodel.service.units import Unit

WIDTH = 80
NO_BREAK = "\u00a0"


def percent(share: float | None) -> str:
    """Two significant digits, at least a tenth of a per cent in sight.

    >>> percent(0.01234), percent(0.5), percent(0.00004), percent(1.5), percent(None)
    ('1.2 %', '50 %', '0.004 %', '150 %', '-')
    """
    if share is None or not math.isfinite(share):
        return "-"
    value = 100.0 * share
    if value == 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(abs(value)))) if abs(value) < 10 else 0
    return f"{value:.{min(digits, 3)}f} %"


def p_value(p: float | None) -> str:
    """A p value as it is printed.

    >>> p_value(0.0312), p_value(3e-9), p_value(0.5), p_value(None)
    ('0.031', '< 0.0001', '0.50', '-')
    """
    if p is None or not math.isfinite(p):
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits without exponents where they can be avoided.

    >>> number(1234.5678), number(0.00012345), number(12.0), number(3.0e12)
    ('1235', '0.0001234', '12', '3e+12')
    """
    if value is None or not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-5 <= abs(value) < 1e7:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return text


def listed(names: Sequence[str]) -> str:
    """`a, b and c`.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "none"


def plain_table(frame: pd.DataFrame) -> str:
    """Columns of text, the first aligned left, the others right; long first cells are wrapped to fit 80 columns."""
    columns = [[str(name), *map(str, frame[name])] for name in frame.columns]
    widths = [max(map(len, column)) for column in columns]
    widths[0] = min(widths[0], WIDTH - sum(w + 2 for w in widths[1:]))
    lines = []
    for row in zip(*columns, strict=True):
        first = _wrapped_cell(row[0], widths[0])
        lines += [line.rstrip() for line in first[:-1]]
        cells = [first[-1].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _wrapped_cell(text: str, width: int) -> list[str]:
    """Lines of at most `width`, broken after the colons of a product or at spaces if that will do."""
    marked = text.replace(":", ":\u200b ") if len(text) > width else text
    lines = textwrap.wrap(marked, width, break_long_words=True, break_on_hyphens=False, subsequent_indent="  ")
    return [line.replace(":\u200b ", ":").replace(":\u200b", ":") for line in lines] or [""]


def markdown_table(frame: pd.DataFrame) -> str:
    """A Markdown table, the first column aligned left, the others right."""
    rows = [list(map(str, frame.columns)), [":--", *["--:"] * (frame.shape[1] - 1)]]
    rows += [[str(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def latex_table(frame: pd.DataFrame) -> str:
    """A LaTeX tabular with booktabs rules."""
    rows = [" & ".join(latex_text(str(c)) for c in row) + r" \\" for row in frame.itertuples(index=False)]
    head = " & ".join(latex_text(str(name)) for name in frame.columns) + r" \\"
    spec = "l" + "r" * (frame.shape[1] - 1)
    return "\n".join(
        [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    )


def latex_text(text: str) -> str:
    r"""Text with the characters that LaTeX takes for its own escaped.

    >>> latex_text("50 % of batch_size")
    '50 \\% of batch\\_size'
    """
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    return (
        escaped.replace("^", r"\textasciicircum ")
        .replace("~", r"\textasciitilde ")
        .replace("<", "$<$")
        .replace(">", "$>$")
    )


def wrapped(text: str, mark: str = "") -> str:
    """A paragraph within 80 columns; with a `mark`, an item of a list. Words, paths and `5 %` are not broken.

    >>> print(wrapped("a rather long sentence about " + 12 * "words ", "- "))
    - a rather long sentence about words words words words words words words words
      words words words words
    """
    filled = textwrap.fill(
        re.sub(r" (?=[%=<] ?)|(?<=[=<]) ", NO_BREAK, text),
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return filled.replace(NO_BREAK, " ")


def formula_line(line: str) -> str:
    """A formula within 80 columns, broken between its terms alone; a function without terms, between words.

    >>> print(formula_line("latency = " + " + ".join(["0.1234 ms*[device=NVIDIA A10]"] * 3)))
      latency = 0.1234 ms*[device=NVIDIA A10] + 0.1234 ms*[device=NVIDIA A10] +
          0.1234 ms*[device=NVIDIA A10]
    """
    text = line.replace(" ", NO_BREAK).replace(f"{NO_BREAK}+{NO_BREAK}", f"{NO_BREAK}+ ") if " + " in line else line
    filled = textwrap.fill(
        text, 78, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False, break_long_words=False
    )
    return filled.replace(NO_BREAK, " ")


def sentence(text: str) -> str:
    """The text with a full stop, where it has none."""
    return text if text.endswith((".", "!", "?")) else text + "."


def p_equals(p: float) -> str:
    """A p value in a sentence.

    >>> p_equals(0.0312), p_equals(3e-9)
    ('p = 0.031', 'p < 0.0001')
    """
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def estimated(unit: Unit, value: float, low: float, high: float) -> tuple[str, str]:
    """A value with four digits, and its interval in the same unit with as many decimals.

    >>> estimated(Unit("s"), 9.15e-05, 8.05e-05, 1.025e-4)
    ('91.50 us', '80.50 to 102.50 us')
    """
    shown, symbol = unit.scaled(value)
    if value == 0 or not 1e-3 <= abs(shown) < 1e6:
        return unit.words(value), f"{unit.words(low)} to {unit.words(high)}"
    decimals, factor = max(0, 3 - math.floor(math.log10(abs(shown)))), shown / value
    middle, first, last = (f"{x * factor:.{decimals}f}" for x in (value, low, high))
    return f"{middle} {symbol}".strip(), f"{first} to {last} {symbol}".strip()
