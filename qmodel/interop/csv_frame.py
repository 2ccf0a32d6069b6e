"""A CSV file as a frame, line numbers as its index; quick enough for a million rows."""

from __future__ import annotations

import codecs
import io
import warnings
from typing import TYPE_CHECKING

from qmodel.errors import InputError
from qmodel.interop.content import Content

if TYPE_CHECKING:
    import pandas as pd


def csv_frame(content: Content, columns: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Read the CSV; of `columns`, where given, only these. Raises InputError that names the line of a fault.

    A row with too few fields has empty cells at its end; blank lines are passed over (line numbers then count
    from the rows before them).
    """
    import pandas as pd

    names = content.header
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{content.path}, header", f"has column '{twice}' twice", "rename one of them")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(
                io.BytesIO(content.data.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")),
                encoding="utf-8",
                skipinitialspace=True,
                keep_default_na=False,
                na_values=[""],
                header=0,
                names=list(names),
                usecols=None if columns is None else list(columns),
                index_col=False,
                low_memory=True,
            )
    except (pd.errors.ParserWarning, ValueError, OverflowError) as error:
        fault = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise InputError(content.path, f"is not whole CSV ({fault})", "mend that line") from None
    if frame.empty:
        raise InputError(content.path, "has a header but no rows", "give a file with results")
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return frame
