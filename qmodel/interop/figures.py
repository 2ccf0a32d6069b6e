"""Aggregated figures of a run as a tidy table: metric, value, unit, and what the tool calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def figures_frame(table: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a figure; `line` becomes the index. Raises InputError where there is none."""
    import pandas as pd

    if not table:
        raise InputError("figures", "none of the known figures is in the file", "fetch it again")
    return pd.DataFrame(list(table)).set_index("line")
