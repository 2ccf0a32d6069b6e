"""Any text as Typst markup that shows it to the letter."""

from __future__ import annotations

import re

MARKS = re.compile(r"[\\#$*_`<>@\[\]~\-/=+]|(?<=\.)\.|(?<=^)\.(?=\.)|\.(?=\.)")


def escape(text: str) -> str:
    r"""Text to the letter; straight quotation marks are left for Typst to curl.

    >>> print(escape("a*b -- #1 http://x ..."))
    a\*b \-\- \#1 http:\/\/x \.\.\.
    """
    return re.sub(r"^(\d+)\.", r"\1\\.", MARKS.sub(lambda m: "\\" + m[0], text))


def string(text: str) -> str:
    """A Typst string literal.

    >>> print(string('say "x"'))
    "say \\"x\\""
    """
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'
