"""The document model: what a report is made of, before anyone decides how it looks."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from qmodel.report.inline import Content, Contentlike, check_label, check_url, clean, clean_lines, content
from qmodel.report.prose import Value, prose
from qmodel.report.table import Column, Table

CalloutKind = Literal["finding", "scope", "warning", "author"]


@dataclass(frozen=True)
class Section:
    """A numbered heading; level 1 is a section, 2 and 3 are parts of it."""

    title: Contentlike
    level: int = 1
    label: str | None = None

    def __post_init__(self) -> None:
        if self.level not in (1, 2, 3):
            raise ValueError(f"section level {self.level} is not 1, 2 or 3")
        if self.label is not None:
            check_label(self.label)


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of prose."""

    content: Contentlike


@dataclass(frozen=True)
class BulletList:
    """Items, each a sentence or two; numbered when their order matters."""

    items: tuple[Contentlike, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Figure:
    """An image with a caption that says what to see, and words for those who cannot see it.

    `path` is relative to the report's folder and names the PNG; writers of print take the PDF of the same
    name when it is there. `width` is a share of the text width.
    """

    label: str
    path: str
    caption: Contentlike
    alt: str
    width: float = 1.0

    def __post_init__(self) -> None:
        check_label(self.label)
        object.__setattr__(self, "alt", clean(self.alt))
        if not 0 < self.width <= 1:
            raise ValueError(f"{self.label}: width {self.width} is not a share of the text width")


@dataclass(frozen=True)
class Formula:
    """A displayed, numbered formula in LaTeX and in Typst, with where it comes from."""

    label: str
    latex: str
    typst: str
    source: Contentlike = ()

    def __post_init__(self) -> None:
        check_label(self.label)


@dataclass(frozen=True)
class Callout:
    """A passage set apart: a finding, what was measured on what, a warning, or what only the author can write."""

    kind: CalloutKind
    content: Contentlike


@dataclass(frozen=True)
class CodeBlock:
    """Commands or a file, set in a fixed-width face."""

    text: str
    language: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean_lines(self.text))
        if self.language and not self.language.isalnum():
            raise ValueError(f"{self.language!r} names no language")


@dataclass(frozen=True)
class Reference:
    """One entry of the bibliography; `key` is what citations name."""

    key: str
    text: Contentlike
    url: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9-]+", self.key):
            raise ValueError(f"reference key {self.key!r} is not of small letters, digits and hyphens")
        if self.url is not None:
            check_url(self.url)


@dataclass(frozen=True)
class References:
    """The bibliography: cited entries first, in the order in which they are cited."""

    entries: tuple[Reference, ...]


Block = Section | Paragraph | BulletList | Table | Figure | Formula | Callout | CodeBlock | References


@dataclass(frozen=True)
class Document:
    """A report: title block, abstract, and its blocks in order."""

    title: str
    blocks: tuple[Block, ...]
    subtitle: str = ""
    authors: tuple[str, ...] = ()
    date: datetime.date | None = None
    abstract: Contentlike = ()
    running_title: str = ""
    contents: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        for name in ("title", "subtitle", "running_title"):
            object.__setattr__(self, name, clean(getattr(self, name)))
        object.__setattr__(self, "authors", tuple(clean(author) for author in self.authors))

    @property
    def short_title(self) -> str:
        """What stands at the head of each page."""
        return self.running_title or self.title

    @property
    def written_on(self) -> str:
        """The date in words."""
        return f"{self.date.day} {self.date:%B %Y}" if self.date else ""


def section(title: Contentlike, label: str | None = None, level: int = 1) -> Section:
    """A heading; `label` without its `sec:`."""
    return Section(title, level, None if label is None else f"sec:{label}")


def paragraph(template: str, **values: Value) -> Paragraph:
    """A paragraph from a `prose` template."""
    return Paragraph(prose(template, **values))


def bullets(items: Iterable[Contentlike], *, numbered: bool = False) -> BulletList:
    """A list; items are plain text or `prose`."""
    return BulletList(tuple(items), numbered)


def finding(template: str, **values: Value) -> Callout:
    """What a reader should take away, from a `prose` template."""
    return Callout("finding", prose(template, **values))


def scope(template: str, **values: Value) -> Callout:
    """What was measured on what, from a `prose` template."""
    return Callout("scope", prose(template, **values))


def warning(template: str, **values: Value) -> Callout:
    """What a reader must not overlook, from a `prose` template."""
    return Callout("warning", prose(template, **values))


def author(template: str, **values: Value) -> Callout:
    """A question to the author: what no program can write, from a `prose` template."""
    return Callout("author", prose(template, **values))


def contents_of(block: Block) -> Iterator[Content]:
    """Every piece of running text of a block."""
    match block:
        case Section(title=text) | Paragraph(content=text) | Callout(content=text):
            yield content(text)
        case BulletList(items=texts):
            yield from map(content, texts)
        case Table():
            yield from table_contents(block)
        case Figure(caption=text) | Formula(source=text):
            yield content(text)
        case References(entries=entries):
            yield from (content(entry.text) for entry in entries)


def table_contents(table: Table) -> Iterator[Content]:
    """Caption, heads, cells with inlines, and notes."""
    yield content(table.caption)
    yield from (content(column.header) for column in table.columns)
    yield from (content(cell) for row in table.rows for cell in row if isinstance(cell, tuple))
    yield from map(content, table.notes)


__all__ = [
    "Block",
    "BulletList",
    "Callout",
    "CodeBlock",
    "Column",
    "Document",
    "Figure",
    "Formula",
    "Paragraph",
    "Reference",
    "References",
    "Section",
    "Table",
    "author",
    "bullets",
    "contents_of",
    "finding",
    "paragraph",
    "prose",
    "scope",
    "section",
    "warning",
]
