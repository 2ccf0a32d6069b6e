"""Section 5 of a study in batches: the time of an iteration, fitted to whole iterations, and how well it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qmodel.report.document import Block, Column, Formula, Table, finding, paragraph, prose
from qmodel.report.names import counted, sentence_start, words
from qmodel.report.quantity import Quantity
from qmodel.report.sections.evidence import Evidence
from qmodel.service.iteration_time import PAIRS

if TYPE_CHECKING:
    from qmodel.fit.iteration_times import IterationFit, Pairs

SYMBOLS = {
    "base": "", "per_sequence": "n", "per_context_token": "c", "per_prefill_token": "p", PAIRS: "q k",
}  # fmt: skip
MEANING = {
    "base": "each iteration",
    "per_sequence": "each sequence in it",
    "per_context_token": "each token in their KV caches",
    "per_prefill_token": "each prompt token read",
    PAIRS: "each pair of a query and a key",
}
MEANING_OF_BATCHES = {"base": "each batch", "per_sequence": "each request in it"}
CELL = ("batch_size", "context_tokens", "prefill_tokens")


def blocks(study: Evidence, fit: IterationFit) -> Iterator[Block]:
    """What was fitted, the function, its coefficients, and every cell beside what the function says."""
    whole = study.base.system.batching == "dynamic"
    yield paragraph(
        "Requests are served together: a batch is served as one, and its time depends on how many it holds. "
        "That time was measured, and a function with non-negative coefficients was fitted to the cell means with "
        "relative loss:"
        if whole
        else "Requests are served together: each that runs gets a token in every iteration, and prompts are read "
        "beside them. So whole iterations were timed, with all that the server does between two of them, and a "
        "function with non-negative coefficients was fitted to the cell means with relative loss:"
    )
    yield formula(fit, whole)
    yield coefficient_table(study, fit, MEANING_OF_BATCHES if whole else MEANING)
    if fit.pairs is not None:
        yield of_pairs(fit.pairs)
    yield finding(
        "Over {cells} the function is {median} off in the median and {worst} at worst (@tab:iterations).",
        cells=counted(len(fit.cells), "cell"),
        median=Quantity(fit.median_error, "ratio"),
        worst=Quantity(fit.worst_error, "ratio"),
    )
    yield cell_table(study, fit)


def formula(fit: IterationFit, whole: bool) -> Formula:
    """The function with its numbers, in milliseconds."""
    terms = [
        _power(value, r" \cdot 10^{{{}}}") + (rf" \cdot {SYMBOLS[name]}" if SYMBOLS[name] else "")
        for name, value in fit.coefficients.items()
        if value
    ]
    plain = [
        f"{_power(value, ' dot 10^({})')} {SYMBOLS[name]}".strip()
        for name, value in fit.coefficients.items()
        if value
    ]
    what = "for n requests in a batch" if whole else "for n sequences, c tokens in KV caches, p prompt tokens"
    if PAIRS in fit.coefficients:
        what += ", q queries and k keys"
    latex = rf"\frac{{t}}{{\mathrm{{ms}}}} = {' + '.join(terms)}"
    return Formula("eq:iteration", latex, f't / "ms" = {" + ".join(plain)}', f"fitted here, {what}")


def _power(seconds: float, power: str) -> str:
    """Milliseconds, those that are tiny with a power of ten in this shape."""
    digits, _, exponent = f"{1e3 * seconds:.4g}".partition("e")
    return digits + (power.format(int(exponent)) if exponent else "")


def coefficient_table(study: Evidence, fit: IterationFit, meaning: dict[str, str]) -> Table:
    """Each term with what it is for; one that came out as 0 says so."""
    rows = [
        (sentence_start(text), Quantity(fit.coefficients[name], "s", digits=4))
        for name, text in meaning.items()
        if name in fit.coefficients
    ]
    caption = prose("Coefficients of @eq:iteration (measured on {device}).", device=study.device)
    return Table("tab:iteration", caption, (Column("Time for"), Column("Coefficient", align="right")), tuple(rows))


def of_pairs(pairs: Pairs) -> Block:
    """Whether queries times keys were found to cost time, and by what that was judged."""
    if not pairs.kept:
        return finding(
            "A term of queries times keys, as of one dense attention over all requests, was tried and left out: at "
            "levels left out of the fit the function is {without} off without it, {with_them} with it.",
            without=Quantity(pairs.without, "ratio"),
            with_them=Quantity(pairs.with_them, "ratio"),
        )
    return finding(
        "All requests of an iteration go through one attention: each of its queries (q: decoding sequences and "
        "prompt tokens) meets each of its keys (k: tokens in KV caches and prompt tokens), whosever they are. A "
        "pair takes {each} (standard error {error}). At levels left out of the fit the function is {with_them} off "
        "with this term, {without} without it.",
        each=Quantity(pairs.seconds, "s", digits=3),
        error=Quantity(pairs.standard_error, "s", digits=2),
        without=Quantity(pairs.without, "ratio"),
        with_them=Quantity(pairs.with_them, "ratio"),
    )


def cell_table(study: Evidence, fit: IterationFit) -> Table:
    """Measured and fitted time of every cell."""
    factors = [name for name in CELL if name in fit.cells]
    rows = [
        (*(int(cell[name]) for name in factors), int(cell["rows"]), float(cell.mean_s), float(cell.fitted_s),
         float(cell.relative_error))
        for _, cell in fit.cells.iterrows()
    ]  # fmt: skip
    columns = (
        *(Column(sentence_start(words(name))) for name in factors),
        Column("Repetitions"),
        Column("Measured mean", "s"),
        Column("Fitted", "s"),
        Column("Error", "ratio", signed=True),
    )
    caption = prose("Every cell: the measured mean on {device} beside the function.", device=study.device)
    return Table("tab:iterations", caption, columns, tuple(rows))
