"""The Markdown writer: GitHub's flavour, pleasant as source and as a page."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from urllib.parse import quote

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
    Content,
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
from qmodel.report.table import Align, Table, formatted

ALERTS = {
    "finding": ("NOTE", "Finding."),
    "scope": ("TIP", "What was measured on what."),
    "warning": ("WARNING", "Caution."),
    "author": ("IMPORTANT", "For the author."),
}

FRAGILE_MATH = re.compile(r"\\[^A-Za-z]|[*<>|]")
"""LaTeX that Markdown would read as its own marks."""


def render(document: Document) -> str:
    """The document as Markdown; figures by their relative path."""
    writer = Writer(number(document))
    parts = [*writer.front(document), *(text for block in document.blocks if (text := writer.block(block)))]
    return "\n\n".join([*parts, *writer.notes]) + "\n"


MARKS = re.compile(
    r"""
    [\\`*~$]                      # marks wherever they stand
  | (?<![^\W_])_|_(?![^\W_])      # an underscore inside a word is none
  | <(?=[A-Za-z/!?])             # the start of an element or an address
  | &(?=\#?[A-Za-z0-9]+;)        # the start of an entity
  | ^\[|\[(?=\^)|\](?=[(\[:])    # boxes, footnotes, links
  | !$                           # an image, if a link follows
    """,
    re.VERBOSE,
)
"""What Markdown would read as its own in the middle of a line."""


def escape(text: str) -> str:
    """Text that Markdown shows to the letter inside a line.

    >>> print(escape("a*b <c> in [0, 1] for batch_size & $5"))
    a\\*b \\<c> in [0, 1] for batch_size & \\$5
    """
    return MARKS.sub(lambda m: "\\" + m[0], text)


def escape_start(line: str) -> str:
    """A line whose first mark would otherwise make it a list, a rule, a heading or a quotation."""
    line = line.strip()
    return re.sub(r"^([-+=#>])|^(\d{1,9})([.)])", lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", line)


def escape_end(heading: str) -> str:
    """A heading whose last marks would otherwise be taken for its closing."""
    return re.sub(r"#(?=#*$)", r"\#", heading.strip())


def escape_label(text: str) -> str:
    """Text between brackets."""
    return re.sub(rf"[\[\]]|{MARKS.pattern}", lambda m: "\\" + m[0], text, flags=re.VERBOSE)


def inline_math(latex: str) -> str:
    """Math between dollars, in GitHub's guarded form where Markdown would tamper with it."""
    return f"$`{latex}`$" if FRAGILE_MATH.search(latex) else f"${latex}$"


def display_math(latex: str) -> str:
    """A displayed formula, in a fence where Markdown would tamper with it."""
    lines = "\n".join(line for line in latex.split("\n") if line.strip())
    return f"```math\n{lines}\n```" if FRAGILE_MATH.search(latex) else f"$$\n{lines}\n$$"


def code_span(text: str) -> str:
    """Code between enough backticks."""
    fence = "`" * (1 + longest_run(text))
    pad = " " if text[:1] in "` " or text[-1:] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def longest_run(text: str) -> int:
    """Length of the longest run of backticks."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def anchor(label: str) -> str:
    """The name of a place in the page."""
    return label.replace(":", "-")


@dataclass
class Writer:
    """Writes blocks; gathers the footnotes to set them at the end."""

    numbering: Numbering
    notes: list[str] = field(default_factory=list)
    sections: int = 0

    def front(self, document: Document) -> list[str]:
        """Title block, abstract and table of contents."""
        people = ", ".join(escape(a) for a in document.authors)
        parts = [
            f"# {escape_end(escape(document.title))}",
            f"**{escape(document.subtitle)}**" if document.subtitle else "",
            " · ".join(part for part in (people, document.written_on) if part),
        ]
        if document.abstract:
            parts += ["**Abstract.** " + self.inlines(document.abstract)]
        if document.contents:
            parts += [self.contents(document)]
        return [part for part in parts if part]

    def contents(self, document: Document) -> str:
        """Links to the sections."""
        sections = [b for b in document.blocks if isinstance(b, Section)]
        return "\n".join(
            f"{'  ' * (s.level - 1)}- [{n} {self.inlines(s.title)}](#{section_anchor(s, n)})"
            for s, n in zip(sections, self.numbering.section_numbers, strict=True)
        )

    def block(self, block: Block) -> str:
        """One block."""
        match block:
            case Section():
                return self.section(block)
            case Paragraph(content=text):
                return escape_start(self.inlines(text))
            case BulletList():
                return self.bullets(block)
            case Table():
                return self.table(block)
            case Figure():
                return self.figure(block)
            case Formula():
                return self.formula(block)
            case Callout():
                return self.callout(block)
            case CodeBlock(text, language):
                fence = "`" * max(3, 1 + longest_run(text))
                return f"{fence}{language}\n{text}\n{fence}"
            case References(entries):
                return self.references() if entries else ""

    def section(self, section: Section) -> str:
        """A numbered heading with a place to link to."""
        section_number = self.numbering.section_numbers[self.sections]
        self.sections += 1
        place = f'<a id="{section_anchor(section, section_number)}"></a>'
        return f"{place}\n\n{'#' * (section.level + 1)} {section_number} {escape_end(self.inlines(section.title))}"

    def bullets(self, block: BulletList) -> str:
        """A list."""
        marks = [f"{i}." if block.numbered else "-" for i in range(1, len(block.items) + 1)]
        return "\n".join(
            f"{mark} {escape_start(self.inlines(item))}" for mark, item in zip(marks, block.items, strict=True)
        )

    def table(self, table: Table) -> str:
        """Caption, aligned pipes, notes."""
        shown = formatted(table)
        heads = [
            self.cell((*head, Text(f" ({unit})")) if unit else head)
            for head, unit in zip(shown.heads, shown.units, strict=True)
        ]
        rows = [[self.cell(cell) for cell in row] for row in shown.rows]
        notes = "".join(f"\n\n*Note.* {self.inlines(note)}" for note in table.notes)
        return f"{self.caption(table.label, table.caption)}\n\n{pipes(heads, shown.aligns, rows)}{notes}"

    def cell(self, cell: Contentlike) -> str:
        """A table cell or head: bars would end it."""
        return self.inlines(cell).replace("|", "\\|").strip()

    def caption(self, label: str, text: Contentlike) -> str:
        """A numbered caption with a place to link to."""
        return f'<a id="{anchor(label)}"></a>\n**{self.numbering.name(label)}.** {self.inlines(text).strip()}'

    def figure(self, figure: Figure) -> str:
        """The image, then its caption."""
        source = quote(figure.path)
        image = f"![{escape_label(figure.alt)}]({source})"
        if figure.width < 1:
            image = f'<img src="{source}" alt="{html.escape(figure.alt)}" width="{figure.width:.0%}">'
        return f"{image}\n\n{self.caption(figure.label, figure.caption)}"

    def formula(self, formula: Formula) -> str:
        """The formula with its number, then its source."""
        tagged = f"{formula.latex} \\tag{{{self.numbering.numbers[formula.label]}}}"
        source = f"\n\n*Source:* {self.inlines(formula.source)}" if formula.source else ""
        return f'<a id="{anchor(formula.label)}"></a>\n\n{display_math(tagged)}{source}'

    def callout(self, callout: Callout) -> str:
        """An alert."""
        alert, title = ALERTS[callout.kind]
        return f"> [!{alert}]\n> **{title}** {self.inlines(callout.content)}"

    def references(self) -> str:
        """The bibliography as a numbered list."""
        return "\n".join(f"{i}. {self.entry(e)}" for i, e in enumerate(self.numbering.references, 1))

    def entry(self, entry: Reference) -> str:
        """One entry of the bibliography."""
        url = f" <{entry.url}>" if entry.url else ""
        return f'<a id="ref-{entry.key}"></a>{self.inlines(entry.text)}{url}'

    def inlines(self, value: Contentlike) -> str:
        """Running text."""
        written = ""
        for inline in content(value):
            written += self.inline(inline, joined=written.endswith("*"))
        return written

    def inline(self, inline: Inline, joined: bool) -> str:
        """One inline; `joined` when it follows the end of another's emphasis."""
        match inline:
            case Strong(text):
                return marked(text, "**", "strong", joined)
            case Emphasis(text):
                return marked(text, "*", "em", joined)
            case Code(text):
                return code_span(text) if text.strip() else text
            case Text(text):
                return escape(text)
            case Math(latex, _):
                return inline_math(latex)
            case Ref(label):
                return f"[{self.numbering.name(label)}](#{anchor(label)})"
            case Cite(key):
                return f"[\\[{self.numbering.citation(key)}\\]](#ref-{key})"
            case Link(text, url):
                return f"[{escape_label(text)}]({url if '(' not in url and ')' not in url else f'<{url}>'})"
            case Footnote(note):
                return self.footnote(note)

    def footnote(self, note: Content) -> str:
        """The mark of a footnote; its text is kept for the end."""
        place = len(self.notes)
        self.notes.append("")
        self.notes[place] = f"[^{place + 1}]: {self.inlines(note)}"
        return f"[^{place + 1}]"


def section_anchor(section: Section, section_number: str) -> str:
    """The place of a heading: its label, or its number."""
    return anchor(section.label) if section.label else "section-" + section_number.replace(".", "-")


def marked(text: str, mark: str, tag: str, joined: bool) -> str:
    """Emphasis by marks where they are certain to be read as such, by an element elsewhere."""
    if text[:1].isalnum() and text[-1:].isalnum() and not joined:
        return f"{mark}{escape(text)}{mark}"
    return f"<{tag}>{escape(text)}</{tag}>" if text else ""


def pipes(heads: list[str], aligns: tuple[Align, ...], rows: list[list[str]]) -> str:
    """A table whose source lines up too."""
    widths = [max([3, len(head), *(len(row[i]) for row in rows)]) for i, head in enumerate(heads)]
    ends = {"left": (":", "-"), "right": ("-", ":"), "center": (":", ":")}
    rule = [ends[a][0] + "-" * (w - 2) + ends[a][1] for a, w in zip(aligns, widths, strict=True)]
    lines = [padded(heads, aligns, widths), rule, *(padded(row, aligns, widths) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def padded(cells: list[str], aligns: tuple[Align, ...], widths: list[int]) -> list[str]:
    """Cells filled up with blanks to the width of their column."""
    return [c.rjust(w) if a == "right" else c.ljust(w) for c, a, w in zip(cells, aligns, widths, strict=True)]
