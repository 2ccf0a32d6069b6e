"""LaTeX: any text is escaped to what compiles; blocks as source; and, where TeX is installed, the proof."""

import datetime
import re
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given

from qmodel.errors import InputError
from qmodel.report import pdf
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
from qmodel.report.inline import Code, Footnote, Link, Strong, Text, clean
from qmodel.report.latex import render
from qmodel.report.latex_text import GREEK, LETTERS, escape, escape_code
from tests.report.sample import draw_figure, sample
from tests.report.texts import TRAPS, texts

NAMED = {
    "textbackslash": "\\",
    "textasciicircum": "^",
    "textasciitilde": "~",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textquotedbl": '"',
    "textasciigrave": "`",
    "textquotesingle": "'",
    "textquoteleft": "‘",
    "textquoteright": "’",
    "textquotedblleft": "“",
    "textquotedblright": "”",
}


def decoded(source):
    """Escaped text read back by the rules of TeX that the writer may use; anything else is refused."""
    token = re.compile(
        r"\\anychar\{(?P<code>[0-9A-F]+)\}|\\ensuremath\{(?P<math>[^{}]*)\}|\\text(?:super|sub)script\{(?P<raised>[^{}]|\\ensuremath\{-\})\}"
        r"|\\(?P<name>[a-z]+)\{\}|\\(?P<special>[{}$&#%_])|\{(?P<guarded>[\[*])\}|(?P<break>(?<=[-,])\{\})"
        r"|(?P<space>~|\\,|\\-)|(?P<dash>---?)|(?P<plain>[^\\{}$&#%_^~<>|\"`\[*])"
    )
    out, at = "", 0
    while at < len(source):
        found = token.match(source, at)
        assert found, f"not plain text: {source[at : at + 30]!r}"
        at, kind = found.end(), found.lastgroup
        value = found[kind]
        if kind == "code":
            out += chr(int(value, 16))
        elif kind == "name":
            out += NAMED.get(value, "?")
        elif kind in {"special", "guarded", "plain"}:
            assert value.isascii() or LETTERS.fullmatch(value)
            out += value
        elif kind in {"math", "raised", "space", "dash"}:
            out += "?"
    return out


def expected(text):
    """The text with one mark for each symbol whose command the decoder does not follow; all hyphens are `-`."""
    text = text.translate(str.maketrans("‐‑", "--"))
    return "".join(c if c.isascii() or LETTERS.fullmatch(c) or c in NAMED.values() else "?" for c in text)


def comparable(source, text):
    """Both sides, with symbols beyond ASCII as one mark."""
    known = set(NAMED.values())
    read = "".join(c if c.isascii() or LETTERS.fullmatch(c) or c in known else "?" for c in decoded(source))
    return read, expected(text)


@given(texts)
def test_any_program_text_survives(text):
    cleaned = clean(text)
    read, wanted = comparable(escape_code(cleaned), cleaned)
    assert read == wanted


@given(texts)
def test_any_text_survives_but_for_the_curl_of_its_quotation_marks(text):
    cleaned = clean(text)
    read, wanted = comparable(escape(cleaned), cleaned)
    straight = str.maketrans("‘’“”", "''\"\"")
    assert read.translate(straight) == wanted.translate(straight)


def test_marks_do_not_join():
    assert escape("a--b---c ,,d") == "a-{}-b-{}-{}-c ,{},d"


def test_quotation_marks_curl():
    assert escape('"a" ("b") it\'s \'c\'') == (
        r"\textquotedblleft{}a\textquotedblright{} (\textquotedblleft{}b\textquotedblright{}) it\textquoteright{}s "
        r"\textquoteleft{}c\textquoteright{}"
    )


def test_symbols_have_their_commands():
    assert (
        escape("5 µs ≤ α×β")
        == r"5 \textmu{}s \ensuremath{\le} \ensuremath{\alpha}\ensuremath{\times}\ensuremath{\beta}"
    )
    assert escape("1.5×10⁻⁷ H₂") == (
        r"1.5\ensuremath{\times}10\textsuperscript{\ensuremath{-}}\textsuperscript{7} H\textsubscript{2}"
    )
    assert escape("中") == r"\anychar{4E2D}"
    for letter, command in GREEK.items():
        name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
        assert command.lstrip("\\").removeprefix("var").upper() == name


def body(*blocks, **fields):
    source = render(Document("T", blocks, **fields))
    return source[source.index("\\thispagestyle{plain}") + len("\\thispagestyle{plain}") :].strip()


def test_blocks_as_source():
    source = body(
        Section("A & B", 2, "sec:s"),
        BulletList(("a", "b"), numbered=True),
        Formula("eq:a", "x^2", "x^2", "me"),
        paragraph("see @eq:a and **b** *c* `d` $rho$ [@k] [e](https://x.org/a_b?c=1%20d&e#f~g)^[note]"),
        Figure("fig:a", "figures/a.png", "c", "alt", 0.5),
        Callout("warning", "careful"),
        CodeBlock("if x:\n  y", "py"),
        References((Reference("k", "K", "https://x.org/a"),)),
        abstract="short",
        contents=True,
    )
    for piece in (
        "\\begin{abstract}\nshort\n\\end{abstract}\n\n\\tableofcontents",
        "\\subsection{A \\& B}\\label{sec:s}",
        "\\begin{enumerate}\\setlength{\\itemsep}{2pt}\\setlength{\\parskip}{0pt}\n  \\item a\n  \\item b\n",
        "\\begin{equation}\nx^2\\label{eq:a}\n\\end{equation}\n\\formulasource{me}",
        "see \\hyperref[eq:a]{Equation~\\ref*{eq:a}} and \\textbf{b} \\emph{c} \\texttt{d} $\\rho$ \\cite{k} ",
        "\\href{https://x.org/a\\_b?c=1\\%20d\\&e\\#f\\%7Eg}{e}\\footnote{note}",
        "\\includegraphics[width=0.50\\linewidth]{\\detokenize{figures/a}}\n\\caption{c}\\label{fig:a}",
        "\\begin{callout}{caution}{Caution.}%\ncareful\n\\end{callout}",
        "\\begin{code}\n\\codeline{if~x:}\n\\codeline{~~y}\n\\end{code}",
        "\\bibitem{k} K \\href{https://x.org/a}{\\texttt{https:/\\allowbreak{}/\\allowbreak{}x.org/\\allowbreak{}a}}",
    ):
        assert piece in source


def test_math_in_a_heading_has_words_for_bookmarks():
    assert "\\section{Load \\texorpdfstring{$\\rho$}{rho}}" in body(Section(prose("Load $rho$")))


def test_a_table_as_source():
    columns = (Column("Policy", sparse=True), Column(prose("Mean response time $rho$"), "s"))
    rows = (("fcfs", 0.0123), ("fcfs", None), ("ps", 0.02))
    assert body(Table("tab:a", "c", columns, rows, ("n",))) == (
        "\\begin{table}[htbp]\n\\centering\n\\caption{c}\\label{tab:a}\n{\\small\n"
        "\\begin{tabular}{@{}lr@{}}\n\\toprule\n"
        "Policy & \\begin{tabular}[b]{@{}r@{}}Mean\\\\response\\\\time $\\rho$\\\\(ms)\\end{tabular} \\\\\n"
        "\\midrule\n"
        "fcfs & 12.3 \\\\\n & --- \\\\\n\\addlinespace\nps & 20.0 \\\\\n\\bottomrule\n\\end{tabular}}\n"
        "\\tablenote{n}\n\\end{table}\n\n\\end{document}"
    )


def test_long_and_wide_tables():
    long = body(Table("tab:a", "c", (Column("x"),), tuple((i,) for i in range(40)), ("n",)))
    assert long.count("\\toprule") == 2
    assert "\\endfirsthead" in long
    assert "\\end{longtable}\nn\\par}" in long
    wide = body(Table("tab:a", "c", (Column("x"), Column("n")), (("word " * 60, 1),)))
    assert re.search(r"\{@\{\}>\{\\raggedright\\arraybackslash\}p\{0\.\d+\\linewidth\}r@\{\}\}", wide)
    assert "& 1 \\\\[2pt]" in wide


def test_front_matter():
    source = render(Document("A_B", (), "Sub", ("X", "Y & Z"), datetime.date(2026, 3, 1), running_title="Short"))
    assert "\\fancyhead[L]{\\small\\itshape Short}" in source
    assert "pdftitle={A\\_B},pdfauthor={X, Y \\& Z}" in source
    assert "\\title{\\textbf{A\\_B}\\\\[6pt]\\large Sub}\n\\author{X \\and Y \\& Z}\n\\date{1 March 2026}" in source


class FakeRun:
    """Stands for a LaTeX that ends as told."""

    def __init__(self, monkeypatch, found, code=0, log=b"", slow=False):
        self.commands, self.code, self.log, self.slow = [], code, log, slow
        monkeypatch.setattr(pdf.shutil, "which", lambda name: f"/bin/{name}" if name in found else None)
        monkeypatch.setattr(pdf.subprocess, "run", self)

    def __call__(self, command, timeout, **_):
        self.commands.append(command)
        if self.slow:
            raise subprocess.TimeoutExpired(command, timeout)
        folder = next(c.split("=")[1] for c in command if c.startswith("-output-directory"))
        (pdf.Path(folder) / "report.pdf").write_bytes(b"%PDF-made")
        return subprocess.CompletedProcess(command, self.code, self.log, b"")


@pytest.mark.parametrize(("found", "runs"), [(("latexmk", "pdflatex"), 1), (("pdflatex",), 3)])
def test_latex_is_run_as_often_as_it_needs(tmp_path, monkeypatch, found, runs):
    fake = FakeRun(monkeypatch, found)
    assert pdf.compile_latex(tmp_path / "report.tex", tmp_path / "tex.pdf").read_bytes() == b"%PDF-made"
    assert len(fake.commands) == runs
    assert all("-no-shell-escape" in command for command in fake.commands)


def test_without_latex_there_is_no_pdf_of_it(tmp_path, monkeypatch):
    FakeRun(monkeypatch, ())
    assert pdf.compile_latex(tmp_path / "report.tex", tmp_path / "tex.pdf") is None


def test_latex_that_fails_says_why(tmp_path, monkeypatch):
    FakeRun(monkeypatch, ("latexmk",), 1, b"This is pdfTeX\n! Undefined control sequence.\nl.3")
    with pytest.raises(InputError, match=r"report.tex: Undefined control sequence\."):
        pdf.compile_latex(tmp_path / "report.tex", tmp_path / "tex.pdf")
    FakeRun(monkeypatch, ("latexmk",), slow=True)
    with pytest.raises(InputError, match="longer than 5 s"):
        pdf.compile_latex(tmp_path / "report.tex", tmp_path / "tex.pdf", seconds=5)
    assert list(tmp_path.iterdir()) == []


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@needs_latex
@pytest.mark.slow
def test_the_sample_compiles(tmp_path):
    draw_figure(tmp_path)
    for rows in (4, 12):
        (tmp_path / "report.tex").write_text(render(sample(rows)), encoding="utf-8")
        made = pdf.compile_latex(tmp_path / "report.tex", tmp_path / "tex.pdf")
        assert made.read_bytes().startswith(b"%PDF-")


@needs_latex
@pytest.mark.slow
def test_traps_and_every_letter_compile(tmp_path):
    letters = "".join(chr(c) for c in range(0xA1, 0x2400) if unicodedata.category(chr(c)) not in {"Cc", "Cn"})
    chunks = [letters[i : i + 400] for i in range(0, len(letters), 400)]
    blocks = []
    for i, text in enumerate([*TRAPS, *chunks]):
        blocks += [
            Section(text),
            Paragraph(
                (Text(text), Strong(text), Footnote((Text(text),)), Link(text or "x", "https://x.org/a_b#c"))
            ),
            Table(f"tab:t-{i}", text, (Column(text),), ((text,), (Code(text),)), (text,)),
            BulletList((text,)),
            Callout("author", text),
            CodeBlock(text),
        ]
    source = render(Document("[*", tuple(blocks), "*[", ("a--b",), None, "*x", contents=True))
    (tmp_path / "report.tex").write_text(source.replace("[htbp]", "[!htb]"), encoding="utf-8")
    assert pdf.compile_latex(tmp_path / "report.tex", tmp_path / "tex.pdf") is not None
