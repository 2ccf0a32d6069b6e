"""Tables: one scale a column, nothing lost, and how they fit a page."""

import math

import numpy as np
import pandas as pd
import pytest

from qmodel.report.inline import Code, Text, content, plain
from qmodel.report.quantity import Estimate, Interval, Quantity
from qmodel.report.symbols import symbol
from qmodel.report.table import Column, Table, estimates, formatted
from qmodel.report.table_layout import broken_head, fit, layout

SIZES = {"9pt": 100, "8pt": 112, "7pt": 128}


def shown(column, *cells):
    table = formatted(Table("tab:x", "c", (column,), tuple((cell,) for cell in cells)))
    return table.units[0], table.aligns[0], [plain(row[0]).replace("\u00a0", " ") for row in table.rows]


def test_a_column_of_seconds_is_shown_in_milliseconds_with_the_unit_in_its_head():
    assert shown(Column("t", "s"), 0.0012, 0.0456, 0.789, None, math.nan) == (
        "ms",
        "right",
        ["1.2", "45.6", "789.0", "—", "—"],
    )


def test_every_kind_of_cell():
    assert shown(Column("x"), True, np.float64(1.5), "text", Code("f"), content("t"), pd.NA, pd.NaT, np.int64(3))[
        2
    ] == (["yes", "1.50", "text", "f", "t", "—", "—", "3.00"])
    assert shown(Column("x"), False, [1])[2] == ["no", "[1]"]


def test_counts_stay_whole():
    assert shown(Column("n", "requests"), 3, 12, None, 12345) == ("requests", "right", ["3", "12", "—", "12,345"])
    assert shown(Column("n", kind="integer"), 3.0, 480.0)[2] == ["3", "480"]


def test_per_cent_of_a_ratio():
    assert shown(Column("e", "ratio", signed=True), 0.031, -0.026, 0.0) == ("%", "right", ["+3.1", "−2.6", "0.0"])


def test_p_values_and_coefficients():
    assert shown(Column("p", kind="p-value"), 0.2, 1e-9)[2] == ["0.200", "< 0.001"]
    assert shown(Column("b", kind="significant"), 98123.0, 1.23e-7)[2] == ["98,123", "1.23×10⁻⁷"]
    assert shown(Column("b", "s", kind="significant"), 2e-3, 5e-3)[2] == ["2.00", "5.00"]
    assert shown(Column("b", decimals=2), 0.3, 0.85)[2] == ["0.30", "0.85"]


def test_estimates_share_the_scale_of_their_column():
    cells = [
        Estimate(0.0123, 0.0119, 0.0127),
        Estimate(0.051, None, None),
        Interval(0.01, 0.02),
        Interval(None, None),
    ]
    assert shown(Column("t", "s"), *cells) == ("ms", "right", ["12.3 [11.9, 12.7]", "51.0", "[10.0, 20.0]", "—"])


def test_cells_may_bring_their_unit_where_the_column_has_none():
    cells = [Quantity(2.1e-4, "s"), Interval(7.9e-8, 8.4e-8, "s"), Estimate(0.5, 0.4, 0.6, "ratio")]
    assert shown(Column("t"), *cells)[2] == ["210 µs", "[79.0, 84.0] ns", "50.0 [40.0, 60.0] %"]
    assert shown(Column("t", "s"), Quantity(0.002, "s"), 0.001) == ("ms", "right", ["2.00", "1.00"])


def test_no_number_loses_its_unit():
    with pytest.raises(ValueError, match="a cell in J stands in a column in s"):
        formatted(Table("tab:x", "c", (Column("t", "s"),), ((Quantity(1.0, "J"),),)))


def test_rows_must_fill_their_columns():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("tab:x", "c", (Column("a"), Column("b")), ((1,),))


def test_sparse_columns_leave_out_repeats_and_mark_groups():
    columns = (Column("policy", sparse=True), Column("load", decimals=1, sparse=True), Column("x"))
    rows = (("fcfs", 0.3, "a"), ("fcfs", 0.3, "b"), ("fcfs", 0.5, "a"), ("ps", 0.5, "a"))
    table = formatted(Table("tab:x", "c", columns, rows))
    assert [[plain(cell) for cell in row] for row in table.rows] == [
        ["fcfs", "0.3", "a"],
        ["", "", "b"],
        ["", "0.5", "a"],
        ["ps", "0.5", "a"],
    ]
    assert table.group_starts == {3}


def test_from_frame_takes_named_columns_in_order():
    frame = pd.DataFrame({"b": [1.0, None], "a": ["x", "y"], "other": [0, 0]})
    table = Table.from_frame("tab:x", "c", frame, {"a": Column("A"), "b": Column("B", "s")})
    assert table.rows[0] == ("x", 1.0)
    assert plain(formatted(table).rows[1][1]) == "—"
    assert formatted(Table("tab:x", "c", (Column("A"),), ())).rows == ()


def test_estimates_from_a_frame():
    frame = pd.DataFrame({"v": [1.0, 2.0], "lo": [0.9, None], "hi": [1.1, None]})
    assert estimates(frame, "v", "lo", "hi") == [Estimate(1.0, 0.9, 1.1), Estimate(2.0, None, None)]


def test_heads_break_into_lines_no_wider_than_needed():
    lines = broken_head(content("Measured mean response time"), "ms", 6)
    assert [plain(line) for line in lines] == ["Measured", "mean", "response", "time (ms)"]
    assert [plain(line) for line in broken_head((Text("Load "), symbol("rho")), "", 4)] == ["Load x"]


def test_a_table_wraps_words_before_it_shrinks():
    assert fit([10, 10], [False, False], SIZES) == ("9pt", (None, None))
    size, shares = fit([10, 200, 50], [False, True, True], SIZES)
    assert size == "9pt"
    assert shares[0] is None
    assert shares[1] == pytest.approx(2 * shares[2])
    assert 0.7 < shares[1] + shares[2] < 0.9
    assert fit([52, 52], [False, False], SIZES)[0] == "8pt"
    assert fit([300], [False], SIZES) == ("7pt", (None,))
    size, shares = fit([120, 50], [False, True], SIZES)
    assert (size, shares[0]) == ("7pt", None)
    assert shares[1] == pytest.approx(10 / SIZES["7pt"], rel=0.2)  # what is left, 10 characters at least


def test_long_tables_are_known():
    table = Table("tab:x", "c", (Column("a"),), tuple((i,) for i in range(23)))
    assert layout(formatted(table), SIZES).long
