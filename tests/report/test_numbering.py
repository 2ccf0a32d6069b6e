"""Numbers of blocks, and references that name nothing."""

import pytest

from qmodel.errors import InputError
from qmodel.report.document import (
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
    section,
)
from qmodel.report.numbering import number, section_numbers

TABLE = Table("tab:a", "c", (Column("x"),), ((1,),))


def document(*blocks, **fields):
    return Document("T", blocks, **fields)


def test_sections_count_by_level():
    levels = [1, 2, 2, 3, 1, 2, 3]
    assert section_numbers([Section("s", level) for level in levels]) == (
        "1",
        "1.1",
        "1.2",
        "1.2.1",
        "2",
        "2.1",
        "2.1.1",
    )


def test_each_kind_counts_for_itself():
    numbering = number(
        document(
            section("A", "a"),
            TABLE,
            Figure("fig:a", "a.png", "c", "alt"),
            Formula("eq:a", "x", "x"),
            section("unlabelled", level=2),
            section("B", "b", level=2),
            Table("tab:b", "c", (), ()),
            paragraph("@tab:b @fig:a @eq:a @sec:b"),
        )
    )
    names = [numbering.name(label).replace("\u00a0", " ") for label in ("tab:a", "tab:b", "fig:a", "eq:a", "sec:b")]
    assert names == ["Table 1", "Table 2", "Figure 1", "Equation 1", "Section 1.2"]


def test_citations_number_in_order_of_use():
    entries = References((Reference("a", "A"), Reference("b", "B"), Reference("c", "C")))
    numbering = number(document(paragraph("[@c] and [@b] and [@c]"), entries))
    assert [entry.key for entry in numbering.references] == ["c", "b", "a"]
    assert numbering.citation("b") == 2


@pytest.mark.parametrize("place", ["abstract", "paragraph", "caption", "cell", "head", "note", "source"])
def test_an_unknown_label_is_an_error_wherever_it_stands(place):
    lost = prose("see @tab:aa")
    blocks = {
        "paragraph": Paragraph(lost),
        "caption": Figure("fig:x", "x.png", lost, "alt"),
        "cell": Table("tab:y", "c", (Column("x"),), ((lost,),)),
        "head": Table("tab:y", "c", (Column(lost),), ()),
        "note": Table("tab:y", "c", (), (), (lost,)),
        "source": Formula("eq:x", "x", "x", lost),
    }
    extra = {"abstract": lost} if place == "abstract" else {}
    with pytest.raises(InputError, match="'tab:aa': names nothing in the document; did you mean 'tab:a'"):
        number(document(TABLE, *([blocks[place]] if place in blocks else []), **extra))


def test_an_unknown_citation_is_an_error():
    with pytest.raises(InputError, match="citation 'x'"):
        number(document(paragraph("[@x]")))


def test_names_are_defined_once():
    with pytest.raises(InputError, match="'tab:a': is defined 2 times"):
        number(document(TABLE, TABLE))
    with pytest.raises(InputError, match="'k'"):
        number(document(References((Reference("k", "a"), Reference("k", "b")))))


def test_a_label_fits_its_block():
    with pytest.raises(InputError, match="names a figure but stands on a table"):
        number(document(Table("fig:a", "c", (), ())))


def test_footnotes_stand_in_running_text_only():
    number(document(paragraph("a^[b]")))
    with pytest.raises(InputError, match="footnote"):
        number(document(Figure("fig:x", "x.png", prose("a^[b]"), "alt")))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Section("s", 4),
        lambda: Figure("fig:x", "x.png", "c", "alt", width=0),
        lambda: Reference("A key", "t"),
        lambda: Reference("k", "t", "ftp://x"),
        lambda: CodeBlock("x", "a b"),
    ],
)
def test_impossible_blocks_are_refused(make):
    with pytest.raises(ValueError):
        make()
