"""Two-level fractional factorial designs 2^(k-p): generators, what they confound, and their resolution.

Factors are lettered A, B, C, ... in the order of the spec (I is left out: it is the identity). Words multiply
modulo squares: AB x BC = AC. Source: Jain, The Art of Computer Systems Performance Analysis (1991), chapter
19.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from qmodel.errors import InputError

LETTERS = "ABCDEFGHJKLMNOPQ"
Word = frozenset[str]


@dataclass(frozen=True)
class Generator:
    """One added factor, set to the product of base factors: D = ABC, or D = -ABC."""

    letter: str
    base: Word
    sign: int

    @property
    def word(self) -> Word:
        """The word that equals the identity: ABCD for D = ABC."""
        return self.base | {self.letter}


def parse_generator(text: str, letters: Sequence[str]) -> Generator:
    """Read `D=ABC` or `D=-ABC`.

    >>> parse_generator("D=ABC", "ABCD").word == frozenset("ABCD")
    True
    """
    place = f"design generator '{text}'"
    left, equals, right = (part.strip() for part in text.partition("="))
    sign = -1 if right.startswith("-") else 1
    base = right.removeprefix("-").strip()
    if not equals or len(left) != 1 or len(base) < 2 or len(set(base)) < len(base) or left in base:
        raise InputError(place, "is not a generator", "write an added factor and two or more others: D=ABC")
    unknown = sorted(set(left + base) - set(letters))
    if unknown:
        remedy = f"the factors are {', '.join(letters)}, in the order of the spec"
        raise InputError(place, f"names {', '.join(unknown)}, which is no factor here", remedy)
    return Generator(left, frozenset(base), sign)


@dataclass(frozen=True)
class Fraction:
    """A 2^(k-p) design.

    >>> half = Fraction.parse(4, ["D=ABC"])
    >>> half.resolution, half.relation()
    (4, 'I = ABCD')
    >>> half.aliases("AB")
    ['CD']
    """

    letters: tuple[str, ...]
    generators: tuple[Generator, ...]

    @classmethod
    def parse(cls, factors: int, generators: Sequence[str]) -> Fraction:
        """Build from the number of factors and the generators' text; raises InputError if they make no design."""
        if factors > len(LETTERS):
            raise InputError("design", f"has {factors} factors", f"use at most {len(LETTERS)} with generators")
        letters = tuple(LETTERS[:factors])
        parsed = tuple(parse_generator(text, letters) for text in generators)
        added = [one.letter for one in parsed]
        if len(set(added)) < len(added):
            raise InputError("design generators", "set one factor twice", "give each added factor one generator")
        for one in parsed:
            if one.base & set(added):
                raise InputError(
                    "design generators",
                    f"{one.letter} is built from another added factor",
                    "build it from base factors only",
                )
        return cls(letters, parsed)

    @property
    def base(self) -> tuple[str, ...]:
        """Letters that run through all their combinations."""
        added = {one.letter for one in self.generators}
        return tuple(letter for letter in self.letters if letter not in added)

    def runs(self) -> list[dict[str, int]]:
        """Signs of every factor in each of the 2^(k-p) cells; -1 is the first level, +1 the second."""
        return [self._complete(dict(zip(self.base, signs, strict=True))) for signs in self._signs()]

    def _signs(self) -> product[tuple[int, ...]]:
        return product((-1, 1), repeat=len(self.base))

    def _complete(self, signs: dict[str, int]) -> dict[str, int]:
        added = {one.letter: one.sign * prod(signs[b] for b in one.base) for one in self.generators}
        return {letter: (signs | added)[letter] for letter in self.letters}

    def defining_words(self) -> list[tuple[Word, int]]:
        """All words equal to the identity, with their sign: products of every set of generators."""
        words = []
        for size in range(1, len(self.generators) + 1):
            for chosen in combinations(self.generators, size):
                word: Word = frozenset()
                for one in chosen:
                    word = word ^ one.word
                words.append((word, prod(one.sign for one in chosen)))
        return words

    @property
    def resolution(self) -> int | None:
        """Length of the shortest defining word; None for a full design, which confounds nothing.

        III: main effects are confounded with two-factor interactions; IV: those with one another; V: neither.
        """
        return min((len(word) for word, _ in self.defining_words()), default=None)

    def relation(self) -> str:
        """The defining relation as written in textbooks."""
        return " = ".join(["I", *(_spell(word, sign) for word, sign in self.defining_words())])

    def aliases(self, effect: str) -> list[str]:
        """Effects that cannot be told from this one, shortest first."""
        words = [(frozenset(effect) ^ word, sign) for word, sign in self.defining_words()]
        return [_spell(word, sign) for word, sign in sorted(words, key=lambda pair: (len(pair[0]), _spell(*pair)))]

    def alias_table(self, order: int = 2) -> dict[str, list[str]]:
        """Aliases of every effect up to this order (main effects and two-factor interactions)."""
        effects = ["".join(c) for size in range(1, order + 1) for c in combinations(self.letters, size)]
        return {effect: self.aliases(effect) for effect in effects}


def _spell(word: Word, sign: int) -> str:
    return ("-" if sign < 0 else "") + ("".join(sorted(word)) or "I")
