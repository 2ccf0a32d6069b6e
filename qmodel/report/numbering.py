"""Numbers of sections, tables, figures, formulas and citations; every reference must name something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from qmodel.errors import InputError, nearest
from qmodel.report.document import (
    BulletList,
    Callout,
    Document,
    Figure,
    Formula,
    Paragraph,
    Reference,
    References,
    Section,
    Table,
    contents_of,
)
from qmodel.report.inline import Cite, Footnote, Inline, Ref, content, walk

WORDS = {"sec": "Section", "tab": "Table", "fig": "Figure", "eq": "Equation"}


@dataclass(frozen=True)
class Numbering:
    """Label -> its number ("3", "2.1"); the bibliography in printed order; the number of each citation."""

    numbers: dict[str, str]
    references: tuple[Reference, ...]
    section_numbers: tuple[str, ...]
    """Of all sections in order, labelled or not."""

    def name(self, label: str) -> str:
        r"""A reference in words.

        >>> Numbering({"tab:x": "3"}, (), ()).name("tab:x")
        'Table\xa03'
        """
        word = WORDS[label.split(":")[0]]
        return f"{word}\u00a0{self.numbers[label]}"

    def citation(self, key: str) -> int:
        """Place of an entry in the bibliography, from 1."""
        return 1 + [entry.key for entry in self.references].index(key)


def number(document: Document) -> Numbering:
    """Numbers everything; InputError for a label or key that is defined twice, or used and not defined."""
    inlines = [inline for text in all_contents(document) for inline in walk(text)]
    sections = section_numbers(b for b in document.blocks if isinstance(b, Section))
    labels = label_numbers(document, sections)
    entries = [e for b in document.blocks if isinstance(b, References) for e in b.entries]
    check_unique(entry.key for entry in entries)
    check_known({i.label for i in inlines if isinstance(i, Ref)}, list(labels), "cross reference")
    check_known({i.key for i in inlines if isinstance(i, Cite)}, [e.key for e in entries], "citation")
    check_footnotes(document)
    return Numbering(labels, in_order_cited(inlines, entries), sections)


def all_contents(document: Document) -> list[tuple[Inline, ...]]:
    """All running text, in order."""
    return [content(document.abstract), *(text for block in document.blocks for text in contents_of(block))]


def section_numbers(sections: Iterable[Section]) -> tuple[str, ...]:
    """ "1", "1.1", "1.2", "2", ... by level."""
    counts, numbers = [0, 0, 0], []
    for section in sections:
        counts[section.level - 1] += 1
        counts[section.level :] = [0] * (3 - section.level)
        numbers.append(".".join(map(str, counts[: section.level])))
    return tuple(numbers)


def label_numbers(document: Document, sections: tuple[str, ...]) -> dict[str, str]:
    """Label -> number: sections by level, tables, figures and formulas each counted through."""
    numbered = [b for b in document.blocks if isinstance(b, Section | Table | Figure | Formula)]
    check_unique(b.label for b in numbered if b.label is not None)
    remaining, counts, numbers = iter(sections), Counter[str](), {}
    for block in numbered:
        kind = type(block).__name__
        counts[kind] += 1
        text = next(remaining) if kind == "Section" else str(counts[kind])
        if block.label is not None:
            check_kind(block.label, kind)
            numbers[block.label] = text
    return numbers


def check_kind(label: str, kind: str) -> None:
    """A table's label starts with tab:, and so on."""
    word = WORDS[label.split(":")[0]]
    if word != {"Formula": "Equation"}.get(kind, kind):
        raise InputError(f"report, label '{label}'", f"names a {word.lower()} but stands on a {kind.lower()}")


def check_unique(names: Iterable[str]) -> None:
    """No name is defined twice."""
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"report, '{name}'", f"is defined {times} times", "give each its own name")


def check_known(used: set[str], known: list[str], what: str) -> None:
    """All names in use are defined."""
    for name in sorted(used - set(known)):
        raise InputError(f"report, {what} '{name}'", "names nothing in the document", nearest(name, known))


def check_footnotes(document: Document) -> None:
    """Footnotes stand in running text only: captions and tables float away from their page's foot."""
    for block in document.blocks:
        if isinstance(block, Paragraph | BulletList | Callout):
            continue
        if any(isinstance(i, Footnote) for text in contents_of(block) for i in walk(text)):
            raise InputError(
                f"report, {type(block).__name__.lower()}", "holds a footnote", "use a note or a sentence"
            )


def in_order_cited(inlines: Iterable[Inline], entries: list[Reference]) -> tuple[Reference, ...]:
    """Cited entries by first citation, then the others as they were given."""
    cited = list(dict.fromkeys(i.key for i in inlines if isinstance(i, Cite)))
    return tuple(sorted(entries, key=lambda e: cited.index(e.key) if e.key in cited else len(cited)))
