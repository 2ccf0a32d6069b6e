"""The LaTeX writer: a complete article for pdflatex with the packages of a basic installation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

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
from qmodel.report.latex_text import escape, escape_code
from qmodel.report.numbering import WORDS, Numbering, number
from qmodel.report.table import Align, FormattedTable, Table, formatted
from qmodel.report.table_layout import Layout, layout

CALLOUTS = {
    "finding": ("found", "Finding."),
    "scope": ("measured", "What was measured on what."),
    "warning": ("caution", "Caution."),
    "author": ("byauthor", "For the author."),
}

PREAMBLE = r"""\documentclass[a4paper,11pt]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
  \usepackage{textcomp}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
  \newcommand{\anychar}[1]{\texttt{\small U+#1}}
\else
  \usepackage{fontspec}
  \newcommand{\anychar}[1]{\char"#1 }
\fi
\usepackage[a4paper,margin=25mm]{geometry}
\usepackage{amsmath}
\usepackage{array,booktabs,longtable}
\usepackage{graphicx}
\usepackage[font=small,labelfont=bf,labelsep=period]{caption}
\usepackage{microtype}
\usepackage{xcolor}
\usepackage{fancyhdr}
\usepackage[hidelinks]{hyperref}
\definecolor{found}{HTML}{0072B2}
\definecolor{measured}{HTML}{00795A}
\definecolor{caution}{HTML}{B35900}
\definecolor{byauthor}{HTML}{7A4FA3}
\captionsetup[table]{position=top,skip=4pt}
\setlength{\LTcapwidth}{\textwidth}
\setlength{\emergencystretch}{3em}
\setlength{\headheight}{14pt}
\renewcommand{\topfraction}{0.9}
\renewcommand{\bottomfraction}{0.7}
\renewcommand{\textfraction}{0.1}
\renewcommand{\floatpagefraction}{0.8}
\newsavebox{\calloutbox}
\newenvironment{callout}[2]{%
  \def\calloutcolor{#1}\par\medskip\noindent\begin{lrbox}{\calloutbox}%
  \begin{minipage}{\dimexpr\linewidth-12pt}\setlength{\parskip}{3pt}\textbf{\textcolor{#1}{#2}} }{%
  \end{minipage}\end{lrbox}%
  {\color{\calloutcolor}\vrule width 2pt}\hspace{8pt}\usebox{\calloutbox}\par\medskip}
\newcommand{\codeline}[1]{\noindent\hangindent=2em\strut #1\par}
\newenvironment{code}{\par\medskip\begingroup\ttfamily\footnotesize\raggedright\leftskip=1em\parskip=0pt}{%
  \par\endgroup\medskip}
\newcommand{\formulasource}[1]{%
  \vspace{-6pt}\par\noindent\hfill{\footnotesize\color{black!60}Source: #1}\par\smallskip}
\newcommand{\tablenote}[1]{\par\smallskip\begin{minipage}{0.95\linewidth}\footnotesize #1\end{minipage}}
\pagestyle{fancy}
\fancyhf{}
\renewcommand{\headrulewidth}{0.3pt}
\fancyfoot[C]{\thepage}
"""

SIZES = {"small": 98, "footnotesize": 109, "scriptsize": 123}
"""Type sizes of tables, and how many characters of each fill a line of 16 cm."""

COLUMN_TYPES: dict[Align, str] = {"left": "l", "right": "r", "center": "c"}


def render(document: Document) -> str:
    """The document as LaTeX source; figures by their relative path without suffix."""
    writer = Writer(number(document))
    body = [text for block in document.blocks if (text := writer.block(block))]
    return "\n\n".join([*writer.front(document), *body, r"\end{document}"]) + "\n"


@dataclass
class Writer:
    """Writes blocks."""

    numbering: Numbering

    def front(self, document: Document) -> list[str]:
        """Preamble, title block, abstract and table of contents."""
        title, short = escape(document.title), escape(document.short_title)
        people = r" \and ".join(escape(author) for author in document.authors)
        subtitle = rf"\\[6pt]\large {escape(document.subtitle)}" if document.subtitle else ""
        parts = [
            PREAMBLE + rf"\fancyhead[L]{{\small\itshape {short}}}" + "\n" + pdf_information(document),
            rf"\title{{\textbf{{{title}}}{subtitle}}}" + "\n"
            rf"\author{{{people}}}" + "\n" + rf"\date{{{document.written_on}}}",
            "\\begin{document}\n\\maketitle\n\\thispagestyle{plain}",
        ]
        if document.abstract:
            parts.append(f"\\begin{{abstract}}\n{self.inlines(document.abstract)}\n\\end{{abstract}}")
        return [*parts, r"\tableofcontents"] if document.contents else parts

    def block(self, block: Block) -> str:
        """One block."""
        match block:
            case Section():
                return self.section(block)
            case Paragraph(content=text):
                return self.inlines(text)
            case BulletList():
                return self.bullets(block)
            case Table():
                return self.table(block)
            case Figure():
                return self.figure(block)
            case Formula():
                return self.formula(block)
            case Callout(kind, text):
                color, title = CALLOUTS[kind]
                return f"\\begin{{callout}}{{{color}}}{{{title}}}%\n{self.inlines(text)}\n\\end{{callout}}"
            case CodeBlock(text):
                return "\\begin{code}\n" + "\n".join(map(code_line, text.split("\n"))) + "\n\\end{code}"
            case References(entries):
                return self.references() if entries else ""

    def section(self, section: Section) -> str:
        """A numbered heading."""
        command = "\\" + "sub" * (section.level - 1) + "section"
        label = rf"\label{{{section.label}}}" if section.label else ""
        return f"{command}{{{self.moving(section.title)}}}{label}"

    def moving(self, value: Contentlike) -> str:
        """A heading, with plain words for the PDF's bookmarks where it holds math."""
        return "".join(
            rf"\texorpdfstring{{{self.inline(i)}}}{{{escape_code(i.typst)}}}"
            if isinstance(i, Math)
            else self.inline(i)
            for i in content(value)
        )

    def bullets(self, block: BulletList) -> str:
        """A list."""
        kind = "enumerate" if block.numbered else "itemize"
        items = "\n".join(rf"  \item {self.inlines(item)}" for item in block.items)
        tight = r"\setlength{\itemsep}{2pt}\setlength{\parskip}{0pt}"
        return f"\\begin{{{kind}}}{tight}\n{items}\n\\end{{{kind}}}"

    def table(self, table: Table) -> str:
        """A floating table, or one that runs over pages when it is long."""
        shown = formatted(table)
        how = layout(shown, SIZES)
        return self.long_table(table, shown, how) if how.long else self.floating_table(table, shown, how)

    def floating_table(self, table: Table, shown: FormattedTable, how: Layout) -> str:
        """A table in one piece."""
        notes = "".join(rf"\tablenote{{{self.inlines(note)}}}" + "\n" for note in table.notes)
        return (
            f"\\begin{{table}}[htbp]\n\\centering\n{self.caption(table.label, table.caption)}\n"
            f"{{\\{how.size}\n\\begin{{tabular}}{{{column_types(shown.aligns, how)}}}\n"
            f"\\toprule\n{self.head(shown, how)}\n\\midrule\n{self.rows(shown, how)}\n\\bottomrule\n"
            f"\\end{{tabular}}}}\n{notes}\\end{{table}}"
        )

    def long_table(self, table: Table, shown: FormattedTable, how: Layout) -> str:
        """A table over pages, its head on each."""
        head = f"\\toprule\n{self.head(shown, how)}\n\\midrule"
        notes = "\n".join(self.inlines(note) + r"\par" for note in table.notes)
        return (
            f"{{\\{how.size}\n\\begin{{longtable}}{{{column_types(shown.aligns, how)}}}\n"
            f"{self.caption(table.label, table.caption)}\\\\\n{head}\n\\endfirsthead\n{head}\n\\endhead\n"
            f"\\bottomrule\n\\endlastfoot\n{self.rows(shown, how)}\n\\end{{longtable}}\n{notes}}}"
        )

    def caption(self, label: str, text: Contentlike) -> str:
        """Caption and label."""
        return rf"\caption{{{self.inlines(text)}}}\label{{{label}}}"

    def head(self, shown: FormattedTable, how: Layout) -> str:
        """Heads, broken as the layout says."""
        cells = [self.head_cell(lines, align) for lines, align in zip(how.heads, shown.aligns, strict=True)]
        return " & ".join(cells) + r" \\"

    def head_cell(self, lines: tuple[Content, ...], align: Align) -> str:
        """One head."""
        if len(lines) == 1:
            return self.inlines(lines[0])
        stacked = r"\\".join(self.inlines(line) for line in lines)
        return rf"\begin{{tabular}}[b]{{@{{}}{COLUMN_TYPES[align]}@{{}}}}{stacked}\end{{tabular}}"

    def rows(self, shown: FormattedTable, how: Layout) -> str:
        """Rows, with a little space before each group."""
        end = r" \\" if all(share is None for share in how.shares) else r" \\[2pt]"
        lines = []
        for i, row in enumerate(shown.rows):
            space = "\\addlinespace\n" if i in shown.group_starts else ""
            lines.append(space + " & ".join(self.inlines(cell) for cell in row) + end)
        return "\n".join(lines)

    def figure(self, figure: Figure) -> str:
        """A floating image."""
        stem = figure.path.removesuffix(".png")
        return (
            "\\begin{figure}[htbp]\n\\centering\n"
            f"\\includegraphics[width={figure.width:.2f}\\linewidth]{{\\detokenize{{{stem}}}}}\n"
            f"{self.caption(figure.label, figure.caption)}\n\\end{{figure}}"
        )

    def formula(self, formula: Formula) -> str:
        """A numbered formula, its source under it."""
        source = f"\n\\formulasource{{{self.inlines(formula.source)}}}" if formula.source else ""
        return f"\\begin{{equation}}\n{formula.latex}\\label{{{formula.label}}}\n\\end{{equation}}{source}"

    def references(self) -> str:
        """The bibliography; the heading is the document's own."""
        widest = "9" * len(str(len(self.numbering.references)))
        entries = "\n".join(map(self.entry, self.numbering.references))
        listing = f"\\begin{{thebibliography}}{{{widest}}}\n{entries}\n\\end{{thebibliography}}"
        return f"{{\\renewcommand{{\\section}}[2]{{}}\n{listing}}}"

    def entry(self, entry: Reference) -> str:
        """One entry of the bibliography."""
        url = rf" \href{{{escape_url(entry.url)}}}{{{shown_url(entry.url)}}}" if entry.url else ""
        return rf"\bibitem{{{entry.key}}} {self.inlines(entry.text)}{url}"

    def inlines(self, value: Contentlike) -> str:
        """Running text."""
        return "".join(self.inline(inline) for inline in content(value))

    def inline(self, inline: Inline) -> str:
        """One inline."""
        match inline:
            case Strong(text):
                return rf"\textbf{{{escape(text)}}}"
            case Emphasis(text):
                return rf"\emph{{{escape(text)}}}"
            case Code(text):
                return rf"\texttt{{{escape_code(text)}}}"
            case Text(text):
                return escape(text)
            case Math(latex, _):
                return f"${latex}$"
            case Ref(label):
                return rf"\hyperref[{label}]{{{WORDS[label.split(':')[0]]}~\ref*{{{label}}}}}"
            case Cite(key):
                return rf"\cite{{{key}}}"
            case Link(text, url):
                return rf"\href{{{escape_url(url)}}}{{{escape(text)}}}"
            case Footnote(note):
                return rf"\footnote{{{self.inlines(note)}}}"


def pdf_information(document: Document) -> str:
    """Title and authors in the file's own metadata."""
    authors = ", ".join(document.authors)
    return rf"\hypersetup{{pdftitle={{{escape_code(document.title)}}},pdfauthor={{{escape_code(authors)}}}}}"


def column_types(aligns: tuple[Align, ...], how: Layout) -> str:
    """The column specification: natural columns, and ragged paragraphs where text wraps."""
    types = (
        COLUMN_TYPES[align] if share is None else rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}"
        for align, share in zip(aligns, how.shares, strict=True)
    )
    return "".join(chain(("@{}",), types, ("@{}",)))


def code_line(line: str) -> str:
    """One line of program text, its blanks kept."""
    return rf"\codeline{{{escape_code(line).replace(' ', '~')}}}"


def escape_url(url: str) -> str:
    """A web address where a macro reads it."""
    return "".join(rf"\{c}" if c in "#%&_$" else r"\%7E" if c == "~" else c for c in url)


def shown_url(url: str) -> str:
    """A web address in print, free to break after each slash."""
    return rf"\texttt{{{escape_code(url)}}}".replace("/", r"/\allowbreak{}")
