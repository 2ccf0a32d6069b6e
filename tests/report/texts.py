"""Texts that break careless writers: marks of all three languages, foreign letters, direction overrides."""

from __future__ import annotations

from hypothesis import strategies as st

MARKS = "\\`*_{}[]<>()#+-.!|~$&%^@:;=/'\"?,0123456789 "

TRAPS = (
    "a*b*c",
    "**bold**",
    "snake_case_name __init__",
    "[link](http://x)",
    "[^1]: note",
    "<b>&amp;</b> <!-- x -->",
    "http://example.org/~a?b=1#c",
    "$x$ $$y$$",
    "| a | b |",
    "1. one",
    "- item",
    "# heading",
    "= heading",
    "/ term: x",
    "+ item",
    "> quote",
    "---",
    "-- --- ...",
    "-1 a-b -? --",
    "\\[2pt] \\ \\\\ \\n",
    "#let x = 1; #x",
    "#emph[a](b)[c].d;",
    "// comment",
    "/* comment */",
    "@tab:x <label> [@key]",
    "100 % & 5_000 ^2 ~3 {x}",
    "```code``` `c`",
    "~~gone~~",
    "it's \"quoted\" O'Hara",
    "Größe ± 5 µs ≤ α·β → ∞ ✓ 中文 😀 \u202eevil",
    "e\u0301 combining",
    "\x00\x07 control",
    "\u00a0no-break\u00a0",
    "a\n\nb\tc",
    "&#35; &nbsp;",
    "::: !!! ???",
    "\\u{41} \\'41",
    "-",
    "=",
    "\\",
    "[x] done",
    "wow!",
    "see [1]",
    "open [",
    "less <",
    "and &",
    "3^",
    "at @",
)

texts = st.one_of(
    st.sampled_from(TRAPS),
    st.text(alphabet=MARKS, max_size=30),
    st.lists(st.sampled_from([*TRAPS, "plain words"]), max_size=4).map(" ".join),
    st.text(alphabet=st.characters(), max_size=30),
)
