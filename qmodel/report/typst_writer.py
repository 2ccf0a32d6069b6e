"""The Typst writer: source for the PDF, whose look is `template.typ`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from qmodel.report.document import (
    Block,
    BulletList,
    Callout,
    CodeBlock,
    Document,
    Figure,
    Formula,
    Paragraph,
    Reference,
    References,
    Section,
)
from qmodel.report.inline import (
    Cite,
    Code,
    Contentlike,
    Emphasis,
    Footnote,
    Inline,
    Link,
    Math,
    Ref,
    Strong,
    Text,
    content,
)
from qmodel.report.numbering import Numbering, number
from qmodel.report.table import FormattedTable, Table, formatted
from qmodel.report.table_layout import Layout, layout
from qmodel.report.typst_text import escape, string

SIZES = {"9pt": 114, "8pt": 128, "7pt": 146}
"""Type sizes of tables, and how many characters of each fill a line of 16 cm."""

FLOATS_FROM = 19
"""Tables with this many rows float; shorter ones stay where they are spoken of."""


def render(document: Document) -> str:
    """The document as Typst source; figures by their relative path, as PDF where print wants it."""
    writer = Writer(number(document))
    body = [text for block in document.blocks if (text := writer.block(block))]
    return "\n\n".join([settings(document), template(), *writer.front(document), *body]) + "\n"


def template() -> str:
    """The look of the report."""
    return files("qmodel.report").joinpath("template.typ").read_text(encoding="utf-8")


def settings(document: Document) -> str:
    """The document's own data, that the template and the file's metadata use."""
    authors = array(string(author) for author in document.authors)
    day = document.date
    date = f"datetime(year: {day.year}, month: {day.month}, day: {day.day})" if day else "none"
    return (
        f"#set document(title: {string(document.title)}, author: {authors}, date: {date})\n"
        f"#let running-title = {string(document.short_title)}"
    )


def array(items: Iterable[str]) -> str:
    """A Typst array."""
    return "(" + "".join(f"{item}, " for item in items) + ")"


@dataclass
class Writer:
    """Writes blocks."""

    numbering: Numbering

    def front(self, document: Document) -> list[str]:
        """Title block, abstract and table of contents."""
        authors = array(string(author) for author in document.authors)
        written_on = string(document.written_on)
        parts = [f"#title-block({string(document.title)}, {string(document.subtitle)}, {authors}, {written_on})"]
        if document.abstract:
            parts.append(f"#report-abstract[{self.inlines(document.abstract)}]")
        return [*parts, "#table-of-contents()"] if document.contents else parts

    def block(self, block: Block) -> str:
        """One block."""
        match block:
            case Section(title, level, label):
                place = f" <{label}>" if label else ""
                return f"#heading(level: {level})[{self.inlines(title)}]{place}"
            case Paragraph(content=text):
                return self.inlines(text).strip(" ")
            case BulletList(items, numbered):
                cells = "".join(f"[{self.inlines(item)}], " for item in items)
                return f"#{'enum' if numbered else 'list'}({cells})"
            case Table():
                return self.table(block)
            case Figure():
                return self.figure(block)
            case Formula():
                return self.formula(block)
            case Callout(kind, text):
                return f'#report-callout("{kind}")[{self.inlines(text)}]'
            case CodeBlock(text, language):
                lang = f", lang: {string(language)}" if language else ""
                return f"#raw({string(text)}, block: true{lang})"
            case References(entries):
                return self.references() if entries else ""

    def table(self, table: Table) -> str:
        """A table between heavy rules."""
        shown = formatted(table)
        how = layout(shown, SIZES)
        lines = [
            f"size: {how.size}, long: {str(how.long).lower()},",
            f"notes: {array(f'[{self.inlines(note)}]' for note in table.notes)},",
            f"columns: {columns(how)},",
            f"align: {array(f'{align} + top' for align in shown.aligns)},",
            f"table.header(rule-heavy, {self.head(shown, how)}, rule-thin),",
            *self.rows(shown),
            "rule-heavy,",
        ]
        body = "\n    ".join(lines)
        call = f"report-table(\n    {body}\n  )"
        caption = f"{placement(shown, how)}{self.caption(table.caption)}"
        figure = f"#figure(\n  {call},\n  kind: table, {caption}) <{table.label}>"
        return f"#in-one-piece[{figure}]" if len(shown.rows) < FLOATS_FROM else figure

    def head(self, shown: FormattedTable, how: Layout) -> str:
        """Heads at the foot of their row, broken as the layout says."""
        lines = (" \\ ".join(self.inlines(line) for line in lines) for lines in how.heads)
        cells = (f"table.cell(align: {a} + bottom)[{text}]" for text, a in zip(lines, shown.aligns, strict=True))
        return ", ".join(cells)

    def rows(self, shown: FormattedTable) -> list[str]:
        """Rows, with a hairline before each group."""
        lines = []
        for i, row in enumerate(shown.rows):
            rule = "rule-hair, " if i in shown.group_starts else ""
            lines.append(rule + "".join(f"[{self.inlines(cell)}], " for cell in row))
        return lines

    def caption(self, text: Contentlike) -> str:
        """A figure's or table's caption."""
        return f"caption: [{self.inlines(text)}]"

    def figure(self, figure: Figure) -> str:
        """An image that floats to the top or the foot of a page."""
        image = f"image({string(print_path(figure.path))}, width: {figure.width:.0%}, alt: {string(figure.alt)})"
        return f"#figure({image}, placement: auto, {self.caption(figure.caption)}) <{figure.label}>"

    def formula(self, formula: Formula) -> str:
        """A numbered formula, its source under it."""
        source = f"\n#formula-source[{self.inlines(formula.source)}]" if formula.source else ""
        return f"$ {formula.typst} $ <{formula.label}>{source}"

    def references(self) -> str:
        """The bibliography."""
        entries = "".join(f"  {self.entry(entry)},\n" for entry in self.numbering.references)
        return f"#reference-list(\n{entries})"

    def entry(self, entry: Reference) -> str:
        """One entry of the bibliography."""
        url = f" #link({string(entry.url)});" if entry.url else ""
        return f"[{self.inlines(entry.text)}{url} #metadata(none) <ref-{entry.key}>]"

    def inlines(self, value: Contentlike) -> str:
        """Running text."""
        return "".join(self.inline(inline) for inline in content(value))

    def inline(self, inline: Inline) -> str:
        """One inline; calls end with a semicolon, so that nothing after them is taken for theirs."""
        match inline:
            case Strong(text):
                return f"#strong[{escape(text)}];"
            case Emphasis(text):
                return f"#emph[{escape(text)}];"
            case Code(text):
                return f"#raw({string(text)});"
            case Text(text):
                return escape(text)
            case Math(_, typst):
                return f"${typst}$"
            case Ref(label):
                return f"#ref(<{label}>);"
            case Cite(key):
                return f"#link(<ref-{key}>)[\\[{self.numbering.citation(key)}\\]];"
            case Link(text, url):
                return f"#link({string(url)})[{escape(text)}];"
            case Footnote(note):
                return f"#footnote[{self.inlines(note)}];"


def placement(shown: FormattedTable, how: Layout) -> str:
    """Whether a table floats: not when it is short, nor when it runs over pages."""
    return "placement: auto, " if len(shown.rows) >= FLOATS_FROM and not how.long else ""


def columns(how: Layout) -> str:
    """Column widths: natural, and shares of the line where text wraps."""
    return array("auto" if share is None else f"{share * 100:.1f}fr" for share in how.shares)


def print_path(path: str) -> str:
    """The vector form of a figure."""
    return path.removesuffix(".png") + ".pdf" if path.endswith(".png") else path
