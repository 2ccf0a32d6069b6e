"""Terms of a service-time function: a closed grammar, read without evaluating anything.

A term is a product of atoms joined by ':'; "1" is the constant. An atom is one of

| text                      | value at the levels of a request or batch      |
|---------------------------|------------------------------------------------|
| `steps`                   | the level                                      |
| `steps^2`                 | a positive integer power of it                 |
| `precision[bf16]`         | 1 where the level is bf16, else 0              |
| `min(tokens,128)`         | the level up to a break                        |
| `over(tokens,128)`        | what exceeds a break: max(tokens - 128, 0)     |
| `between(tokens,128,512)` | what exceeds a break, up to a second one       |
| `ceil(tokens/128)`        | the number of tiles of 128 begun               |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np

from qmodel.errors import InputError

Kind = Literal["power", "is", "min", "over", "between", "ceil"]
Array = np.ndarray[Any, np.dtype[np.float64]]

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_POWER = re.compile(rf"({NAME})(?:\^([1-9][0-9]?))?")
_IS = re.compile(rf"({NAME})\[([^\[\]:]*)\]")
_BREAK = re.compile(rf"(min|over)\(({NAME}),({_NUMBER})\)")
_BETWEEN = re.compile(rf"between\(({NAME}),({_NUMBER}),({_NUMBER})\)")
_TILE = re.compile(rf"ceil\(({NAME})/({_NUMBER})\)")


@dataclass(frozen=True)
class Atom:
    """One factor's contribution to a term; `argument` is its power, level, break or tile."""

    factor: str
    kind: Kind = "power"
    argument: int | float | str | tuple[float, float] = 1

    def __call__(self, levels: Mapping[str, Any]) -> Array:
        """Value at `levels` (factor -> number, text or array of either), as floats."""
        if self.kind == "is":
            return np.asarray(level_text(levels[self.factor]) == self.argument, dtype=float)
        x = np.asarray(levels[self.factor], dtype=float)
        if isinstance(self.argument, tuple):
            low, high = self.argument
            return np.clip(x, low, high) - low
        argument = float(self.argument)
        if self.kind == "min":
            return np.minimum(x, argument)
        if self.kind == "over":
            return np.maximum(x - argument, 0.0)
        if self.kind == "ceil":
            return np.ceil(x / argument)
        return x**argument

    def __str__(self) -> str:
        if self.kind == "is":
            return f"{self.factor}[{_quoted(str(self.argument))}]"
        if isinstance(self.argument, tuple):
            return f"between({self.factor},{_plain(self.argument[0])},{_plain(self.argument[1])})"
        if self.kind == "ceil":
            return f"ceil({self.factor}/{_plain(self.argument)})"
        if self.kind in ("min", "over"):
            return f"{self.kind}({self.factor},{_plain(self.argument)})"
        return self.factor if self.argument == 1 else f"{self.factor}^{self.argument}"

    def words(self) -> str:
        """The atom as a person writes it in a formula."""
        if self.kind == "is":
            return f"[{self.factor}={self.argument}]"
        if isinstance(self.argument, tuple):
            low, high = (_plain(x) for x in self.argument)
            return f"(min(max({self.factor}, {low}), {high}) - {low})"
        if self.kind == "over":
            return f"max({self.factor} - {_plain(self.argument)}, 0)"
        return str(self)

    def latex(self) -> str:
        """The atom in LaTeX mathematics."""
        name = latex_name(self.factor)
        if self.kind == "is":
            return rf"[{name} = {latex_name(str(self.argument))}]"
        if isinstance(self.argument, tuple):
            low, high = (_plain(x) for x in self.argument)
            return rf"\left(\min(\max({name}, {low}), {high}) - {low}\right)"
        if self.kind == "ceil":
            return rf"\lceil {name} / {_plain(self.argument)} \rceil"
        if self.kind == "min":
            return rf"\min({name}, {_plain(self.argument)})"
        if self.kind == "over":
            return rf"\max({name} - {_plain(self.argument)}, 0)"
        return name if self.argument == 1 else f"{name}^{{{self.argument}}}"


@dataclass(frozen=True)
class Term:
    """A product of atoms; no atoms is the constant 1.

    >>> str(Term.parse("steps:batch_size^2"))
    'batch_size^2:steps'
    >>> float(Term.parse("steps:batch_size^2")({"steps": 10, "batch_size": 3}))
    90.0
    """

    atoms: tuple[Atom, ...] = ()

    @classmethod
    def parse(cls, text: str, place: str = "term") -> Term:
        """Read a term; raises InputError where it is not in the grammar.

        >>> Term.parse("open('f')")
        Traceback (most recent call last):
        ...
        qmodel.errors.InputError: term: "open('f')" is not a term; write products such as 'steps:batch_size^2'
        """
        if text == "1":
            return cls()
        atoms = [_parse_atom(part, text, place) for part in text.split(":")]
        return cls(tuple(sorted(atoms, key=str)))

    def __call__(self, levels: Mapping[str, Any]) -> Array:
        """Value at `levels`: the product of its atoms."""
        value = np.asarray(1.0)
        for atom in self.atoms:
            value = value * atom(levels)
        return value

    def __str__(self) -> str:
        return ":".join(str(atom) for atom in self.atoms) or "1"

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors it needs, in the order of its atoms, each once."""
        return tuple(dict.fromkeys(atom.factor for atom in self.atoms))

    def words(self) -> str:
        """`steps*batch_size`, empty for the constant."""
        return "*".join(atom.words() for atom in self.atoms)

    def latex(self) -> str:
        """The product in LaTeX mathematics, empty for the constant."""
        return r" \cdot ".join(atom.latex() for atom in self.atoms)


def latex_name(name: str) -> str:
    r"""A name set upright in mathematics.

    >>> latex_name("batch_size")
    '\\mathrm{batch\\_size}'
    """
    escaped = re.sub(r"([_%$#&{}])", r"\\\1", name.replace("\\", "/"))
    return rf"\mathrm{{{escaped}}}".replace(" ", r"\ ")


def _parse_atom(part: str, text: str, place: str) -> Atom:
    if match := _POWER.fullmatch(part):
        return Atom(match[1], "power", int(match[2] or 1))
    if match := _IS.fullmatch(part):
        return Atom(match[1], "is", unquote(match[2]))
    if (match := _BREAK.fullmatch(part)) and float(match[3]) > 0:
        return Atom(match[2], "min" if match[1] == "min" else "over", float(match[3]))
    if (match := _BETWEEN.fullmatch(part)) and 0 < float(match[2]) < float(match[3]):
        return Atom(match[1], "between", (float(match[2]), float(match[3])))
    if (match := _TILE.fullmatch(part)) and float(match[2]) > 0:
        return Atom(match[1], "ceil", float(match[2]))
    raise InputError(place, f'"{text}" is not a term', "write products such as 'steps:batch_size^2'")


def _quoted(level: str) -> str:
    """Percent-encode what the grammar itself uses, and nothing else."""
    return re.sub(r"[%\[\]:]", lambda match: f"%{ord(match[0]):02X}", level)


def level_text(levels: Any) -> np.ndarray[Any, np.dtype[np.str_]]:
    """Levels as text, whole numbers without a decimal point, so that 4, 4.0 and "4" are one level.

    >>> level_text([4.0, 2.5]).tolist(), level_text("bf16").tolist()
    (['4', '2.5'], 'bf16')
    """
    array = np.asarray(levels)
    if array.dtype.kind in "fiu":
        return np.asarray([_plain(x) for x in array.ravel().tolist()], dtype=str).reshape(array.shape)
    return array.astype(str)


def _plain(number: float | int | str) -> str:
    number = float(number)
    if not np.isfinite(number):
        return str(number)
    return repr(int(number)) if number.is_integer() else repr(number)
