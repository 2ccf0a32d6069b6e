"""A model put together from fitted parts: dense layers + attention + a share a sequence, as mixed batches need.

A composition in TOML names the parts, each a model file or a CSV file to be fitted:

    response = "latency_s"

    [[component]]
    name = "dense"
    csv = "dense.csv"               # or model = "dense.json"
    response = "time_us"
    where = { layer = "o_proj" }
    forms = ["table"]
    times = 32                      # layers
    inputs = { tokens = ["prefill_chunk", "n_decode"] }    # the part's factor = the sum of the model's
    when = ["n_decode"]             # counts only where their sum is above zero

Covariances stand side by side, for the parts were measured apart; the residual is the widest of theirs, a bound.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.service.domain import Categorical, Domain, Numeric
from qmodel.service.model import ServiceModel
from qmodel.service.sum_form import Component, Sum

KEYS = (
    *("name", "csv", "model", "times", "inputs", "when"),
    *("response", "unit", "factors", "where", "forms", "terms", "phase"),
)
EXAMPLE = 'write for example [[component]] with name = "dense" and model = "dense.json"'


def compose(
    parts: Sequence[tuple[str, ServiceModel]],
    *,
    times: Mapping[str, float] | None = None,
    inputs: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    when: Mapping[str, Sequence[str]] | None = None,
    response: str = "latency_s",
) -> ServiceModel:
    """The sum of `parts` (name, model): each `times` over, its factors the sums that `inputs` names by part.

    A part in `when` counts only where the sum of the named factors is above zero. Raises InputError for parts with
    ratios, sums of sums, a repeated name, and factors of one name whose measured ranges do not meet.

    >>> dense = ServiceModel.affine({"tokens": 1e-4}, domain={"tokens": (1, 512)})
    >>> head = ServiceModel.affine({"1": 1e-3}, domain={})
    >>> both = compose([("dense", dense), ("head", head)], inputs={"dense": {"tokens": ["chunk", "decodes"]}})
    >>> both.predict({"chunk": 100, "decodes": 20}), both.outside_domain({"chunk": 500, "decodes": 20})
    (0.013000000000000001, ['chunk+decodes = 520 is outside the measured range 1 to 512'])
    """
    _check_parts(parts)
    components = tuple(
        Component(
            name,
            model.form,
            float((times or {}).get(name, 1.0)),
            {local: tuple(names) for local, names in (inputs or {}).get(name, {}).items()},
            tuple((when or {}).get(name, ())),
        )
        for name, model in parts
    )
    covariance = _side_by_side([np.asarray(model.covariance) for _, model in parts])
    widest = max((model.residual for _, model in parts), key=lambda residual: residual.scv)
    freedom = min(model.degrees_of_freedom for _, model in parts)
    pairs = [(c, model) for c, (_, model) in zip(components, parts, strict=True)]
    statistics = {"components": {name: dict(model.statistics) for name, model in parts}}
    provenance = {"components": {name: dict(model.provenance) for name, model in parts}}
    return ServiceModel(
        Sum(components),
        covariance,
        Domain(_spans(pairs)),
        response,
        residual=widest,
        degrees_of_freedom=freedom,
        statistics=statistics,
        provenance=provenance,
    )


def read_composition(path: Path) -> ServiceModel:
    """The model that a composition file describes; paths in it are relative to it. Raises InputError."""
    data = _toml(path)
    entries = data.get("component")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}, component", "is missing", EXAMPLE)
    unknown = [key for key in data if key not in ("component", "response")]
    if unknown:
        raise InputError(
            f"{path}, {unknown[0]}", "is an unknown key", nearest(unknown[0], ["component", "response"])
        )
    parts: list[tuple[str, ServiceModel]] = []
    for k, entry in enumerate(entries):
        place = f"{path}, component {k + 1}"
        _check_entry(entry, place)
        parts.append((str(entry.get("name", f"part {k + 1}")), _part(entry, path.parent, place)))
    named = list(zip((name for name, _ in parts), entries, strict=True))
    return compose(
        parts,
        times={name: float(e.get("times", 1.0)) for name, e in named},
        inputs={name: e.get("inputs", {}) for name, e in named},
        when={name: e.get("when", []) for name, e in named},
        response=str(data.get("response", "latency_s")),
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), "cannot be read", "check the path") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(str(path), f"is not TOML ({error})", EXAMPLE) from None


def _check_entry(entry: Any, place: str) -> None:
    if not isinstance(entry, dict) or ("csv" in entry) == ("model" in entry):
        raise InputError(place, "needs either csv or model", EXAMPLE)
    for key in entry:
        if key not in KEYS:
            raise InputError(f"{place}, {key}", "is an unknown key", nearest(key, list(KEYS)))
    if not isinstance(entry.get("times", 1.0), int | float) or entry.get("times", 1.0) <= 0:
        raise InputError(f"{place}, times", f"{entry['times']!r} is no number above 0", "e.g. 32 layers")
    groups = entry.get("inputs", {})
    lists = [*groups.values(), entry.get("when", [])] if isinstance(groups, dict) else [None]
    if any(not isinstance(names, list) or not all(isinstance(n, str) for n in names) for names in lists):
        raise InputError(f"{place}, inputs", "are no lists of factors", 'e.g. { tokens = ["prefill_chunk"] }')


def _part(entry: Mapping[str, Any], folder: Path, place: str) -> ServiceModel:
    if "model" in entry:
        return ServiceModel.load(folder / str(entry["model"]))
    from qmodel.fit.service_function import fit_measurements
    from qmodel.fit.table import read_profile

    where = {str(k): str(v) for k, v in entry.get("where", {}).items()}
    reading = {key: entry[key] for key in ("response", "unit", "factors", "phase") if key in entry}
    options = {key: entry[key] for key in ("forms", "terms") if key in entry}
    measurements = read_profile(folder / str(entry["csv"]), where=where, **reading)
    return fit_measurements(measurements, analysis=False, **options).model


def _check_parts(parts: Sequence[tuple[str, ServiceModel]]) -> None:
    names = [name for name, _ in parts]
    if not parts or len(set(names)) != len(names):
        raise InputError("composition", "needs parts with a name each", EXAMPLE)
    for name, model in parts:
        if model.ratios or isinstance(model.form, Sum) or model.floor is not None:
            fault = "scales with named levels, has a floor, or is itself a sum"
            raise InputError(f"composition, {name}", fault, "fit each part over numeric factors alone")


def _side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    size = sum(len(block) for block in blocks)
    out, start = np.zeros((size, size)), 0
    for block in blocks:
        end = start + len(block)
        out[start:end, start:end] = block
        start = end
    return out


def _spans(pairs: Sequence[tuple[Component, ServiceModel]]) -> dict[str, Numeric | Categorical]:
    """The range of each factor, or sum of factors, that every part using it has seen.

    A factor under `when`, or in a sum, may be zero.
    """
    spans: dict[str, Numeric | Categorical] = {}
    loose: dict[str, Numeric | Categorical] = {}
    for component, model in pairs:
        for local in component.form.factors:
            sources, span = component.sources(local), model.domain.spans.get(local)
            if span is None:
                continue
            if component.when and isinstance(span, Numeric):
                span = Numeric(min(0.0, span.low), span.high)
            spans["+".join(sources)] = _met("+".join(sources), spans.get("+".join(sources)), span)
            if len(sources) > 1 and isinstance(span, Numeric):
                loose |= {name: Numeric(0.0, span.high) for name in sources if name not in loose}
        loose |= {name: Numeric(0.0, np.finfo(float).max) for name in component.when if name not in loose}
    return {**{name: span for name, span in loose.items() if name not in spans}, **spans}


def _met(name: str, known: Numeric | Categorical | None, span: Numeric | Categorical) -> Numeric | Categorical:
    """What both have seen."""
    if not isinstance(known, Numeric) or not isinstance(span, Numeric):
        return span
    low, high = max(known.low, span.low), min(known.high, span.high)
    if low > high:
        raise InputError(
            f"composition, {name}", "was measured in ranges that do not meet", "measure a common range"
        )
    return Numeric(low, high)
