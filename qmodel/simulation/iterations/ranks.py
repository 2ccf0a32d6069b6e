"""Ranks by row: the rank of an arriving request is copied into the row that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from qmodel.simulation.kernels.rank import SEEN, Form, Own


def copy_rank(form: Form | Own, row: int, arriving: Form | Own, at: int) -> None:
    """Write what the rank of arrival `at` reads into this row."""
    if isinstance(form, Form):
        _copy_form(form, row, arriving, at)  # type: ignore[arg-type]
    else:
        _copy_own(form, row, arriving, at)  # type: ignore[arg-type]


def _copy_form(form: Form, row: int, arriving: Form, at: int) -> None:
    form.key[row] = arriving.key[at]
    if arriving.limit.size:
        form.limit[row] = arriving.limit[at]


def _copy_own(form: Own, row: int, arriving: Own, at: int) -> None:
    form.seen[row] = arriving.seen[at]


@overload(copy_rank, strict=False, jit_options={"forceinline": True})
def _copy_rank(form: Any, row: Any, arriving: Any, at: Any) -> Any:
    return _copy_form if "key" in form.fields else _copy_own


def by_row(arriving: Form | Own, rows: int) -> Form | Own:
    """The same ranks with room for so many rows, in place of one entry a request."""
    if isinstance(arriving, Form):
        limit = np.empty(rows if arriving.limit.size else 0)
        return arriving._replace(key=np.empty(rows), limit=limit)
    return arriving._replace(seen=np.empty(rows, dtype=SEEN))
