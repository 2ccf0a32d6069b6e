"""The unit of a response, read from its name's suffix, and coefficients written in it for people."""

from __future__ import annotations

import math
from dataclasses import dataclass

SUFFIXES = {"_s": "s", "_j": "J", "_w": "W", "_bytes": "B"}
"""Base unit by column suffix: seconds, joules, watts, bytes."""

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


@dataclass(frozen=True)
class Unit:
    """A base unit; `words` and `latex` scale it so that a person can read the number.

    >>> Unit("s").words(0.00031234), Unit("s").words(-2e-7), Unit("J").words(12.3456)
    ('0.3123 ms', '-0.2 us', '12.35 J')
    """

    symbol: str

    def scaled(self, value: float) -> tuple[float, str]:
        """Value and unit with the prefix that suits it: milli from 0.1 ms to 0.1 s, and so on."""
        for factor, prefix in _PREFIXES[: 1 if self.symbol in ("", "B") else None]:
            if abs(value) >= 0.1 * factor:
                return value / factor, prefix + self.symbol
        small = value != 0 and self.symbol not in ("", "B")
        return (value / 1e-12, "p" + self.symbol) if small else (value, self.symbol)

    def words(self, value: float) -> str:
        """Four significant digits and the unit."""
        number, symbol = self.scaled(value)
        return f"{_digits(number)} {symbol}".strip()

    def latex(self, value: float) -> str:
        """The same in LaTeX mathematics."""
        number, symbol = self.scaled(value)
        if not symbol:
            return _digits(number)
        micro = r"\mu " if symbol.startswith("u") else symbol[:1]
        return rf"{_digits(number)}\,\mathrm{{{micro}{symbol[1:]}}}"


def unit_of(response: str) -> Unit:
    """Unit of a response column by its suffix; empty for a plain number.

    >>> unit_of("latency_s").symbol, unit_of("quality").symbol
    ('s', '')
    """
    return Unit(next((unit for suffix, unit in SUFFIXES.items() if response.endswith(suffix)), ""))


def stem(response: str) -> str:
    """The response's name without its unit.

    >>> stem("latency_s"), stem("peak_memory_bytes")
    ('latency', 'peak_memory')
    """
    suffix = next((suffix for suffix in SUFFIXES if response.endswith(suffix)), "")
    return response.removesuffix(suffix)


def _digits(number: float) -> str:
    """Four significant digits, never in exponent notation below a million.

    >>> _digits(16.949), _digits(0.2), _digits(1234.56)
    ('16.95', '0.2', '1235')
    """
    if number == 0 or not math.isfinite(number) or not 1e-4 <= abs(number) < 1e6:
        return f"{number:.4g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(number))))
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
