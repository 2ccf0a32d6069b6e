"""Metadata: the TOML writer against the standard library's reader, and what changed since."""

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from qmodel.measure.meta import first_difference, meta_path
from qmodel.measure.spec import ProfileSpec
from qmodel.toml_text import to_toml

TEXT = st.text(st.characters(blacklist_categories=("Cs",)))
PLAIN = st.one_of(st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(
    st.one_of(PLAIN, st.lists(PLAIN, max_size=4)),
    lambda inner: st.one_of(
        st.dictionaries(TEXT, inner, max_size=4),
        st.lists(st.dictionaries(TEXT, inner, max_size=3), max_size=3),
        st.lists(inner, max_size=3),
    ),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_what_is_written_reads_back(table: dict) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_nothing_is_left_out_but_none() -> None:
    table = {
        "a": None,
        "b": {"c": None, "d": 1},
        "e": [1, None],
        "f": [{"g": None, "h": (1, 2)}],
        "i": [[{"j": None}]],
    }
    assert tomllib.loads(to_toml(table)) == {"b": {"d": 1}, "e": [1], "f": [{"h": [1, 2]}], "i": [[{}]]}


def test_not_a_number_has_a_spelling() -> None:
    found = tomllib.loads(to_toml({"nan": float("nan"), "inf": [float("inf"), float("-inf")]}))
    assert found["nan"] != found["nan"]
    assert found["inf"] == [float("inf"), float("-inf")]


def test_first_difference() -> None:
    assert first_difference({"a": 1}, {"a": 1}) is None
    assert first_difference({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}) == "a.b: [1] -> [1, 2]"
    assert first_difference({"a": 1}, {"a": 1, "c": 2}) == "c: not set -> 2"
    assert first_difference({"a": 1, "c": 2}, {"a": 1}) == "c: 2 -> not set"


def test_spec_survives_its_metadata() -> None:
    content = {
        "name": "t", "target": {"kind": "command", "command": 'echo "{x}"'}, "factors": {"x": [1, 2]},
        "design": {"kind": "2kr", "replicates": 4}, "measurement": {"budget_s": 5},
    }  # fmt: skip
    spec = ProfileSpec.of(content)
    assert ProfileSpec.of(tomllib.loads(to_toml(spec.content()))).fingerprint() == spec.fingerprint()


def test_place_of_the_metadata() -> None:
    assert meta_path(Path("a/b.c.csv")) == Path("a/b.c.meta.toml")
