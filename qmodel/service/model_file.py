"""Reading and writing the model file: JSON, schema `qmodel.model/1`, checked strictly, nothing executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.files import write_atomically
from qmodel.service.domain import Categorical, Domain, Numeric
from qmodel.service.form_registry import form_from_json
from qmodel.service.forms import Form, finite
from qmodel.service.model import Residual, ServiceModel
from qmodel.service.terms import Array

SCHEMA = "qmodel.model/1"
LARGE = 32
REQUIRED = ("schema", "response", "form", "terms", "coefficients", "covariance", "domain")
OPTIONAL = (
    *("phase", "link", "residual", "ratios", "reference", "degrees_of_freedom", "out_of_memory"),
    *("statistics", "anova", "data_sha256", "provenance", "floor"),
)


def write_model(model: ServiceModel, path: Path) -> None:
    """Write `model` to `path` by way of a temporary name; raises InputError where that cannot be done."""
    text = json.dumps(to_json(model), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, text)


def read_model(path: Path) -> ServiceModel:
    """Read and check a model file; raises InputError naming file and place."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "give a model file") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not text", "give a model file written by 'qmodel fit'") from None
    return from_json(_parsed(text, str(path)), str(path))


def to_json(model: ServiceModel) -> dict[str, Any]:
    """The model as plain JSON values; floats survive the round trip exactly."""
    return _plain(
        {
            "schema": SCHEMA,
            "response": model.response,
            "phase": model.phase,
            **model.form.to_json(),
            "ratios": model.ratios,
            "reference": model.reference,
            "covariance": _covariance_json(model.covariance),
            "degrees_of_freedom": _or_null(model.degrees_of_freedom),
            "link": "identity",
            "residual": {
                "kind": "multiplicative",
                "distribution": model.residual.distribution,
                "scv": model.residual.scv,
                "source": model.residual.source,
                "degrees_of_freedom": _or_null(model.residual.degrees_of_freedom),
                "quantiles": list(model.residual.quantiles),
            },
            "domain": {name: _span_json(span) for name, span in model.domain.spans.items()},
            "out_of_memory": list(model.domain.out_of_memory),
            "statistics": model.statistics,
            "anova": list(model.anova),
            "data_sha256": model.data_sha256,
            "provenance": model.provenance,
            **({} if model.floor is None else {"floor": model.floor.to_json()}),
        }
    )


def _covariance_json(covariance: Array) -> Any:
    """The matrix, or its diagonal alone where there is nothing else and it is large, as a table's is."""
    diagonal = np.diag(covariance)
    if len(diagonal) > LARGE and np.count_nonzero(covariance) == np.count_nonzero(diagonal):
        return {"diagonal": diagonal.tolist()}
    return covariance.tolist()


def from_json(data: Any, place: str = "model") -> ServiceModel:
    """Check plain JSON values and build the model; raises InputError naming the place of the first fault."""
    _check_keys(data, place)
    form, floor = form_from_json(data, place), _floor(data, place)
    domain = _domain(data, (*form.factors, *(floor.factors if floor else ())), place)
    reference, ratios = _mapping(data, "reference", place), _ratios(data, place)
    free = sum(len(by_level) - 1 for by_level in ratios.values())
    for name, by_level in ratios.items():
        _check_ratio(name, by_level, reference, domain, place)
    return ServiceModel(
        form=form,
        covariance=_covariance(data["covariance"], len(form.coefficients) + free, place),
        domain=domain,
        response=_text(data["response"], f"{place}, response"),
        phase=None if data.get("phase") is None else _text(data["phase"], f"{place}, phase"),
        residual=_residual(_mapping(data, "residual", place), f"{place}, residual"),
        ratios=ratios,
        reference=reference,
        degrees_of_freedom=_degrees(data.get("degrees_of_freedom"), place),
        statistics=_mapping(data, "statistics", place),
        anova=_records(data.get("anova", []), f"{place}, anova"),
        data_sha256=_text(data.get("data_sha256", ""), f"{place}, data_sha256"),
        provenance=_mapping(data, "provenance", place),
        floor=floor,
    )


def _floor(data: Mapping[str, Any], place: str) -> Form | None:
    if data.get("floor") is None:
        return None
    entry = _mapping(data, "floor", place)
    if not {"form", "terms", "coefficients"} <= entry.keys():
        raise InputError(f"{place}, floor", "is no form", "give form, terms and coefficients")
    return form_from_json(entry, f"{place}, floor")


def _parsed(text: str, place: str) -> Any:
    def constant(name: str) -> NoReturn:
        raise InputError(place, f"holds {name}, which is not a finite number", "fit the model again")

    try:
        return json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as error:
        fault = f"is not JSON ({error.msg})"
        raise InputError(f"{place}, line {error.lineno}", fault, "give a model file") from None
    except RecursionError:
        raise InputError(place, "is nested too deeply to be a model", "give a model file") from None


def _check_keys(data: Any, place: str) -> None:
    if not isinstance(data, dict):
        raise InputError(place, "is not a JSON object", "give a model file written by 'qmodel fit'")
    if data.get("schema") != SCHEMA:
        raise InputError(f"{place}, schema", f"is {data.get('schema')!r}", f'this version reads "{SCHEMA}"')
    for key in data:
        if key not in REQUIRED and key not in OPTIONAL:
            raise InputError(f"{place}, {key}", "is an unknown key", nearest(key, [*REQUIRED, *OPTIONAL]))
    for key in REQUIRED:
        if key not in data:
            raise InputError(f"{place}, {key}", "is missing", "fit the model again")
    if data.get("link", "identity") != "identity":
        raise InputError(f"{place}, link", f"'{data['link']}' is unknown", "known: identity")


def _domain(data: Mapping[str, Any], needed: tuple[str, ...], place: str) -> Domain:
    raw = _mapping(data, "domain", place)
    spans = {name: _span(value, f"{place}, domain.{name}") for name, value in raw.items()}
    for factor in needed:
        if factor not in spans:
            raise InputError(f"{place}, domain", f"does not give the levels of '{factor}'", "add its range")
    cells = _records(data.get("out_of_memory", []), f"{place}, out_of_memory")
    for k, cell in enumerate(cells):
        for name, level in cell.items():
            where = f"{place}, out_of_memory[{k}].{name}"
            if name not in spans:
                raise InputError(where, "is not a factor of the domain", nearest(name, list(spans)))
            if isinstance(spans[name], Numeric):
                finite(level, where)
    return Domain(spans, tuple(cells))


def _span(value: Any, place: str) -> Numeric | Categorical:
    if not isinstance(value, dict) or not ({"low", "high"} <= value.keys() or "levels" in value):
        raise InputError(place, "gives neither low and high nor levels", 'write {"low": 1, "high": 64}')
    levels = value.get("levels", [])
    if not isinstance(levels, list):
        raise InputError(f"{place}.levels", "is not a list")
    if "low" not in value:
        return Categorical(tuple(_text(x, f"{place}.levels[{k}]") for k, x in enumerate(levels)))
    low, high = finite(value["low"], f"{place}.low"), finite(value["high"], f"{place}.high")
    if low > high:
        raise InputError(place, f"low {low:g} is above high {high:g}", "swap them")
    return Numeric(low, high, tuple(finite(x, f"{place}.levels[{k}]") for k, x in enumerate(levels)))


def _span_json(span: Numeric | Categorical) -> dict[str, Any]:
    if isinstance(span, Categorical):
        return {"levels": list(span.levels)}
    return {"low": float(span.low), "high": float(span.high), "levels": [float(x) for x in span.levels]}


def _ratios(data: Mapping[str, Any], place: str) -> dict[str, dict[str, float]]:
    ratios = {}
    for name, by_level in _mapping(data, "ratios", place).items():
        if not isinstance(by_level, dict) or not by_level:
            raise InputError(f"{place}, ratios.{name}", "is not an object of levels with ratios")
        ratios[name] = {k: finite(v, f"{place}, ratios.{name}.{k}") for k, v in by_level.items()}
    return ratios


def _check_ratio(
    name: str, by_level: Mapping[str, float], reference: Mapping[str, Any], domain: Domain, place: str
) -> None:
    where = f"{place}, ratios.{name}"
    if not isinstance(domain.spans.get(name), Categorical):
        raise InputError(where, "is not a factor with named levels in the domain", "add its levels there")
    if reference.get(name) not in by_level:
        raise InputError(where, f"has no ratio for the reference level {reference.get(name)!r}", "add it")
    for level, ratio in by_level.items():
        if ratio <= 0:
            raise InputError(f"{where}.{level}", f"{ratio!r} is not above 0")


def _covariance(value: Any, size: int, place: str) -> Array:
    where = f"{place}, covariance"
    if isinstance(value, dict) and isinstance(value.get("diagonal"), list) and len(value["diagonal"]) == size:
        diagonal = [finite(x, f"{where}.diagonal[{k}]") for k, x in enumerate(value["diagonal"])]
        if min(diagonal, default=0.0) < 0:
            raise InputError(where, "is not a covariance matrix", "it must have no negative variance")
        return np.diag(diagonal)
    rows = value if isinstance(value, list) else []
    if len(rows) != size or any(not isinstance(row, list) or len(row) != size for row in rows):
        raise InputError(where, f"is not a {size} x {size} matrix", "fit the model again")
    entries = [[finite(x, f"{where}[{i}][{j}]") for j, x in enumerate(row)] for i, row in enumerate(rows)]
    matrix = np.array(entries).reshape(size, size)
    if np.any(np.diag(matrix) < 0) or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
        raise InputError(where, "is not a covariance matrix", "it must be symmetric with no negative variance")
    return matrix


def _residual(data: Mapping[str, Any], place: str) -> Residual:
    known = ("kind", "distribution", "scv", "source", "degrees_of_freedom", "quantiles")
    for key in data:
        if key not in known:
            raise InputError(f"{place}.{key}", "is an unknown key", nearest(key, list(known)))
    scv = finite(data.get("scv", 0.0), f"{place}.scv")
    if scv < 0:
        raise InputError(f"{place}.scv", f"{scv!r} is negative", "a variance is at least 0")
    quantiles = data.get("quantiles", [])
    if not isinstance(quantiles, list):
        raise InputError(f"{place}.quantiles", "is not a list")
    return Residual(
        scv=scv,
        distribution=_text(data.get("distribution", "lognormal"), f"{place}.distribution"),
        source=_text(data.get("source", "given"), f"{place}.source"),
        degrees_of_freedom=_degrees(data.get("degrees_of_freedom"), place),
        quantiles=tuple(finite(x, f"{place}.quantiles[{k}]") for k, x in enumerate(quantiles)),
    )


def _degrees(value: Any, place: str) -> float:
    """Degrees of freedom; null stands for infinitely many."""
    if value is None:
        return math.inf
    number = finite(value, f"{place}, degrees_of_freedom")
    if number <= 0:
        raise InputError(f"{place}, degrees_of_freedom", f"{number!r} is not above 0")
    return number


def _mapping(data: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{place}, {key}", "is not a JSON object")
    return value


def _records(value: Any, place: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or any(not isinstance(row, dict) for row in value):
        raise InputError(place, "is not a list of JSON objects")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(place, f"{value!r} is not text")
    return value


def _or_null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Numpy scalars and tuples as JSON values; what is not a finite number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _or_null(float(value))
    return value
