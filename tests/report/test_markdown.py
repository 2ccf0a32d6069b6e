"""Markdown, read back by an independent parser."""

import datetime
import html
import re

import pytest
from hypothesis import given
from markdown_it import MarkdownIt

from qmodel.report.document import (
    BulletList,
    Callout,
    CodeBlock,
    Column,
    Document,
    Figure,
    Formula,
    Paragraph,
    Reference,
    References,
    Section,
    Table,
    paragraph,
    prose,
)
from qmodel.report.inline import Code, Emphasis, Link, Math, Strong, Text, clean, clean_lines
from qmodel.report.markdown import render
from tests.report.sample import sample
from tests.report.texts import texts

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def body(*blocks):
    return render(Document("T", blocks)).removeprefix("# T\n").strip("\n")


def words(tokens):
    """The text of inline tokens, elements left out; what GitHub reads as math is left as it is."""
    inner = (child for token in tokens if token.type == "inline" for child in token.children)
    return "".join(token.content for token in inner if token.type in {"text", "code_inline", "text_special"})


def read(markdown):
    return html.unescape(words(PARSER.parse(markdown)))


def kinds(markdown):
    return {t.type for token in PARSER.parse(markdown) for t in [token, *(token.children or [])]}


@given(texts)
def test_any_text_survives_in_a_paragraph(text):
    written = body(Paragraph(text))
    assert words(PARSER.parse(written)).strip() == clean(text).strip()
    assert kinds(written) <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}


@given(texts)
def test_any_text_survives_in_a_list(text):
    for numbered in (False, True):
        written = body(BulletList((text, "next"), numbered))
        assert words(PARSER.parse(written)).strip() == clean(text).strip() + "next"
        assert not kinds(written) & {
            "heading_open",
            "link_open",
            "em_open",
            "strong_open",
            "html_inline",
            "code_inline",
        }


@given(texts)
def test_any_text_survives_between_other_inlines(text):
    around = (
        Strong(text),
        Text(text),
        Emphasis(text),
        Code("c"),
        Text(text),
        Link(text or "l", "https://x.org/a(b)"),
    )
    written = body(Paragraph((Text("x"), *around, Text("y"))))
    shown = clean(text)
    assert words(PARSER.parse(written)) == f"x{shown}{shown}{shown}c{shown}{shown or 'l'}y"


@given(texts)
def test_any_text_survives_in_a_table(text):
    table = Table("tab:a", "cap", (Column(text), Column("b")), ((text, 1), (Code(text), 2)))
    written = body(table)
    inlines = [token for token in PARSER.parse(written) if token.type == "inline"]
    cells = [
        "".join(c.content for c in token.children if c.type in {"text", "code_inline", "text_special"})
        for token in inlines
    ]
    shown = clean(text).strip()
    assert cells[1:5] == [shown, "b", shown, "1"]
    assert cells[5].strip() == shown


@given(texts)
def test_any_text_survives_in_heads_and_captions(text):
    written = render(Document(text, (Section(text), Figure("fig:a", "a.png", text, alt=text)), abstract=text))
    shown = clean(text).strip()
    assert words(PARSER.parse(written)).count(shown) >= 4
    image = next(c for t in PARSER.parse(written) if t.children for c in t.children if c.type == "image")
    assert "".join(child.content for child in image.children or []) == clean(text)


@given(texts)
def test_any_program_text_survives(text):
    block = PARSER.parse(body(CodeBlock(text, "sh")))[0]
    assert (block.type, block.info) == ("fence", "sh")
    assert block.content.removesuffix("\n") == clean_lines(text)


def test_a_heading_keeps_its_last_marks():
    assert read(render(Document("in C#", (Section("F ##"),)))) == "in C#1 F ##"


def test_dollars_are_never_math():
    assert body(Paragraph("from $5 to $6")) == r"from \$5 to \$6"


def test_math_is_guarded_where_markdown_would_tamper():
    line = (Math(r"\rho", "rho"), Text(" "), Math(r"a\,b", "a b"))
    assert body(Paragraph(line)) == r"$\rho$ $`a\,b`$"
    plain_formula = body(Formula("eq:a", r"E = \rho", "E = rho"))
    assert plain_formula.endswith("$$\nE = \\rho \\tag{1}\n$$")
    assert "```math\na \\\\ b \\tag{1}\n```" in body(Formula("eq:b", "a \\\\\n\nb".replace("\n\n", " "), "a b"))


def test_tables_line_up_in_the_source():
    table = Table(
        "tab:a",
        prose("A *caption*."),
        (Column("Policy"), Column("Time", "s")),
        (("fcfs", 0.0123), ("ps", None)),
        ("n",),
    )
    assert body(table) == (
        '<a id="tab-a"></a>\n**Table\u00a01.** A *caption*.\n\n'
        "| Policy | Time (ms) |\n"
        "| :----- | --------: |\n"
        "| fcfs   |      12.3 |\n"
        "| ps     |         — |\n\n"
        "*Note.* n"
    )
    centred = Table("tab:a", "c", (Column("x", align="center"),), (("y",),))
    assert "| :-: |" in body(centred)


def test_figures_have_their_path_and_width():
    assert "![what](a%20b.png)" in body(Figure("fig:a", "a b.png", "c", "what"))
    assert '<img src="a.png" alt="&lt;what&gt;" width="66%">' in body(Figure("fig:a", "a.png", "c", "<what>", 0.66))


def test_references_link_to_their_places():
    written = body(
        paragraph("see @tab:a [@k]^[note *n*]^[other]"),
        Table("tab:a", "c", (Column("x"),), ((1,),)),
        References((Reference("k", "Entry", "https://x.org"),)),
    )
    assert "see [Table\u00a01](#tab-a) [\\[1\\]](#ref-k)[^1][^2]" in written
    assert '1. <a id="ref-k"></a>Entry <https://x.org>' in written
    assert written.endswith("[^1]: note *n*\n\n[^2]: other")


def test_callouts_are_alerts():
    assert body(Callout("finding", "f")) == "> [!NOTE]\n> **Finding.** f"
    assert body(Callout("warning", "w")).startswith("> [!WARNING]\n> **Caution.**")
    assert body(Callout("author", "a")).startswith("> [!IMPORTANT]\n> **For the author.**")


def test_front_matter():
    written = render(
        Document(
            "T",
            (Section("S"),),
            "Sub",
            ("A", "B"),
            datetime.date(2026, 3, 1),
            abstract=prose("**x**"),
            contents=True,
        )
    )
    assert written.startswith(
        "# T\n\n**Sub**\n\nA, B · 1 March 2026\n\n**Abstract.** **x**\n\n- [1 S](#section-1)\n\n"
        '<a id="section-1"></a>\n\n## 1 S\n'
    )


def test_the_sample_is_whole():
    written = render(sample())
    parsed = kinds(written)
    assert {"table_open", "heading_open", "ordered_list_open", "bullet_list_open", "fence", "image"} <= parsed
    assert len(re.findall(r"^\*\*Table \d\.\*\*".replace(" ", "\u00a0"), written, re.M)) == 4
    anchors = set(re.findall(r'<a id="([^"]+)">', written))
    assert set(re.findall(r"\]\(#([^)]+)\)", written)) <= anchors


def test_empty_blocks_leave_no_trace():
    assert body(Paragraph(""), References(()), Paragraph("a")) == "a"


@pytest.mark.parametrize("text", ["", " "])
def test_empty_emphasis_leaves_no_mark(text):
    assert "*" not in body(Paragraph((Text("a"), Strong(text), Emphasis(text), Code(text), Text("b"))))
