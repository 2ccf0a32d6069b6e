"""Physical reading of a fitted time: implied bandwidth and arithmetic rate, and a roofline floor it may not cross.

A term with B bytes and W operations a unit takes at least max(B / bandwidth, W / rate) a unit, so a coefficient of
c seconds a unit implies B / c bytes/s and W / c operations/s; more than the data sheet's means that this work hides
behind other work. Over a whole cell the time is at least
max(sum of bytes / bandwidth, sum of operations / rate): the roofline of Williams, Waterman and Patterson (2009).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from qmodel.errors import InputError, nearest
from qmodel.fit.cells import Array
from qmodel.fit.datasheets import Device
from qmodel.fit.result import FitResult
from qmodel.fit.wording import number, percent
from qmodel.service.forms import Affine, MaxAffine, design
from qmodel.service.model import ServiceModel
from qmodel.service.terms import Term, level_text

SURPRISING = 1.02
"""A time below the floor, or a rate above the data sheet's, by more than this factor is no measuring error."""

SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
BINARY = {"ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30, "ti": 2.0**40}


@dataclass(frozen=True)
class Work:
    """Bytes moved and operations done for each unit of a term, such as `{"1": 16e9}` bytes of weights a step."""

    bytes: Mapping[str, float] = field(default_factory=dict)
    flops: Mapping[str, float] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether anything was said."""
        return bool(self.bytes or self.flops)


@dataclass(frozen=True)
class HardwareReading:
    """`table`: one row a coefficient, with what it would move and compute at the data sheet's rates and, where the
    work is known, the rates it implies and their share of the sheet's. `warnings`: one sentence each."""

    device: Device
    work: Work
    table: pd.DataFrame
    warnings: tuple[str, ...]
    intensity: Array
    """Operations a byte in each cell; NaN where either is unknown."""

    rate: Array
    """Operations/s attained in each cell; NaN where unknown."""

    floor_share: Array
    """Floor over measured mean in each cell: how much of the time the hardware explains; NaN without work."""

    def sentences(self) -> list[str]:
        """The reading in words."""
        d = self.device
        sheet = f"{number(d.bandwidth / 1e9, 4)} GB/s and {number(d.flops / 1e12, 4)} TFLOP/s (16-bit, dense)"
        out = [f"Data sheet of {d.name}: {sheet}; {d.source}."]
        for label, row in self.table.iterrows():
            if np.isfinite(row["bandwidth"]):
                share = _share(row["bandwidth_share"], "bandwidth")
                out.append(f"{label}: {number(row['bandwidth'] / 1e9, 3)} GB/s, {share}.")
            if np.isfinite(row["flop_rate"]):
                share = _share(row["flop_share"], "rate")
                out.append(f"{label}: {number(row['flop_rate'] / 1e12, 3)} TFLOP/s, {share}.")
        if np.isfinite(self.floor_share).any():
            low, high = (percent(float(x)) for x in (np.nanmin(self.floor_share), np.nanmax(self.floor_share)))
            out.append(
                f"The roofline floor explains {low} to {high} of the measured times; no prediction goes below it."
            )
        return out

    def formatted(self) -> pd.DataFrame:
        """The table as text: what each coefficient has time for at the data sheet's rates."""
        moved, done = self.table["most_bytes"], self.table["most_flops"]
        return pd.DataFrame(
            {
                "coefficient": self.table.index,
                "bytes at full bandwidth": [_scaled(x) for x in moved],
                "FLOP at full rate": [_scaled(x) for x in done],
            }
        )


def _share(share: float, what: str) -> str:
    hidden = ": it hides behind other work" if share > SURPRISING else ""
    return f"{percent(share)} of the sheet's {what}{hidden}"


def parse_work(texts: Sequence[str], option: str) -> dict[str, float]:
    """`TERM=NUMBER` pairs with decimal or binary suffixes. Raises InputError for anything else.

    >>> parse_work(["1=16G", "batch_size:context_tokens=128Ki"], "--bytes")
    {'1': 16000000000.0, 'batch_size:context_tokens': 131072.0}
    """
    work = {}
    for text in texts:
        name, sign, value = text.rpartition("=")
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmgtp]?|[kmgt]i)(?:b|flop)?s?\s*", value.lower())
        if not sign or match is None:
            raise InputError(
                f"{option} {text}", "is no TERM=NUMBER", "write for example batch_size:context_tokens=128Ki"
            )
        try:
            amount = float(match[1])
        except ValueError:
            raise InputError(f"{option} {text}", f"'{match[1]}' is no number", "write for example 1=16e9") from None
        work[str(Term.parse(name.strip(), option))] = amount * (SUFFIXES | BINARY)[match[2]]
    return work


def read_hardware(result: FitResult, device: Device, work: Work | None = None) -> FitResult:
    """`result` with its `hardware` reading, and the floor that the work implies under its model.

    Raises InputError where the response is no time, or a term of `work` is not one of the measured factors.
    """
    if not result.model.response.endswith("_s"):
        raise InputError("device", f"{result.model.response} is no time", "read a time against the data sheet")
    work = work or Work()
    terms = _checked(result, work)
    table = coefficient_rates(result.model, device, work)
    moved, done = (_total(result, terms, amounts) for amounts in (work.bytes, work.flops))
    with np.errstate(divide="ignore", invalid="ignore"):
        intensity = np.where((moved > 0) & (done > 0), done / moved, np.nan)
    rate = np.where(done > 0, done / result.cells.mean, np.nan)
    least = floor_form(device, work)
    floor = (
        np.full(len(result.cells), np.nan)
        if least is None
        else least.evaluate(result.cells.levels) * np.ones(len(result.cells))
    )
    reading = HardwareReading(device, work, table, (), intensity, rate, floor / result.cells.mean)
    reading = replace(reading, warnings=tuple(_findings(result, reading, floor)))
    model = replace(result.model, floor=least) if least is not None else result.model
    return replace(result, model=model, hardware=reading, warnings=(*result.warnings, *reading.warnings))


def floor_form(device: Device, work: Work) -> MaxAffine | None:
    """max(sum of bytes / bandwidth, sum of operations / rate) as a form; None without work."""
    pieces = []
    for amounts, rate in ((work.bytes, device.bandwidth), (work.flops, device.flops)):
        if amounts:
            terms = tuple(Term.parse(text) for text in amounts)
            pieces.append(Affine(terms, tuple(amount / rate for amount in amounts.values())))
    return MaxAffine(tuple(pieces)) if pieces else None


def coefficient_rates(model: ServiceModel, device: Device, work: Work) -> pd.DataFrame:
    """One row a coefficient above zero: bytes and operations it has time for, and the rates its work implies."""
    rows = {}
    for label, (value, _) in model.labelled_coefficients().items():
        if value <= 0 or label.startswith(("ratio ", "exponent of ")):
            continue
        term = label.rsplit(", ", 1)[-1]
        moved, done = work.bytes.get(term, np.nan), work.flops.get(term, np.nan)
        rows[label] = {
            "seconds": value,
            "most_bytes": value * device.bandwidth,
            "most_flops": value * device.flops,
            "bandwidth": moved / value,
            "bandwidth_share": moved / value / device.bandwidth,
            "flop_rate": done / value,
            "flop_share": done / value / device.flops,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("coefficient")


def _scaled(value: float) -> str:
    for suffix in ("P", "T", "G", "M", "k"):
        if abs(value) >= SUFFIXES[suffix.lower()]:
            return f"{number(value / SUFFIXES[suffix.lower()], 3)} {suffix}"
    return number(value, 3)


def _checked(result: FitResult, work: Work) -> dict[str, Term]:
    terms = {text: Term.parse(text, "work") for text in (*work.bytes, *work.flops)}
    known = [*result.measurements.factors]
    for text, term in terms.items():
        for name in term.factors:
            if name not in known:
                raise InputError(f"work of {text}", f"'{name}' is not a factor", nearest(name, known))
    return terms


def _total(result: FitResult, terms: Mapping[str, Term], amounts: Mapping[str, float]) -> Array:
    if not amounts:
        return np.zeros(len(result.cells))
    x = design([terms[text] for text in amounts], result.cells.levels)
    return np.asarray(x @ np.array(list(amounts.values())))


def _findings(result: FitResult, reading: HardwareReading, floor: Array) -> Iterator[str]:
    if np.isnan(floor).all():
        return
    below = np.flatnonzero(result.cells.mean < floor / SURPRISING)
    if len(below):
        k = int(below[np.argmin(result.cells.mean[below] / floor[below])])
        where = ", ".join(f"{n} = {level_text(v)[k]}" for n, v in result.cells.levels.items())
        yield (
            f"{len(below)} of {len(floor)} cells are faster than {reading.device.name} could feed them, "
            f"most of all {where}: {percent(float(1 - result.cells.mean[k] / floor[k]))} below the floor."
        )
    fitted = np.asarray(result.model.predict(result.cells.levels)) * np.ones(len(floor))
    crossed = int(np.sum(fitted < floor * (1 - 1e-9)))
    if crossed:
        cells = f"{crossed} of {len(floor)} cells"
        yield f"The fitted function crosses the roofline floor in {cells}: it is held at the floor."
