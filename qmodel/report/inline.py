"""What may stand inside a paragraph, a caption or a table cell: a small closed set, nested only in footnotes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

WHITESPACE = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029 ]+")
"""Breaks and blanks that collapse to one space; no-break spaces are kept, they hold a number to its unit."""

BIDIRECTIONAL = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Invisible marks that would turn round the text after them."""

LABEL = re.compile(r"(fig|tab|sec|eq):[a-z0-9]+(-[a-z0-9]+)*")


def printable(character: str) -> bool:
    """Whether a character can be set: no control, surrogate, noncharacter or direction override."""
    return unicodedata.category(character) not in {"Cc", "Cs", "Cn"} and character not in BIDIRECTIONAL


def clean(text: str) -> str:
    r"""Text as all writers see it: composed (NFC), blanks collapsed, what cannot be printed as U+FFFD.

    >>> clean("two\n\nlines\x00")
    'two lines\ufffd'
    """
    composed = unicodedata.normalize("NFC", WHITESPACE.sub(" ", text))
    return "".join(c if printable(c) else "\ufffd" for c in composed)


def clean_lines(text: str) -> str:
    """Program text: lines and indentation kept, tabs as four blanks, no blank lines at either end.

    >>> clean_lines("\\nif x:\\n\\ty\\n")
    'if x:\\n    y'
    """
    lines = text.expandtabs(4).replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n")
    return "\n".join("".join(c if printable(c) else "\ufffd" for c in line).rstrip() for line in lines)


def check_label(label: str) -> str:
    """The label itself, if it is `kind:words-and-digits` with kind fig, tab, sec or eq; else ValueError.

    >>> check_label("tab:validation")
    'tab:validation'
    """
    if not LABEL.fullmatch(label):
        raise ValueError(f"label {label!r} is not of the form fig:name, tab:name, sec:name or eq:name")
    return label


def check_url(url: str) -> str:
    """The address itself, if it is http or https and holds only what RFC 3986 allows; else ValueError."""
    if not re.fullmatch(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", url):
        raise ValueError(f"{url!r} is not a web address (http or https, no blanks)")
    return url


@dataclass(frozen=True)
class Text:
    """Plain text; nothing in it is markup."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))


class Strong(Text):
    """Bold text."""


class Emphasis(Text):
    """Emphasised (italic) text."""


class Code(Text):
    """A name or a command, in a fixed-width face."""


@dataclass(frozen=True)
class Math:
    """A formula in the line, written in LaTeX and in Typst by whoever states it."""

    latex: str
    typst: str


@dataclass(frozen=True)
class Ref:
    """A cross reference: prints as "Table 3" and links there."""

    label: str

    def __post_init__(self) -> None:
        check_label(self.label)


@dataclass(frozen=True)
class Cite:
    """A citation of an entry in the document's references: prints as "[3]"."""

    key: str


@dataclass(frozen=True)
class Link:
    """Text that leads to a web address."""

    text: str
    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))
        check_url(self.url)


@dataclass(frozen=True)
class Footnote:
    """An aside at the foot of the page."""

    content: Content


Inline = Text | Math | Ref | Cite | Link | Footnote
Content = tuple[Inline, ...]
Contentlike = Content | Inline | str
"""What constructors accept: a plain string is text to the letter, never parsed."""


def content(value: Contentlike) -> Content:
    """The same as a tuple of inlines; neighbouring plain texts become one.

    >>> content("a * b")
    (Text(text='a * b'),)
    """
    if isinstance(value, str):
        return (Text(value),) if value else ()
    return tuple(merge_texts(value if isinstance(value, tuple) else (value,)))


def merge_texts(inlines: Iterable[Inline]) -> Iterator[Inline]:
    """Joins plain texts that follow one another, so that no blank or mark is seen twice at a seam."""
    pending = ""
    for inline in inlines:
        if type(inline) is Text:
            pending += inline.text
            continue
        if pending:
            yield Text(pending)
        pending = ""
        yield inline
    if pending:
        yield Text(pending)


def plain(value: Contentlike) -> str:
    """The words alone, for widths and for running heads; references by label, citations by key."""
    return "".join(plain_inline(inline) for inline in content(value))


def plain_inline(inline: Inline) -> str:
    """The words of one inline."""
    match inline:
        case Text(text) | Link(text, _):
            return text
        case Math(latex, _):
            return re.sub(r"\\[a-zA-Z]+", "x", latex).translate(str.maketrans("", "", "{}^_\\ "))
        case Ref(label):
            return label
        case Cite(key):
            return f"[{key}]"
        case Footnote():
            return ""
    raise TypeError(f"{type(inline).__name__} is no inline")


def walk(value: Contentlike) -> Iterator[Inline]:
    """Every inline, those inside footnotes included."""
    for inline in content(value):
        yield inline
        if isinstance(inline, Footnote):
            yield from walk(inline.content)
