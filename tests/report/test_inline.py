"""What may stand in a line: clean text, labels, links, and the prose that makes them."""

import unicodedata

import pytest
from hypothesis import given

from qmodel.report.inline import (
    Cite,
    Code,
    Emphasis,
    Footnote,
    Link,
    Math,
    Ref,
    Strong,
    Text,
    check_label,
    clean,
    clean_lines,
    content,
    plain,
    walk,
)
from qmodel.report.prose import prose
from qmodel.report.quantity import Estimate, Interval, Quantity
from qmodel.report.symbols import SYMBOLS, symbol
from tests.report.texts import texts


@given(texts)
def test_clean_text_is_one_line_and_stays_clean(text):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not set(cleaned) & set("\n\r\t\x00\u202e\u2028")
    assert "  " not in cleaned
    cleaned.encode("utf-8")


@given(texts)
def test_what_prints_survives_cleaning(text):
    composed = unicodedata.normalize("NFC", text)
    printing = "".join(c for c in composed if c.isascii() and c.isprintable() and c != " ")
    assert "".join(c for c in clean(text) if c.isascii() and c != " ") == printing


def test_code_keeps_its_lines_and_loses_tabs():
    assert clean_lines("\r\na\r\n\tb\x1b  \n\n") == "a\n    b\ufffd"


def test_combining_accents_are_composed():
    assert clean("e\u0301") == "é"


@pytest.mark.parametrize("label", ["table:x", "tab:", "tab:A", "x", "tab:a b", "tab:a--b", "tab:x>"])
def test_bad_labels_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        check_label(label)
    with pytest.raises(ValueError, match="label"):
        Ref(label)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "https://a b", "http://x<y>", "www.x.org"]
)
def test_only_web_addresses_make_links(url):
    with pytest.raises(ValueError, match="web address"):
        Link("text", url)


def test_neighbouring_texts_become_one():
    assert content((Text("a "), Text(" b"), Strong("c"), Text("d"))) == (Text("a b"), Strong("c"), Text("d"))
    assert content("") == ()
    assert content(Text("x")) == (Text("x"),)


def test_plain_words():
    line = (
        Text("a "),
        Strong("b"),
        Math(r"\rho_k", "rho_k"),
        Ref("tab:x"),
        Cite("k"),
        Link(" l", "http://x"),
        Footnote(()),
    )
    assert plain(line) == "a bxktab:x[k] l"
    with pytest.raises(TypeError):
        plain((3,))


def test_walk_enters_footnotes():
    assert Ref("tab:x") in list(walk((Footnote((Ref("tab:x"),)),)))


def test_every_mark_of_prose():
    parsed = prose(
        "A **b** *c* `d` $rho$ @tab:x-1, [@key] [e](https://x.org/y) \\* [0, 1] a@b {n}^[note with [@key]]",
        n=12345,
    )
    assert parsed == (
        Text("A "),
        Strong("b"),
        Text(" "),
        Emphasis("c"),
        Text(" "),
        Code("d"),
        Text(" "),
        SYMBOLS["rho"],
        Text(" "),
        Ref("tab:x-1"),
        Text(", "),
        Cite("key"),
        Text(" "),
        Link("e", "https://x.org/y"),
        Text(" * [0, 1] a@b 12,345"),
        Footnote((Text("note with "), Cite("key"))),
    )


@given(texts)
def test_values_are_never_parsed(text):
    assert prose("{x}", x=text) == content(text)
    if clean(text).strip():
        assert prose("**{x}**", x=text) == (Strong(text),)


def test_values_of_every_kind():
    ratio = Quantity(-0.05, "ratio")
    assert plain(prose("{a} {b} {c}", a=ratio, b=Interval(1, 2, "s"), c=Estimate(1, None, None, "s"))) == (
        "−5.0\u00a0% 1.00 to 2.00\u00a0s 1.00\u00a0s"
    )
    assert prose("{a}{b}", a=Ref("tab:x"), b=(Text("y"),)) == (Ref("tab:x"), Text("y"))
    assert plain(prose("{n} `{m}`", n=-1234, m=5)) == "−1,234 5"


def test_a_unit_stays_with_its_number():
    assert plain(prose("95 % of 10 ms, 2 cores, 3 steps")) == "95\u00a0% of 10\u00a0ms, 2\u00a0cores, 3 steps"


@pytest.mark.parametrize("template", ["a * b", "**bold", "`code", "$rho", "{", "}", "{a b}"])
def test_a_mark_without_its_partner_is_refused(template):
    with pytest.raises(ValueError, match="stands alone"):
        prose(template)


def test_missing_and_unused_values_are_refused():
    with pytest.raises(ValueError, match=r"no value for \{x\}"):
        prose("{x}")
    with pytest.raises(ValueError, match=r"without a place.*y"):
        prose("text", y="z")


@pytest.mark.parametrize("value", [0.5, True, None, [1]])
def test_a_bare_number_is_no_value(value):
    with pytest.raises(TypeError, match="unit"):
        prose("{x}", x=value)


def test_unknown_symbols_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'rho'"):
        symbol("rhoo")
