import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.service.terms import Atom, Term, latex_name, level_text

LEVELS = {"tokens": [1, 128, 129, 300], "steps": [5, 10, 20, 50], "precision": ["fp32", "bf16", "bf16", "int8"]}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1", 1.0),
        ("tokens", [1, 128, 129, 300]),
        ("tokens^2", [1, 16384, 16641, 90000]),
        ("steps:tokens", [5, 1280, 2580, 15000]),
        ("precision[bf16]", [0, 1, 1, 0]),
        ("precision[bf16]:steps", [0, 10, 20, 0]),
        ("min(tokens,128)", [1, 128, 128, 128]),
        ("over(tokens,128)", [0, 0, 1, 172]),
        ("between(tokens,64,256)", [0, 64, 65, 192]),
        ("ceil(tokens/128)", [1, 1, 2, 3]),
        ("ceil(tokens/0.5)", [2, 256, 258, 600]),
    ],
)
def test_value(text, values):
    assert np.array_equal(Term.parse(text)(LEVELS), values)


UNKNOWN = ["", ":", "a:", "a b", "a^0", "a^-1", "a^1.5", "a+b", "2*a", "a[", "a[x", "min(a)", "min(a,0)", "1:a"]
HOSTILE = [
    "ceil(a/0)",
    "__import__('os').system('x')",
    "a.b",
    "lambda: 0",
    "a^100",
    "over(a,-3)",
    "min(a,nan)",
    "between(a,5,5)",
]


@pytest.mark.parametrize("text", [*UNKNOWN, *HOSTILE, "a[b:c]"])
def test_outside_the_grammar(text):
    with pytest.raises(InputError, match=r"^model\.json, terms\[0\]: .* is not a term"):
        Term.parse(text, "model.json, terms[0]")


names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z")
breaks = st.floats(min_value=1e-3, max_value=1e6).map(float)
atoms = st.one_of(
    st.builds(Atom, names, st.just("power"), st.integers(1, 9)),
    st.builds(Atom, names, st.just("is"), st.text(min_size=1, max_size=12)),
    st.builds(Atom, names, st.just("between"), st.tuples(breaks, breaks).filter(lambda b: b[0] < b[1])),
    st.builds(Atom, names, st.sampled_from(["min", "over", "ceil"]), breaks),
)


@given(st.lists(atoms, max_size=4))
def test_round_trip(parts):
    term = Term(tuple(sorted(parts, key=str)))
    assert Term.parse(str(term)) == term


def test_order_of_a_product_is_no_matter():
    assert Term.parse("b:a^2") == Term.parse("a^2:b")


def test_levels_as_text():
    assert level_text(np.array([[1, 2], [3, 4]])).tolist() == [["1", "2"], ["3", "4"]]
    assert level_text(4.0).item() == "4"
    assert level_text([0.25, float("inf")]).tolist() == ["0.25", "inf"]
    assert np.array_equal(Term.parse("exit_layer[4]")({"exit_layer": [4.0, 8.0]}), [1.0, 0.0])


def test_words_and_latex():
    term = Term.parse("over(tokens,64):ceil(a/128):min(b,2.5):c^2:p[bf_16]")
    assert term.words() == "c^2*ceil(a/128)*min(b,2.5)*max(tokens - 64, 0)*[p=bf_16]"
    assert term.latex() == (
        r"\mathrm{c}^{2} \cdot \lceil \mathrm{a} / 128 \rceil \cdot \min(\mathrm{b}, 2.5)"
        r" \cdot \max(\mathrm{tokens} - 64, 0) \cdot [\mathrm{p} = \mathrm{bf\_16}]"
    )
    middle = Term.parse("between(t,64,256)")
    assert middle.words() == "(min(max(t, 64), 256) - 64)"
    assert middle.latex() == r"\left(\min(\max(\mathrm{t}, 64), 256) - 64\right)"
    assert latex_name("a b%") == r"\mathrm{a\ b\%}"
