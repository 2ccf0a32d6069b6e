"""LaTeX mathematics of the formulas here, as Typst mathematics: one small grammar, no macros."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]|[0-9]+(?:\.[0-9]+)?|\s+|.")
ACCENTS = {r"\tilde": "tilde", r"\widetilde": "tilde", r"\bar": "overline", r"\overline": "overline"}
WORDS = {
    r"\left": "", r"\right": "", r"\,": "thin", r"\;": "thick", r"\quad": "quad", r"\cdot": "dot",
    r"\le": "<=", r"\leq": "<=", r"\ge": ">=", r"\infty": "infinity", r"\int": "integral", r"\prod": "product",
    r"\ldots": "dots",
    r"\{": "{", r"\}": "}", r"\prime": "prime", r"\sum": "sum", r"\min": "min", r"\max": "max",
}  # fmt: skip


def from_latex(latex: str) -> str:
    """The same formula in Typst's notation.

    >>> from_latex(r"E[W_k] = \\frac{W_0}{1 - \\sigma_{k - 1}}")
    'E [ W _( k ) ] = frac( W _( 0 ) , 1 - sigma _( k - 1 ) )'
    """
    tokens = [token for token in TOKEN.findall(latex) if token.strip()]
    words, rest = _until(tokens, None)
    assert not rest
    return " ".join(words)


def _until(tokens: list[str], end: str | None) -> tuple[list[str], list[str]]:
    words: list[str] = []
    while tokens and tokens[0] != end:
        word, tokens = _next(tokens)
        words += word
    return words, tokens[1:] if end else tokens


def _argument(tokens: list[str]) -> tuple[list[str], list[str]]:
    return _until(tokens[1:], "}") if tokens[0] == "{" else _next(tokens)


def _next(tokens: list[str]) -> tuple[list[str], list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head == r"\frac":
        above, rest = _argument(rest)
        below, rest = _argument(rest)
        return ["frac(", *above, ",", *below, ")"], rest
    if head in ("_", "^"):
        inside, rest = _argument(rest)
        return [f"{head}(", *inside, ")"], rest
    if head == r"\sqrt":
        inside, rest = _argument(rest)
        return ["sqrt(", *inside, ")"], rest
    if head in ACCENTS:
        inside, rest = _argument(rest)
        return [f"{ACCENTS[head]}(", *inside, ")"], rest
    if head in (r"\mathrm", r"\text", r"\operatorname"):
        return _text(rest)
    if head == "{":
        return _until(rest, "}")
    return _word(head), rest


def _text(tokens: list[str]) -> tuple[list[str], list[str]]:
    end = tokens.index("}")
    return ['"' + "".join(tokens[1:end]) + '"'], tokens[end + 1 :]


def _word(token: str) -> list[str]:
    """One symbol; a name of LaTeX that Typst shares loses its backslash."""
    word = WORDS.get(token, token.removeprefix("\\"))
    return [word] if word else []
