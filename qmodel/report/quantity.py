"""Numbers as a reader wants them: significant digits, humanised units, and never a unit lost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

DASH = "—"
"""Stands for a number that cannot be had."""

SPACE = "\u00a0"
"""Keeps a number and its unit on one line."""

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """One size of a unit: `factor` base units each; used from `start` base units upwards."""

    factor: float
    symbol: str
    start: float


def decades(unit: str, *prefixes: tuple[float, str]) -> tuple[Scale, ...]:
    """Scales of a unit by prefix, each used from 1 of its own upwards."""
    return tuple(Scale(factor, prefix + unit, factor) for factor, prefix in prefixes)


LONG_TIMES = (Scale(60.0, "min", 300.0), Scale(3600.0, "h", 7200.0))

SCALES: dict[str, tuple[Scale, ...]] = {
    "s": decades("s", (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, "")) + LONG_TIMES,
    "J": decades("J", (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k")),
    "W": decades("W", (1e-3, "m"), (1.0, ""), (1e3, "k")),
    "bytes": decades("B", (1.0, ""), (2.0**10, "Ki"), (2.0**20, "Mi"), (2.0**30, "Gi"), (2.0**40, "Ti")),
    "ratio": (Scale(0.01, "%", 0.0),),
    "percent": (Scale(1.0, "%", 0.0),),
}
"""How base units (the ones in files) are shown. A unit that is not here is shown as it is."""


def scale_for(values: Iterable[float | None], unit: str, digits: int | None = None) -> Scale:
    """The one scale in which all the values read best: that of their median size.

    >>> scale_for([0.0012, 0.0450, 1.9], "s").symbol
    'ms'
    """
    scales = SCALES.get(unit, (Scale(1.0, unit, 0.0),))
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0]
    if not sizes:
        return next((s for s in scales if s.factor == 1.0), scales[0])
    size = rounded(statistics.median(sizes), digits or 3)
    fitting = [s for s in scales if s.start <= size * (1 + 1e-9)]
    return fitting[-1] if fitting else scales[0]


def rounded(value: float, digits: int) -> float:
    """The value to that many significant digits."""
    return float(f"{value:.{max(digits, 1) - 1}e}")


def exponent(value: float) -> int:
    """Power of ten of the leading digit.

    >>> exponent(0.0123), exponent(999.0)
    (-2, 2)
    """
    return math.floor(math.log10(abs(value)) + 1e-12)


def decimals_for(value: float, digits: int) -> int:
    """Decimals that show `digits` significant digits of the value."""
    return 0 if value == 0 else max(0, digits - 1 - exponent(rounded(value, digits)))


def wanted_decimals(value: float, scale: Scale, digits: int | None) -> int:
    """Decimals for a number in its scale: three digits; for per cent two, and one decimal at least below 100 %.

    >>> wanted_decimals(12.34, SCALES["ratio"][0], None), wanted_decimals(0.0123, Scale(1, "s", 1), None)
    (1, 4)
    """
    if digits is None and scale.symbol == "%":
        return max(1 if abs(value) <= 100 else 0, decimals_for(value, 2))
    return decimals_for(value, digits or 3)


def fixed(value: float | None, decimals: int, signed: bool = False) -> str:
    """A number with so many decimals, thousands in groups, a true minus; a dash where there is none.

    >>> fixed(-1234.567, 1), fixed(None, 2), fixed(float("nan"), 2), fixed(-0.001, 1)
    ('−1,234.6', '—', '—', '0.0')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{abs(value):,.{decimals}f}"
    if not any(c in "123456789" for c in text):
        return text
    return ("−" if value < 0 else "+" if signed else "") + text


def significant(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A number to so many significant digits, in powers of ten where it would be very long.

    >>> significant(0.012345), significant(12345.6), significant(1.5e-7)
    ('0.0123', '12,346', '1.50×10⁻⁷')
    """
    if value is None or not math.isfinite(value) or value == 0:
        return "0" if value == 0 else fixed(value, 0)
    power = exponent(rounded(value, digits))
    if -4 <= power < 7:
        return fixed(value, max(0, digits - 1 - power), signed)
    return fixed(value / 10.0**power, digits - 1, signed) + "×10" + str(power).translate(SUPERSCRIPTS)


def number_in(value: float | None, scale: Scale, digits: int | None = None, signed: bool = False) -> str:
    """A base-unit value as a number of that scale, with decimals of its own."""
    if value is None or scale.symbol != "%" or not math.isfinite(value):
        return significant(None if value is None else value / scale.factor, digits or 3, signed)
    shown = value / scale.factor
    return fixed(shown, wanted_decimals(shown, scale, digits), signed)


def p_value(value: float | None) -> str:
    r"""A probability of a test, to three decimals; the very small only bounded.

    >>> p_value(0.04321), p_value(1e-9)
    ('0.043', '<\xa00.001')
    """
    if value is not None and value < 0.001:
        return f"<{SPACE}0.001"
    return fixed(value, 3)


def with_unit(number: str, symbol: str) -> str:
    """A formatted number held to its unit."""
    return number if not symbol or number == DASH else f"{number}{SPACE}{symbol}"


@dataclass(frozen=True)
class Quantity:
    r"""A number with its unit, both in base units; prints itself humanised.

    >>> str(Quantity(0.01234, "s")), str(Quantity(0.0512, "ratio")), str(Quantity(None, "s"))
    ('12.3\xa0ms', '5.1\xa0%', '—')
    """

    value: float | None
    unit: str = ""
    digits: int | None = None
    signed: bool = False

    def __str__(self) -> str:
        scale = scale_for([self.value], self.unit, self.digits)
        return with_unit(number_in(self.value, scale, self.digits, self.signed), scale.symbol)


@dataclass(frozen=True)
class Interval:
    r"""A 95 % interval, in base units.

    >>> str(Interval(0.0119, 0.0127, "s"))
    '11.9 to 12.7\xa0ms'
    """

    low: float | None
    high: float | None
    unit: str = ""
    digits: int | None = None

    def __str__(self) -> str:
        scale = scale_for([self.low, self.high], self.unit, self.digits)
        decimals = common_decimals([self.low, self.high], scale, self.digits)
        low, high = (in_scale(v, scale, decimals) for v in (self.low, self.high))
        return with_unit(f"{low} to {high}", scale.symbol)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, in base units; without one it prints as a quantity.

    >>> str(Estimate(0.0123, 0.0119, 0.0127, "s")).replace(SPACE, " ")
    '12.3 ms (95 % interval 11.9 to 12.7 ms)'
    """

    value: float | None
    low: float | None
    high: float | None
    unit: str = ""
    digits: int | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return all(v is not None and not math.isnan(v) for v in (self.low, self.high))

    def __str__(self) -> str:
        if not self.has_interval:
            return str(Quantity(self.value, self.unit, self.digits))
        scale = scale_for([self.value], self.unit, self.digits)
        decimals = estimate_decimals(self, scale)
        value, low, high = (in_scale(v, scale, decimals) for v in (self.value, self.low, self.high))
        interval = with_unit(f"{low} to {high}", scale.symbol)
        return f"{with_unit(value, scale.symbol)} (95{SPACE}% interval {interval})"


def estimate_decimals(estimate: Estimate, scale: Scale) -> int:
    """Decimals for the value that still show the width of its interval, at most two more than it needs."""
    needed = common_decimals([estimate.value], scale, estimate.digits)
    if not estimate.has_interval:
        return needed
    width = (float(estimate.high or 0) - float(estimate.low or 0)) / 2 / scale.factor
    return max(needed, min(decimals_for(width, 1), needed + 2)) if math.isfinite(width) else needed


def in_scale(value: float | None, scale: Scale, decimals: int, signed: bool = False) -> str:
    """A base-unit value as a number of that scale."""
    return fixed(None if value is None else value / scale.factor, decimals, signed)


def common_decimals(values: Iterable[float | None], scale: Scale, digits: int | None = None) -> int:
    """Decimals for a column: those of its median; up to two more, so that the smallest shows two digits.

    >>> common_decimals([0.00123, 0.0456, 0.789], Scale(1e-3, "ms", 1e-3))
    1
    """
    sizes = [abs(v) / scale.factor for v in values if v is not None and math.isfinite(v) and v != 0]
    if not sizes:
        return 0
    middle = wanted_decimals(statistics.median_low(sizes), scale, digits)
    least = 1 if scale.symbol == "%" and digits is None else min(digits or 3, 2)
    return max(middle, min(decimals_for(min(sizes), least), middle + 2))
