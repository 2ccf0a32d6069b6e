"""DistServe: coefficients that its authors fitted, in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding
from qmodel.interop.cells import number
from qmodel.interop.content import Content
from qmodel.interop.figures import figures_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader

DISTSERVE = {"prefill": ("1", "prefill_tokens", "prefill_tokens^2"),
             "decoding_smallbs": ("1", "context_tokens", "batch_size"),
             "decoding_largebs": ("1", "context_tokens", "batch_size")}  # fmt: skip


def is_distserve(content: Content) -> bool:
    """Models -> tensor parallelism -> coefficients."""
    value = content.json
    first = next(iter(value.values()), None) if isinstance(value, dict) and value else None
    inner = next(iter(first.values()), None) if isinstance(first, dict) and first else None
    return isinstance(inner, dict) and {"prefill", "decoding_smallbs"} <= set(inner)


def read_distserve(content: Content, options: Options) -> Imported:
    """Coefficients that others fitted: figures, no measurements."""
    table: list[dict[str, Any]] = []
    for model, degrees in content.json.items():
        for degree, fits in degrees.items():
            for phase, terms in DISTSERVE.items():
                for term, value in zip(terms, fits.get(phase, ()), strict=False):
                    row = {"line": len(table) + 1, "model": model, "tensor_parallel": degree, "phase": phase}
                    table.append(
                        row | {"metric": term, "value": 1e-3 * number(value), "unit": "s", "theirs": phase}
                    )
    if not all(np.isfinite(row["value"]) for row in table):
        raise InputError(content.path, "holds a coefficient that is no number", "fetch it again")
    sentence = "fitted coefficients, no measurements: nothing can be fitted to them or checked against them"
    mapping = [Translation(name, ", ".join(terms), "milliseconds to seconds") for name, terms in DISTSERVE.items()]
    return Imported("", "", "figures", figures_frame(table), mapping, [Finding("fitted", (), sentence)])


READER = Reader("distserve", "DistServe fitted coefficients", is_distserve, read_distserve)
