"""The characterisation of arrivals as text that reads well at 80 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

from qmodel.fit.arrivals import ArrivalProfile, Candidate
from qmodel.fit.arrivals_shape import Shape
from qmodel.fit.pasting import inline

INDENT = 18


def profile_lines(found: ArrivalProfile, width: int = 80) -> Iterator[str]:
    """What the arrivals look like, what they may be called, and what they fit."""
    for name, text in _facts(found):
        yield from _entry(name, text, width)
    if found.candidates:
        yield ""
        yield from _table(found)
        yield ""
        yield from _entry("fit", _choice(found), width)


def _entry(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"  {name:<{INDENT - 2}}",
        subsequent_indent=" " * INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _facts(found: ArrivalProfile) -> Iterator[tuple[str, str]]:
    shape, tests = found.shape, found.tests
    yield "arrivals", f"{shape.n:,} in {shape.span_s:.6g} s: {shape.rate:.4g}/s"
    if found.nominal:
        yield "said to be", _nominal(found)
    yield "rate over time", f"{' '.join(f'{rate:.3g}' for rate in shape.rates)} (/s, {len(shape.rates)} windows)"
    lags = ", ".join(f"{value:.2f} at lag {lag}" for lag, value in shape.lags)
    yield "gaps", f"CV {shape.cv:.2f}" + (f"; correlation {lags}" if lags else "")
    if shape.repeated_gaps > 0.1:
        yield (
            "repeated gaps",
            f"{100 * shape.repeated_gaps:.0f} % of the gaps repeat the one before: one draw used again",
        )
    if shape.dispersion:
        values = ", ".join(f"{value:.3g} in {window:g} s" for window, value in shape.dispersion)
        yield "dispersion", f"{values} (variance over mean of counts; 1 for Poisson)"
    yield "silences", _silences(shape)
    yield "stationarity", shape.stationarity.verdict
    yield "Poisson?", tests.verdict
    for note in tests.notes:
        yield "note", note


def _silences(shape: Shape) -> str:
    quiet = shape.silences
    if quiet is None:
        return "none: no gap is too long for the rest"
    return (
        f"{quiet.count} gap(s) of {quiet.from_s:.3g} to {quiet.longest_s:.3g} s take {100 * quiet.share:.0f} % of "
        f"the time; without them {quiet.rate_without:.4g}/s with CV {quiet.cv_without:.2f}"
    )


def _nominal(found: ArrivalProfile) -> str:
    rate = found.tests.nominal_rate
    said = f"{found.nominal}" + (f" at {rate:g}/s" if rate is not None else "")
    if found.refused_name:
        return f"{said}: REFUSED, these arrivals are not Poisson"
    return said + (": nothing against it" if found.tests.poisson else "")


def _table(found: ArrivalProfile) -> Iterator[str]:
    """One row a candidate: parameters, held-out gain, waits at the loads; the record first."""
    loads = [delay.load for delay in found.recorded]
    yield f"  {'':<10}{'':>6}{'gain an arrival':>18}   wait / service at load"
    yield f"  {'process':<10}{'par.':>6}{'held out':>18}   " + "".join(f"{load:>9g}" for load in loads) + "   off"
    yield "  " + "-" * (37 + 9 * len(loads) + 6)
    yield f"  {'record':<10}{'':>6}{'':>18}   " + "".join(f"{_wait(d.value):>9}" for d in found.recorded)
    for one in found.candidates:
        gain = f"{one.gain:+.4f} +- {one.gain_error:.4f}" if one.name != "poisson" else "0"
        waits = "".join(f"{_wait(delay.value):>9}" for delay in one.delays)
        mark = " *" if one is found.chosen else ""
        yield f"  {one.name:<10}{one.parameters:>6}{gain:>18}   {waits}{_off(one):>6}{mark}"


def _wait(value: float) -> str:
    return f"{value:.3g}" if value < 1e4 else f"{value:.1e}"


def _off(one: Candidate) -> str:
    return f"x{math.exp(one.delay_error):.3g}" if one.delay_error < 20 else "-"


def _choice(found: ArrivalProfile) -> str:
    one = found.chosen
    assert one is not None
    why = "no test refuses it" if found.tests.poisson else "the simplest of those whose delays come nearest"
    text = f"{one.name} ({why})"
    if one.delay_error > 0.4 and not found.tests.poisson:
        text += f"; its waits are off by a factor {math.exp(one.delay_error):.2g}: replay the trace instead"
    return text


def spelling(one: Candidate) -> str:
    """The line of a scenario file, `arrivals = { ... }`, that spells the process; empty where there is none.

    >>> from qmodel.workload import Poisson
    >>> spelling(Candidate("poisson", 1, 0.0, 0.0, (), 0.0, process=Poisson(2.5)))
    'arrivals = { process = "poisson", rate = 2.5 }'
    """
    if one.table is None:
        return ""
    return f"arrivals = {inline(one.table)}"
