"""Forms of a service-time function: affine in its terms, and the maximum of affine pieces (roofline).

A form is linear in its coefficients wherever it is smooth, so `gradient` gives the design row of the active
piece, and the variance of a prediction is gradient @ covariance @ gradient. A new form is one class and
one line in `form_registry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from qmodel.errors import InputError
from qmodel.service.terms import Array, Term
from qmodel.service.units import Unit

Levels = Mapping[str, Any]


class Form(Protocol):
    """A function of factor levels with coefficients; what every entry of the registry offers."""

    name: ClassVar[str]

    @property
    def coefficients(self) -> Array:
        """All coefficients as one vector, in the order of the covariance matrix."""

    @property
    def labels(self) -> tuple[str, ...]:
        """A label for each coefficient: its term, and its piece where there are several."""

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors it needs."""

    def evaluate(self, levels: Levels) -> Array:
        """Value at `levels`, in the unit of the response."""

    def gradient(self, levels: Levels) -> Array:
        """Derivative by each coefficient, shape (points, coefficients)."""

    def with_coefficients(self, coefficients: Array) -> Form:
        """The same form with other coefficients."""

    def words(self, unit: Unit) -> str:
        """The formula's right-hand side in plain text."""

    def latex(self, unit: Unit) -> str:
        """The formula's right-hand side in LaTeX mathematics."""

    def to_json(self) -> dict[str, Any]:
        """Keys `form`, `terms`, `coefficients` of the model file."""


def design(terms: Sequence[Term], levels: Levels) -> Array:
    """Matrix of term values, shape (points, terms).

    >>> design([Term(), Term.parse("steps")], {"steps": [1, 2]}).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    shape = np.broadcast_shapes(*(np.shape(value) for value in levels.values())) or (1,)
    columns = [np.broadcast_to(term(levels), shape) for term in terms]
    return np.stack(columns, axis=-1).reshape(-1, len(terms))


@dataclass(frozen=True)
class Affine:
    """A sum of coefficients times terms: c0 + c1*steps + c2*steps*batch_size.

    >>> Affine((Term(), Term.parse("steps")), (0.1, 0.02)).evaluate({"steps": [5, 10]}).tolist()
    [0.2, 0.30000000000000004]
    """

    name: ClassVar[str] = "affine"
    terms: tuple[Term, ...]
    weights: tuple[float, ...]

    @property
    def coefficients(self) -> Array:
        """One for each term."""
        return np.array(self.weights)

    @property
    def labels(self) -> tuple[str, ...]:
        """The terms as text."""
        return tuple(str(term) for term in self.terms)

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors of its terms, each once."""
        return tuple(dict.fromkeys(factor for term in self.terms for factor in term.factors))

    def evaluate(self, levels: Levels) -> Array:
        """Sum over terms; the points come back in the broadcast shape of the levels."""
        total: Any = 0.0
        for term, weight in zip(self.terms, self.weights, strict=True):
            total = total + weight * term(levels)
        return np.asarray(total, dtype=float)

    def gradient(self, levels: Levels) -> Array:
        """The design matrix."""
        return design(self.terms, levels)

    def with_coefficients(self, coefficients: Array) -> Affine:
        """The same terms with other coefficients."""
        return Affine(self.terms, tuple(float(c) for c in coefficients))

    def words(self, unit: Unit) -> str:
        """`0.12 ms + 0.31 ms*steps`."""
        pairs = zip(self.terms, self.weights, strict=True)
        return _joined([unit.words(weight) + _times(term.words()) for term, weight in pairs])

    def latex(self, unit: Unit) -> str:
        """The sum in LaTeX."""
        pairs = zip(self.terms, self.weights, strict=True)
        parts = [unit.latex(weight) + (rf" \cdot {term.latex()}" if term.atoms else "") for term, weight in pairs]
        return _joined(parts)

    def to_json(self) -> dict[str, Any]:
        """`terms` as text beside `coefficients`."""
        return {"form": self.name, "terms": list(self.labels), "coefficients": list(self.weights)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str) -> Affine:
        """Read `terms` and `coefficients`; raises InputError naming the place of a fault."""
        return _affine(data["terms"], data["coefficients"], place, "")


@dataclass(frozen=True)
class MaxAffine:
    """The largest of several affine pieces: a roofline, convex and piecewise affine in its terms.

    >>> roof = MaxAffine((Affine((Term(),), (0.1,)), Affine((Term.parse("tokens"),), (0.001,))))
    >>> roof.evaluate({"tokens": [50, 200]}).tolist()
    [0.1, 0.2]
    """

    name: ClassVar[str] = "max-affine"
    pieces: tuple[Affine, ...]

    @property
    def coefficients(self) -> Array:
        """Those of the first piece, then of the second, and so on."""
        return np.concatenate([piece.coefficients for piece in self.pieces])

    @property
    def labels(self) -> tuple[str, ...]:
        """Terms with the number of their piece."""
        return tuple(f"piece {k}, {label}" for k, piece in enumerate(self.pieces, 1) for label in piece.labels)

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors of all pieces, each once."""
        return tuple(dict.fromkeys(factor for piece in self.pieces for factor in piece.factors))

    def evaluate(self, levels: Levels) -> Array:
        """The largest piece at each point."""
        return np.asarray(np.maximum.reduce(np.broadcast_arrays(*(p.evaluate(levels) for p in self.pieces))))

    def active(self, levels: Levels) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Number (from 0) of the piece that sets the value at each point."""
        values = np.broadcast_arrays(*(piece.evaluate(levels) for piece in self.pieces))
        return np.argmax(np.stack([np.ravel(v) for v in values]), axis=0)

    def gradient(self, levels: Levels) -> Array:
        """The design row of the active piece, zeros for the others."""
        active = self.active(levels)
        blocks = [piece.gradient(levels) for piece in self.pieces]
        return np.hstack([block * (active == k)[:, None] for k, block in enumerate(blocks)])

    def with_coefficients(self, coefficients: Array) -> MaxAffine:
        """The same pieces with other coefficients."""
        ends = np.cumsum([len(piece.terms) for piece in self.pieces])[:-1]
        parts = np.split(np.asarray(coefficients), ends)
        return MaxAffine(tuple(p.with_coefficients(c) for p, c in zip(self.pieces, parts, strict=True)))

    def words(self, unit: Unit) -> str:
        """`max(0.1 s, 1 ms*tokens)`."""
        return "max(" + ", ".join(piece.words(unit) for piece in self.pieces) + ")"

    def latex(self, unit: Unit) -> str:
        """The maximum in LaTeX."""
        return r"\max\{" + r",\; ".join(piece.latex(unit) for piece in self.pieces) + r"\}"

    def to_json(self) -> dict[str, Any]:
        """`terms` and `coefficients` as one list a piece."""
        return {
            "form": self.name,
            "terms": [list(piece.labels) for piece in self.pieces],
            "coefficients": [list(piece.weights) for piece in self.pieces],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str) -> MaxAffine:
        """Read one list of terms and of coefficients a piece; raises InputError."""
        terms, coefficients = (
            listed_in(data["terms"], place, "terms"),
            listed_in(data["coefficients"], place, "coefficients"),
        )
        if len(terms) != len(coefficients):
            raise InputError(f"{place}, coefficients", f"has {len(coefficients)} pieces, terms has {len(terms)}")
        pairs = zip(terms, coefficients, strict=True)
        return cls(tuple(_affine(t, c, place, f"[{k}]") for k, (t, c) in enumerate(pairs)))


def _affine(terms: Any, coefficients: Any, place: str, index: str) -> Affine:
    texts = listed_in(terms, place, "terms" + index)
    numbers = listed_in(coefficients, place, "coefficients" + index)
    if len(texts) != len(numbers):
        fault = f"has {len(numbers)} entries for {len(texts)} terms"
        raise InputError(f"{place}, coefficients{index}", fault, "give one coefficient a term")
    parsed = [_term(text, f"{place}, terms{index}[{k}]") for k, text in enumerate(texts)]
    weights = [finite(number, f"{place}, coefficients{index}[{k}]") for k, number in enumerate(numbers)]
    if len(set(parsed)) != len(parsed):
        raise InputError(f"{place}, terms{index}", "repeats a term", "give each term once")
    return Affine(tuple(parsed), tuple(weights))


def _term(text: Any, place: str) -> Term:
    if not isinstance(text, str):
        raise InputError(place, f"{text!r} is not text", "write a term such as 'steps:batch_size'")
    return Term.parse(text, place)


def listed_in(value: Any, place: str, key: str) -> list[Any]:
    """`value` as a list with at least one entry; raises InputError at `place`."""
    if not isinstance(value, list) or not value:
        raise InputError(f"{place}, {key}", "is not a list with at least one entry")
    return value


def finite(value: Any, place: str) -> float:
    """`value` as a float; raises InputError at `place` where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(place, f"{value!r} is not a finite number")
    return float(value)


def _times(words: str) -> str:
    return f"*{words}" if words else ""


def _joined(parts: Sequence[str]) -> str:
    return " + ".join(parts).replace("+ -", "- ")
