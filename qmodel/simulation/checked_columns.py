"""Columns that a replay is given: numbers, one a request, and the first row that is wrong named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def checked_column(name: str, values: ArrayLike, n: int | None) -> Floats:
    """The values as a contiguous column of finite numbers, n of them. Raises InputError."""
    try:
        column = np.ascontiguousarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"replay, {name}", "holds text", "give numbers") from error
    if column.ndim != 1 or (n is not None and column.size != n):
        raise InputError(f"replay, {name}", f"has shape {column.shape}", "give one value a request")
    check_rows(name, ~np.isfinite(column), "is not a finite number", "leave the request out")
    return column


def check_rows(name: str, wrong: NDArray[np.bool_], fault: str, remedy: str) -> None:
    """Refuse a column with a wrong row. Raises InputError naming the first one, counted from 1."""
    if wrong.any():
        raise InputError(f"replay, {name}, row {int(np.argmax(wrong)) + 1}", fault, remedy)
