"""The PDF: any text compiles and is read back to the letter by Typst itself; blocks, numbers and looks."""

import datetime
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError, MissingExtra
from qmodel.report import pdf, typst_writer
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
from qmodel.report.inline import Code, Emphasis, Footnote, Link, Strong, Text, clean, clean_lines
from qmodel.report.numbering import number
from qmodel.report.typst_text import escape, string
from qmodel.report.typst_writer import Writer, render
from tests.report.sample import draw_figure, sample
from tests.report.texts import texts

typst = pytest.importorskip("typst")

THOROUGH = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def words(node):
    """The text of a piece of Typst content."""
    match node:
        case {"func": "space"}:
            return " "
        case {"func": "smartquote", "double": double}:
            return '"' if double else "'"
        case {"text": str(text)}:
            return text
        case {"children": children}:
            return "".join(map(words, children))
        case {"body": body}:
            return words(body)
    raise AssertionError(f"unexpected {node}")


def read(markup):
    """What Typst makes of some markup."""
    source = f"#[#metadata(0)#[{markup}]]<probe>"
    found = typst.query(source.encode(), "<probe>")
    (node,) = found if isinstance(found, list) else json.loads(found)
    return words({"children": node["children"][1:]} if "children" in node else node)


@given(texts)
@THOROUGH
def test_any_text_survives(text):
    assert read(escape(clean(text))).strip() == clean(text).strip()


@given(texts)
@THOROUGH
def test_any_text_survives_beside_calls(text):
    parts = (Strong(text), Text(text), Emphasis(text), Code(text), Text(text), Link(text, "https://x.org"))
    written = Writer(number(Document("", ()))).inlines((Text("x"), *parts, Text("y")))
    shown = clean(text)
    assert read(written) == f"x{shown * 6}y"


@given(texts)
@THOROUGH
def test_any_string_survives(text):
    block = CodeBlock(text)
    assert read(f"#raw({string(block.text)});") == clean_lines(text)


@given(st.lists(texts, min_size=8, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_document_of_any_texts_compiles(tmp_path_factory, some):
    a, b, c, d, e, f, g, h = some
    blocks = (
        Section(a),
        Paragraph((Text(b), Strong(c), Text(d), Footnote((Text(e),)))),
        BulletList((f, g), numbered=True),
        Table("tab:a", a, (Column(b), Column(c, align="right")), ((d, e), (f, Code(g))), (h,)),
        Callout("finding", a),
        CodeBlock(b),
        References((Reference("k", c),)),
    )
    document = Document(a, blocks, b, (c, d), None, e, f, contents=True)
    (made,) = pdf.typeset(render(document), tmp_path_factory.getbasetemp())
    assert made.startswith(b"%PDF-")


def test_the_sample_becomes_a_pdf_the_same_each_time(tmp_path):
    draw_figure(tmp_path)
    first = pdf.write_pdf(sample(), tmp_path / "report.pdf").read_bytes()
    assert first == pdf.write_pdf(sample(), tmp_path / "again.pdf").read_bytes()
    pages = pdf.typeset(render(sample(12)), tmp_path, "png", 20)
    assert len(pages) == 4
    assert all(page.startswith(b"\x89PNG") for page in pages)


def test_typst_and_the_model_agree_on_numbers(tmp_path):
    """References say what the other writers say: the counters of the two agree."""
    draw_figure(tmp_path)
    source = render(sample(12))
    numbering = number(sample(12))
    assert {label.split(":")[0] for label in numbering.numbers} == {"sec", "tab", "fig", "eq"}
    probe = "".join(
        f'#context [#metadata(("{label}", numbering("1.1", ..counter({counter}).at(<{label}>)))) <probe>]\n'
        for label, counter in ((label, counters(label)) for label in numbering.numbers)
    )
    found = typst.query((source + probe).encode(), "<probe>", field="value", root=str(tmp_path))
    pairs = found if isinstance(found, list) else json.loads(found)
    assert dict(map(tuple, pairs)) == numbering.numbers


def counters(label):
    """The counter behind a label."""
    kind = label.split(":")[0]
    figures = {"tab": "figure.where(kind: table)", "fig": "figure.where(kind: image)"}
    return {"sec": "heading", "eq": "math.equation", **figures}[kind]


def test_blocks_as_source():
    blocks = (
        Section("S", 2, "sec:s"),
        Formula("eq:a", "x", "x^2", prose("[@k]")),
        paragraph("see @eq:a, *x*(y) [@k]"),
        Figure("fig:a", "figures/a.png", "c", 'say "a"', 0.5),
        Callout("author", "q"),
        CodeBlock("a\nb", "sh"),
        References((Reference("k", "K", "https://x.org"),)),
    )
    source = render(Document("T", blocks, date=datetime.date(2026, 3, 1)))
    assert "date: datetime(year: 2026, month: 3, day: 1)" in source
    assert "#heading(level: 2)[S] <sec:s>" in source
    assert "$ x^2 $ <eq:a>\n#formula-source[#link(<ref-k>)[\\[1\\]];]" in source
    assert "see #ref(<eq:a>);, #emph[x];(y)" in source
    assert '#figure(image("figures/a.pdf", width: 50%, alt: "say \\"a\\""), placement: auto' in source
    assert '#report-callout("author")[q]' in source
    assert '#raw("a\\nb", block: true, lang: "sh")' in source
    assert '[K #link("https://x.org"); #metadata(none) <ref-k>]' in source


@pytest.mark.parametrize(
    ("rows", "floats", "whole"), [(3, False, True), (9, False, True), (16, False, True), (30, False, False)]
)
def test_tables_float_or_break_by_their_length(rows, floats, whole):
    table = Table("tab:a", "c", (Column("x"),), tuple((i,) for i in range(rows)))
    source = render(Document("T", (table,)))
    call = source[source.rindex("#figure(") :]
    assert ("placement: auto" in call) is floats
    assert ("#in-one-piece[#figure(" in source) is whole
    assert ("long: true" in call) is (rows == 30)


def test_wrapped_columns_share_the_line():
    table = Table("tab:a", "c", (Column("x"), Column("n")), (("word " * 60, 1),))
    assert "fr, auto, )" in render(Document("T", (table,)))


def test_a_bad_formula_is_named(tmp_path):
    document = Document("T", (Formula("eq:a", "x", "nosuchname_k"),))
    with pytest.raises(InputError, match=r"report, PDF: .*nosuchname"):
        pdf.write_pdf(document, tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []


def test_without_typst_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "typst", None)
    with pytest.raises(MissingExtra, match=r"typst: is not installed; pip install 'qmodel\[pdf\]'"):
        pdf.write_pdf(sample(), tmp_path / "report.pdf")


def test_the_template_stands_in_the_package():
    assert "report-callout" in typst_writer.template()
