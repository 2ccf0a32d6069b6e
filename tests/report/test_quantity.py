"""Numbers, units and intervals in words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.report.quantity import (
    SCALES,
    Estimate,
    Interval,
    Quantity,
    common_decimals,
    fixed,
    number_in,
    p_value,
    scale_for,
    significant,
)


def spaced(value):
    return str(value).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234e-9, "s", "1.23 ns"),
        (12.34e-6, "s", "12.3 µs"),
        (0.0009996, "s", "1.00 ms"),
        (0.9996, "s", "1.00 s"),
        (59.0, "s", "59.0 s"),
        (420.0, "s", "7.00 min"),
        (9000.0, "s", "2.50 h"),
        (0.0, "s", "0 s"),
        (-0.002, "s", "−2.00 ms"),
        (2048.0, "bytes", "2.00 KiB"),
        (1500.0, "J", "1.50 kJ"),
        (0.123, "ratio", "12.3 %"),
        (0.0012, "ratio", "0.12 %"),
        (1.0, "ratio", "100.0 %"),
        (12.3, "percent", "12.3 %"),
        (12.0, "requests/s", "12.0 requests/s"),
        (12345.0, "tokens", "12,345 tokens"),
        (3.14159, "", "3.14"),
        (None, "s", "—"),
        (math.nan, "ratio", "—"),
        (math.inf, "s", "∞ s"),
        (1.5e-12, "", "1.50×10⁻¹²"),
        (2.5e9, "", "2.50×10⁹"),
    ],
)
def test_quantities(value, unit, text):
    assert spaced(Quantity(value, unit)) == text


def test_signs_and_digits():
    assert spaced(Quantity(0.05, "ratio", signed=True)) == "+5.0 %"
    assert spaced(Quantity(0.012345, "s", digits=4)) == "12.35 ms"
    assert fixed(5, 1, signed=True) == "+5.0"
    assert fixed(-0.04, 1, signed=True) == "0.0"
    assert fixed(-math.inf, 1) == "−∞"
    assert significant(-1.5e-9) == "−1.50×10⁻⁹"
    assert significant(None) == "—"


@pytest.mark.parametrize(
    ("p", "text"), [(0.04321, "0.043"), (0.0009, "< 0.001"), (1.0, "1.000"), (None, "—"), (math.nan, "—")]
)
def test_p_values(p, text):
    assert p_value(p).replace("\u00a0", " ") == text


@given(st.floats(1e-9, 1e5))
def test_a_time_in_words_is_the_time(seconds):
    number, unit = str(Quantity(seconds, "s")).split("\u00a0")
    factor = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(seconds, rel=5.01e-3)


def test_intervals():
    assert spaced(Interval(0.0119, 0.0127, "s")) == "11.9 to 12.7 ms"
    assert spaced(Estimate(0.0123, 0.0119, 0.0127, "s")) == "12.3 ms (95 % interval 11.9 to 12.7 ms)"
    assert spaced(Estimate(0.120, 0.1196, 0.1204, "s")) == "120.0 ms (95 % interval 119.6 to 120.4 ms)"
    assert spaced(Estimate(0.0123, None, 0.0127, "s")) == "12.3 ms"
    assert spaced(Estimate(0.0123, math.nan, math.nan, "s")) == "12.3 ms"
    assert spaced(Estimate(0.1, 0.0, math.inf, "s")) == "100 ms (95 % interval 0 to ∞ ms)"
    assert spaced(Estimate(0.1, 0.1, 0.1, "s")) == "100 ms (95 % interval 100 to 100 ms)"


def test_a_column_has_the_scale_of_its_median():
    assert scale_for([1e-4, 0.02, 5.0], "s").symbol == "ms"
    assert scale_for([None, math.nan, 0.0], "s").symbol == "s"
    assert scale_for([], "ratio").symbol == "%"
    assert scale_for([1e-12], "s").symbol == "ns"


def test_decimals_of_a_column():
    ms = scale_for([0.02], "s")
    assert common_decimals([0.00123, 0.0456, 0.789], ms) == 1
    assert common_decimals([0.0000123, 0.0456, 0.789], ms) == 3
    assert common_decimals([], ms) == 0
    assert common_decimals([0.912, 0.082, 0.00012, 0.0056], SCALES["ratio"][0]) == 2
    assert number_in(0.0456, ms) == "45.6"
