"""The iteration time of an engine from fitted models: linear terms, or tables that say exactly the same.

A model over the prompt tokens of an iteration, the tokens cached before them, the sequences that decode and their
mean context is *piecewise multilinear* where no factor multiplies itself: on a grid through all its breaks it is
its own interpolation, and nothing is lost. What is not of this kind is refused by name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.service.composed import AttentionTable, ComposedTime, Curve
from qmodel.service.domain import Numeric
from qmodel.service.forms import Affine, MaxAffine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.sum_form import Component, Sum
from qmodel.service.table_form import Table
from qmodel.service.terms import Term
from qmodel.service.token_service import TokenService

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CHUNK, HISTORY, DECODES, CONTEXT = AXES = ("chunk", "history", "decodes", "context")
NAMES = {
    "prefill_tokens": CHUNK, "prefill_chunk": CHUNK, "chunk": CHUNK,
    "kv_prefill": HISTORY, "history": HISTORY,
    "batch_size": DECODES, "n_decode": DECODES, "decodes": DECODES,
    "context_tokens": CONTEXT, "kv_decode": CONTEXT, "context": CONTEXT,
}  # fmt: skip
"""What a factor of a fitted model is in an iteration; the context is that of a sequence."""
LINEAR = {"1": "base", DECODES: "per_sequence", f"{CONTEXT}:{DECODES}": "per_context_token"} | {
    CHUNK: "per_prefill_token"
}
SUGGESTION = "fit an affine function, one with breaks in single factors, or a table"
PLACE = "system, service"


def iteration_time_of(model: object) -> IterationTime:
    """The linear iteration time that a fitted model tells; its range is not looked at.

    Its sequences are those that decode; here, as in any IterationTime, one that computes its prompt counts too.
    Raises InputError where the model is not linear in sequences, context tokens in all, and prompt tokens.

    >>> mixed = {"1": 0.01, "batch_size": 1e-4, "batch_size:context_tokens": 1e-7, "prefill_tokens": 2e-5}
    >>> iteration_time_of(ServiceModel.affine(mixed))
    IterationTime(base=0.01, per_sequence=0.0001, per_context_token=1e-07, per_prefill_token=2e-05)
    """
    found = None if isinstance(model, TokenService) else _linear(_parts_of(model))
    if found is None:
        fault = f"is no linear iteration time: {_form_name(model)}"
        raise InputError(PLACE, fault, "terms 1, batch_size, batch_size:context_tokens, prefill_tokens")
    return found


def engine_time_of(model: object) -> ComposedTime:
    """The iteration time that a fitted model tells, exactly: tables that know the range measured.

    `model`: a ServiceModel over `batch_size`, `context_tokens` (of a sequence) and `prefill_tokens`, a composition,
    or a TokenService, whose phases add up in an iteration that has both: an upper bound. Raises InputError naming
    the form or factor that cannot be told exactly.

    >>> taken = engine_time_of(ServiceModel.affine({"1": 0.01, "over(prefill_tokens,100)": 1e-4}))
    >>> round(taken.seconds(3, 30, 150), 9)
    0.015
    """
    parts = _parts_of(model)
    return _tables(parts, _form_name(model))


def _parts_of(model: object) -> list[_Part]:
    if isinstance(model, TokenService):
        prompts = _parts(model.prefill, {"input_tokens": CHUNK}, CHUNK)
        return [*prompts, *_parts(model.decode, {}, DECODES)]
    if not isinstance(model, ServiceModel):
        raise InputError(PLACE, "is no fitted model of an iteration", "give a model file")
    parts = _parts(model, {}, None)
    if not any(CHUNK in part.axes for part in parts):
        remedy = "fit prefill_tokens too, or give { prefill = , decode = }"
        raise InputError(PLACE, "says nothing of prompt tokens", remedy)
    return parts


def _form_name(model: object) -> str:
    return model.form.name if isinstance(model, ServiceModel) else "prefill + decode"


@dataclass(frozen=True)
class _Part:
    """`times` x a form, each of whose factors is the sum of its `sources`. It counts where `when` are above 0."""

    form: Any
    sources: dict[str, tuple[str, ...]]
    spans: dict[str, Numeric]
    fixed: dict[str, Any]
    times: float = 1.0
    when: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that it depends on."""
        found = [axis for axes in self.sources.values() for axis in axes]
        return tuple(axis for axis in AXES if axis in (*found, *self.when))

    @property
    def tokens(self) -> str | None:
        """Its only factor, where that is the number of tokens in the iteration, prompt and decoding."""
        over = [name for name, axes in self.sources.items() if set(axes) == {CHUNK, DECODES}]
        return over[0] if len(over) == 1 == len(self.sources) and not self.when else None

    def seconds(self, levels: dict[str, Any]) -> Floats:
        """Its seconds at these levels of its factors."""
        return np.asarray(self.times * self.form.evaluate({**self.fixed, **levels}), dtype=float)


def _parts(model: ServiceModel, names: dict[str, str], when: str | None) -> list[_Part]:
    form = model.form
    components = form.components if isinstance(form, Sum) else (Component("iteration", form),)
    fixed = {name: level for name, level in model.reference.items() if name not in NAMES}
    _refuse_floor(model)
    known, spans = NAMES | names, model.domain.spans
    found = []
    for each in components:
        sources = {}
        for local in each.form.factors:
            axes = tuple(_axis(name, known, fixed) for name in each.sources(local) if name not in fixed)
            if names and axes == (DECODES,):  # a prompt is computed by itself
                fixed = {**fixed, local: 1.0}
            elif axes:
                sources[local] = axes
        own = {}
        for local in sources:
            span = spans.get(local) or spans.get("+".join(each.sources(local)))
            if isinstance(span, Numeric):
                own[local] = span
        needed = tuple(_axis(name, known, fixed) for name in each.when) + ((when,) if when else ())
        found.append(
            _Part(each.form, sources, own, fixed, each.times * _ratio(model), tuple(dict.fromkeys(needed)))
        )
    return found


def _axis(name: str, known: dict[str, str], fixed: dict[str, Any]) -> str:
    if name not in known:
        fault = f"has the factor '{name}', which no iteration has"
        raise InputError(PLACE, fault, "fit over batch_size, context_tokens and prefill_tokens")
    return known[name]


def _ratio(model: ServiceModel) -> float:
    """The product of the ratios at the reference levels."""
    return math.prod(
        by_level[str(model.reference[name])] for name, by_level in model.ratios.items() if name in model.reference
    )


def _refuse_floor(model: ServiceModel) -> None:
    if model.floor is not None:
        raise InputError(PLACE, "is never below a floor of the hardware", "fit without it")
    open_ = [name for name in model.ratios if name not in model.reference]
    if open_:
        raise InputError(PLACE, f"has the factor '{open_[0]}' without a reference level", "fit one level of it")


def _linear(parts: Sequence[_Part]) -> IterationTime | None:
    """The linear terms, where there is nothing else."""
    found = dict.fromkeys(LINEAR.values(), 0.0)
    for part in parts:
        if not isinstance(part.form, Affine) or part.when or part.fixed:
            return None
        if any(len(axes) > 1 for axes in part.sources.values()):
            return None
        for term, weight in zip(part.form.terms, part.form.weights, strict=True):
            plain = all(atom.kind == "power" and atom.argument == 1 for atom in term.atoms)
            name = ":".join(sorted(part.sources[atom.factor][0] for atom in term.atoms)) or "1"
            if not plain or name not in LINEAR or weight < 0:
                return None
            found[LINEAR[name]] += weight * part.times
    return IterationTime(**found) if found["base"] + found["per_sequence"] > 0 else None


def _tables(parts: Sequence[_Part], name: str) -> ComposedTime:
    curves = [part for part in parts if part.tokens]
    grids = [part for part in parts if not part.tokens]
    return ComposedTime(
        dense=_curve(curves) if curves else None,
        attention=_grid(grids) if grids else None,
        name=f"fitted ({name})",
    )


def _curve(parts: Sequence[_Part]) -> Curve:
    """All that depends on the tokens of the iteration alone."""
    at = np.array(sorted(set().union(*(_own_knots(part)[part.tokens or ""] for part in parts))))
    taken = np.zeros(at.size)
    for part in parts:
        assert part.tokens is not None
        own = np.array(sorted(_own_knots(part)[part.tokens]))
        taken += _weights(own, at) @ np.broadcast_to(part.seconds({part.tokens: own}), own.shape)
    return Curve(at, taken)


def _grid(parts: Sequence[_Part]) -> AttentionTable:
    """All parts on one grid, through every break of every part."""
    levels: dict[str, set[float]] = {axis: set() for axis in AXES}
    for part in parts:
        for name, knots in _own_knots(part).items():
            levels[_only_axis(part, name)] |= knots
        for axis in part.when:
            levels[axis] |= {0.0, 1.0}
    axes = [np.array(sorted(levels[axis] or {0.0})) for axis in AXES]
    taken, known = np.zeros([axis.size for axis in axes]), np.ones([axis.size for axis in axes], dtype=bool)
    for part in parts:
        seconds, inside = _on_grid(part, axes)
        taken, known = taken + seconds, known & inside
    chunk, history, decodes, context = axes
    return AttentionTable(chunk, history, decodes, context, taken, known)


def _on_grid(part: _Part, axes: Sequence[Floats]) -> tuple[Floats, NDArray[np.bool_]]:
    """A part's seconds in every cell, its own lines continued; and whether that lies in the range measured."""
    own = {name: np.array(sorted(knots)) for name, knots in _own_knots(part).items()}
    mesh = dict(zip(own, np.meshgrid(*own.values(), indexing="ij"), strict=True))
    values = np.broadcast_to(part.seconds(mesh), [knots.size for knots in own.values()])
    shape = [axis.size for axis in axes]
    inside = np.ones(shape, dtype=bool)
    for name, knots in own.items():
        at = AXES.index(_only_axis(part, name))
        values = np.moveaxis(np.tensordot(_weights(knots, axes[at]), values, axes=(1, 0)), 0, -1)
        span = part.spans.get(name)
        if span is not None:
            inside &= _along((axes[at] >= span.low) & (axes[at] <= span.high), at)
    order = [AXES.index(_only_axis(part, name)) for name in own]
    values = np.transpose(values, np.argsort(order))
    full = values.reshape([shape[at] if at in order else 1 for at in range(len(AXES))])
    counts = np.ones(shape, dtype=bool)
    for axis in part.when:
        counts &= _along(axes[AXES.index(axis)] > 0, AXES.index(axis))
    return np.where(counts, full, 0.0), inside | ~counts


def _along(flags: NDArray[np.bool_], at: int) -> NDArray[np.bool_]:
    return flags.reshape([-1 if axis == at else 1 for axis in range(len(AXES))])


def _weights(old: Floats, new: Floats) -> Floats:
    """Matrix that interpolates from old levels to new ones, and goes on in straight lines."""
    found = np.zeros((new.size, old.size))
    if old.size == 1:
        return found + 1.0
    low = np.clip(np.searchsorted(old, new, side="right") - 1, 0, old.size - 2)
    share = (new - old[low]) / (old[low + 1] - old[low])
    rows = np.arange(new.size)
    found[rows, low], found[rows, low + 1] = 1.0 - share, share
    return found


def _only_axis(part: _Part, name: str) -> str:
    axes = part.sources[name]
    if len(axes) > 1:
        fault = f"has a function of '{' + '.join(axes)}' beside other factors"
        raise InputError(PLACE, fault, SUGGESTION)
    return axes[0]


def _own_knots(part: _Part) -> dict[str, set[float]]:
    """Of each factor of the part, levels through which it is straight lines."""
    knots = {name: {span.low, span.high} if (span := part.spans.get(name)) else set() for name in part.sources}
    if isinstance(part.form, Table):
        if any(part.form.tiles):
            raise InputError(PLACE, "is a table that steps with tiles", SUGGESTION)
        return {name: set(levels) for name, levels in part.form.axes}
    pieces = part.form.pieces if isinstance(part.form, MaxAffine) else (part.form,)
    if not all(isinstance(piece, Affine) for piece in pieces):
        raise InputError(PLACE, f"has the form '{part.form.name}'", SUGGESTION)
    for term in itertools.chain.from_iterable(piece.terms for piece in pieces):
        for name, breaks in _breaks(term, part.fixed).items():
            knots[name] |= breaks
    knots = {name: _two(levels) for name, levels in knots.items()}
    if len(pieces) > 1:
        if len(knots) > 1:
            raise InputError(PLACE, f"has the form 'max-affine' in {' and '.join(knots)}", SUGGESTION)
        for name, levels in knots.items():
            knots[name] = levels | _crossings(pieces, name, part.fixed, levels)
    return knots


def _two(levels: set[float]) -> set[float]:
    """At least two levels, for a straight line has two points."""
    return levels if len(levels) > 1 else {0.0, 1.0} if not levels else levels | {max(levels) + 1.0}


def _breaks(term: Term, fixed: dict[str, Any]) -> dict[str, set[float]]:
    """Where a term bends, by factor. Raises InputError where it is curved."""
    found: dict[str, set[float]] = {}
    for atom in term.atoms:
        if atom.factor in fixed:
            continue
        curved = atom.kind in ("is", "ceil") or (atom.kind == "power" and atom.argument != 1)
        if curved or atom.factor in found:
            raise InputError(PLACE, f"has the term '{term}'", SUGGESTION)
        given = atom.argument if isinstance(atom.argument, tuple) else (atom.argument,)
        found[atom.factor] = set() if atom.kind == "power" else {float(level) for level in given}
    return found


def _crossings(pieces: Sequence[Affine], name: str, fixed: dict[str, Any], levels: set[float]) -> set[float]:
    """Where two pieces of one factor are equal, in each interval between the levels and beyond them."""
    ends = sorted(levels)
    found = set()
    for first, second in itertools.combinations(pieces, 2):
        for low, high in itertools.pairwise((min(0.0, ends[0]), *ends, 2.0 * ends[-1] + 1.0)):
            at_low, at_high = (
                float(first.evaluate({**fixed, name: x}) - second.evaluate({**fixed, name: x})) for x in (low, high)
            )
            if at_low * at_high < 0:
                found.add(low + (high - low) * at_low / (at_low - at_high))
    return found
