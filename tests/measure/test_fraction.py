"""Two-level fractions against the alias structures printed in Jain (1991), chapter 19."""

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.measure.fraction import Fraction

SEVEN_FOUR = ["D=AB", "E=AC", "F=BC", "G=ABC"]


def test_half_fraction_of_four_factors() -> None:
    # Jain, example 19.2: D = ABC, so I = ABCD.
    design = Fraction.parse(4, ["D=ABC"])
    assert design.relation() == "I = ABCD"
    assert design.resolution == 4
    assert design.alias_table() == {
        "A": ["BCD"], "B": ["ACD"], "C": ["ABD"], "D": ["ABC"],
        "AB": ["CD"], "AC": ["BD"], "AD": ["BC"], "BC": ["AD"], "BD": ["AC"], "CD": ["AB"],
    }  # fmt: skip


def test_the_other_half_fraction_of_four_factors() -> None:
    # Jain, section 19.3: D = AB gives I = ABD, resolution III.
    design = Fraction.parse(4, ["D=AB"])
    assert (design.relation(), design.resolution) == ("I = ABD", 3)
    assert design.aliases("A") == ["BD"]
    assert design.aliases("C") == ["ABCD"]
    assert design.aliases("ABC") == ["CD"]


def test_sixteenth_fraction_of_seven_factors() -> None:
    # Jain, section 19.2, the 2^(7-4) design, its 16 words of the identity in the book's own list.
    design = Fraction.parse(7, SEVEN_FOUR)
    book = "ABD ACE BCF ABCG BCDE ACDF CDG ABEF BEG AFG DEF ADEG BDFG CEFG ABCDEFG".split()
    assert {"".join(sorted(word)) for word, sign in design.defining_words() if sign == 1} == set(book)
    assert len(design.defining_words()) == 15
    assert design.resolution == 3


def test_columns_are_orthogonal_and_balanced() -> None:
    design = Fraction.parse(7, SEVEN_FOUR)
    signs = np.array([[run[letter] for letter in "ABCDEFG"] for run in design.runs()])
    assert signs.shape == (8, 7)
    assert np.array_equal(signs.T @ signs, 8 * np.eye(7))
    assert np.array_equal(signs[:, 6], signs[:, 0] * signs[:, 1] * signs[:, 2])


def test_negative_generator_takes_the_other_half() -> None:
    plus, minus = (Fraction.parse(3, [text]) for text in ("C=AB", "C=-AB"))
    assert minus.relation() == "I = -ABC"
    assert minus.aliases("C") == ["-AB"]
    together = [tuple(run.items()) for run in plus.runs() + minus.runs()]
    assert len(set(together)) == 8


def test_two_generators_multiply() -> None:
    # 2^(5-2) with D = AB, E = AC: I = ABD = ACE = BCDE (Box, Hunter & Hunter, table 6.15).
    design = Fraction.parse(5, ["D=AB", "E=AC"])
    assert design.relation() == "I = ABD = ACE = BCDE"
    assert design.aliases("A") == ["BD", "CE", "ABCDE"]


def test_full_design_confounds_nothing() -> None:
    design = Fraction.parse(3, [])
    assert design.resolution is None
    assert design.relation() == "I"
    assert len(design.runs()) == 8


def test_resolution_five() -> None:
    assert Fraction.parse(5, ["E=ABCD"]).resolution == 5


@pytest.mark.parametrize(
    ("generators", "fault"),
    [
        (["D"], "not a generator"),
        (["D=A"], "not a generator"),
        (["D=AAB"], "not a generator"),
        (["D=ABD"], "not a generator"),
        (["DE=AB"], "not a generator"),
        (["F=AB"], "names F"),
        (["D=ABX"], "names X"),
        (["D=AB", "D=AC"], "one factor twice"),
        (["D=AB", "E=AD"], "another added factor"),
    ],
)
def test_bad_generators(generators: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Fraction.parse(5, generators)


def test_too_many_factors() -> None:
    with pytest.raises(InputError, match="has 17 factors"):
        Fraction.parse(17, [])
