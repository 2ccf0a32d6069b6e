"""Any text as LaTeX that compiles: specials escaped, symbols as commands, the rest by code point."""

from __future__ import annotations

import re

SPECIALS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "*": "{*}",
    "'": r"\textquotesingle{}",
}
"""Marks with a meaning to LaTeX, and those that it would take for an option after a line break."""

COMMANDS = {
    "\u00a0": "~",
    "\u202f": r"\,",
    "\u2009": r"\,",
    "\u00ad": r"\-",
    "‐": "-",
    "‑": "-",
    "–": "--",
    "—": "---",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "…": r"\ldots{}",
    "•": r"\textbullet{}",
    "·": r"\textperiodcentered{}",
    "°": r"\textdegree{}",
    "µ": r"\textmu{}",
    "€": r"\texteuro{}",
    "£": r"\textsterling{}",
    "§": r"\textsection{}",
    "©": r"\textcopyright{}",
    "™": r"\texttrademark{}",
    "®": r"\textregistered{}",
}

NAMES = [
    *("alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
]
GREEK = {c: f"\\{name}" for c, name in zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", NAMES, strict=True)}

MATH = {
    "−": "-",
    "×": r"\times",
    "÷": r"\div",
    "±": r"\pm",
    "·": r"\cdot",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "≈": r"\approx",
    "≡": r"\equiv",
    "∝": r"\propto",
    "∞": r"\infty",
    "→": r"\to",
    "←": r"\leftarrow",
    "↔": r"\leftrightarrow",
    "⇒": r"\Rightarrow",
    "∈": r"\in",
    "∑": r"\sum",
    "∏": r"\prod",
    "√": r"\surd",
    "∂": r"\partial",
    "∫": r"\int",
    "′": r"'",
    "¬": r"\neg",
    **GREEK,
}

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺", "0123456789+", strict=True)) | {"⁻": r"\ensuremath{-}"}
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))

LETTERS = re.compile("[¡¢¥¨ªº¿À-ÖØ-öø-ÿĀ-ĥĨ-ķĹ-ľŁ-ňŊ-ťŨ-žȘ-țẞ]")
"""Letters with accents and the like that pdfLaTeX's T1 encoding sets as they are."""


def escape(text: str) -> str:
    r"""Text to the letter; straight quotation marks become the curly pair.

    >>> escape("50 % of α_1")
    '50 \\% of \\ensuremath{\\alpha}\\_1'
    """
    opened = re.sub(r"""(?<![^\s(\[{—–])(["'])""", lambda m: {'"': "“", "'": "‘"}[m[1]], text)
    return escape_code(opened.replace('"', "”").replace("'", "’"))


def escape_code(text: str) -> str:
    """Program text to the letter; equal marks are kept from joining into one (`--`)."""
    written = "".join(character(c) for c in text)
    return re.sub(r"([-,])(?=\1)", r"\1{}", written) if "--" in text or ",," in text else written


def character(c: str) -> str:
    """One character."""
    if c in SPECIALS:
        return SPECIALS[c]
    if c.isascii() or LETTERS.fullmatch(c):
        return c
    if c in COMMANDS:
        return COMMANDS[c]
    if c in MATH:
        return rf"\ensuremath{{{MATH[c]}}}"
    if c in RAISED:
        return rf"\textsuperscript{{{RAISED[c]}}}"
    if c in LOWERED:
        return rf"\textsubscript{{{LOWERED[c]}}}"
    return rf"\anychar{{{ord(c):X}}}"
