"""Forms beyond affine ones: values by hand, gradients by differences, files that come back the same."""

import json
import math

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from qmodel.errors import InputError
from qmodel.service.domain import Domain, Numeric
from qmodel.service.form_registry import form_from_json
from qmodel.service.forms import Affine
from qmodel.service.model import Residual, ServiceModel, standardised
from qmodel.service.power_law import PowerLaw
from qmodel.service.sum_form import Component, Sum
from qmodel.service.table_form import Table
from qmodel.service.terms import Term

POWER = PowerLaw(("n", "m"), (0.5, 2.0, 0.5, 1.2))
GRID = Table((("n", (1.0, 2.0, 4.0)), ("m", (10.0, 30.0))), (1.0, 2.0, 3.0, 5.0, 4.0, 9.0))
TILED = Table((("n", (60.0, 64.0, 72.0, 128.0)),), (1.0, 1.1, 2.0, 2.2), (64.0,))
DENSE = Affine((Term(), Term.parse("tokens")), (1.0, 0.1))
HEAD = Affine((Term(),), (5.0,))
SUM = Sum(
    (
        Component("dense", DENSE, 2.0, {"tokens": ("chunk", "decodes")}),
        Component("attention", PowerLaw(("decodes",), (0.0, 3.0, 1.0)), when=("decodes",)),
        Component("head", HEAD, when=("chunk",)),
    )
)
CASES = {
    "power": (POWER, {"n": [1.0, 4.0, 9.0], "m": [1.0, 2.0, 3.0]}),
    "grid": (GRID, {"n": [1.5, 4.0, 3.0], "m": [10.0, 20.0, 29.0]}),
    "tiled": (TILED, {"n": [62.0, 66.0, 80.0]}),
    "sum": (SUM, {"chunk": [0.0, 10.0, 20.0], "decodes": [4.0, 0.0, 2.0]}),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_derivative(name):
    form, levels = CASES[name]
    gradient = form.gradient(levels)
    assert gradient.shape == (3, len(form.coefficients)) and len(form.labels) == len(form.coefficients)
    for k, value in enumerate(form.coefficients):
        step = np.zeros(len(form.coefficients))
        step[k] = 1e-6 * max(abs(value), 1.0)
        up, down = (form.with_coefficients(form.coefficients + s * step).evaluate(levels) for s in (1, -1))
        np.testing.assert_allclose(gradient[:, k], (up - down) / (2 * step[k]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_files_come_back_the_same(name, tmp_path):
    form, levels = CASES[name]
    spans = {factor: Numeric(0.0, 200.0) for factor in form.factors}
    size = len(form.coefficients)
    model = ServiceModel(form, np.eye(size) * 0.01, Domain(spans))
    model.save(tmp_path / "m.json")
    again = ServiceModel.load(tmp_path / "m.json")
    assert again.form == form and again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.predict(levels), model.predict(levels))
    low, high = again.interval(levels)
    assert np.all(low < high)
    assert again.describe() and again.latex()


def test_power_law_by_hand():
    assert POWER.evaluate({"n": 4.0, "m": 1.0}) == pytest.approx(0.5 + 2 * 2)
    with pytest.raises(InputError, match="factor 'n': is not above 0"):
        POWER.evaluate({"n": 0.0, "m": 1.0})


def test_table_against_scipy():
    rng = np.random.default_rng(0)
    axes = [np.sort(rng.random(4)), np.sort(rng.random(3)), np.sort(rng.random(5))]
    values = rng.random((4, 3, 5))
    pairs = [("a", "b", "c"), axes]
    table = Table(
        tuple((n, tuple(x.tolist())) for n, x in zip(*pairs, strict=True)), tuple(values.ravel().tolist())
    )
    points = np.column_stack([rng.uniform(x[0], x[-1], 50) for x in axes])
    expected = RegularGridInterpolator(axes, values)(points)
    found = table.evaluate({n: points[:, k] for k, n in enumerate("abc")})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_table_steps_at_its_tiles():
    """62 lies in the tile of 60 and 64, 66 in that of 72, and 80 between 72 and 128 of one tile."""
    expected = [1.05, 2.0, 2.0 + 0.2 * 8 / 56]
    np.testing.assert_allclose(TILED.evaluate({"n": [62.0, 66.0, 80.0]}), expected)
    assert TILED.evaluate({"n": [60.0, 64.0, 72.0, 128.0]}).tolist() == [1.0, 1.1, 2.0, 2.2]


@pytest.mark.parametrize("level", [0.5, 4.5, math.nan])
def test_table_refuses_to_extrapolate(level):
    with pytest.raises(InputError, match="does not extrapolate"):
        GRID.evaluate({"n": level, "m": 20.0})
    assert np.isnan(GRID.inside({"n": level, "m": 20.0}))


def test_table_of_a_single_level():
    table = Table((("n", (3.0,)),), (7.0,))
    assert table.evaluate({"n": 3.0}) == 7.0
    with pytest.raises(InputError, match="outside the table's 3 to 3"):
        table.evaluate({"n": 3.1})


def test_sum_by_hand():
    """Dense counts always, attention with decodes alone, the head with a chunk alone."""
    found = SUM.evaluate({"chunk": [0.0, 10.0, 20.0], "decodes": [4.0, 0.0, 2.0]})
    assert found.tolist() == pytest.approx([2 * 1.4 + 12, 2 * 2.0 + 5, 2 * 3.2 + 6 + 5])
    assert SUM.evaluate({"chunk": 0.0, "decodes": 0.0}) == pytest.approx(2.0)
    assert np.all(SUM.gradient({"chunk": 0.0, "decodes": 0.0})[0, 2:] == 0)
    assert set(SUM.factors) == {"chunk", "decodes"}
    assert SUM.parts({"chunk": 0.0, "decodes": 4.0})["attention"] == 12.0


def test_domain_of_a_sum_of_factors():
    domain = Domain({"chunk+decodes": Numeric(1, 512), "chunk": Numeric(0, 512), "decodes": Numeric(0, 512)})
    assert domain.outside({"chunk": 500, "decodes": 20}) == [
        "chunk+decodes = 520 is outside the measured range 1 to 512"
    ]
    assert domain.outside({"chunk": 100, "decodes": 20}) == []


def test_floor_holds_predictions_and_intervals(tmp_path):
    form = Affine((Term(), Term.parse("n")), (0.0, 1.0))
    floor = Affine((Term(),), (5.0,))
    model = ServiceModel(form, np.eye(2), Domain({"n": Numeric(1, 10)}), floor=floor)
    assert model.predict({"n": [2.0, 8.0]}).tolist() == [5.0, 8.0]
    low, high = model.interval({"n": [2.0, 8.0]})
    assert low[0] == 5.0 and high[0] == 5.0 and low[1] < 8.0 < high[1]
    assert "never below 5 s" in model.describe()
    model.save(tmp_path / "m.json")
    assert ServiceModel.load(tmp_path / "m.json").floor == floor


def test_large_diagonal_covariance_is_written_as_such(tmp_path):
    n = tuple(float(k) for k in range(1, 101))
    model = ServiceModel(Table((("n", n),), n), np.diag(np.arange(100.0)), Domain({"n": Numeric(1, 100)}))
    model.save(tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["covariance"]["diagonal"][3] == 3.0
    np.testing.assert_array_equal(ServiceModel.load(tmp_path / "m.json").covariance, model.covariance)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"form": "spline", "terms": ["n"], "coefficients": [1]}, "form: 'spline' is unknown"),
        ({"form": "power-law", "terms": ["n"], "coefficients": [1, 2]}, "has 2 entries for 1 inputs"),
        ({"form": "power-law", "terms": ["n", "n"], "coefficients": [1, 2, 3, 4]}, "each once"),
        ({"form": "table", "terms": ["n"], "coefficients": [1]}, "is no axis of a table"),
        (
            {"form": "table", "terms": [{"factor": "n", "levels": [2, 1]}], "coefficients": [1, 2]},
            "levels: do not ascend",
        ),
        (
            {"form": "table", "terms": [{"factor": "n", "levels": [1, 2]}], "coefficients": [1]},
            "has 1 values for 2 cells",
        ),
        ({"form": "sum", "terms": [{"label": "a"}], "coefficients": [[1]]}, "is no component of a sum"),
        (
            {"form": "sum", "terms": [{"label": "a", "form": "sum", "terms": []}], "coefficients": [[1]]},
            "is itself a sum",
        ),
        ({"form": "sum", "terms": [{"label": "a"}], "coefficients": [[1], [2]]}, "has 2 entries for 1 components"),
        (
            {
                "form": "sum",
                "terms": [{"label": "a", "form": "affine", "terms": ["1"], "inputs": 3}],
                "coefficients": [[1]],
            },
            "inputs: is not a JSON object",
        ),
        (
            {
                "form": "sum",
                "terms": [{"label": "a", "form": "affine", "terms": ["1"], "when": "n"}],
                "coefficients": [[1]],
            },
            "when: is not a list of factor names",
        ),
    ],
)
def test_damaged_files(data, message):
    with pytest.raises(InputError) as caught:
        form_from_json(data, "m.json")
    assert message in str(caught.value)


def test_damaged_models(tmp_path):
    model = ServiceModel.affine({"1": 1.0}, domain={})
    model.save(tmp_path / "m.json")
    data = json.loads((tmp_path / "m.json").read_text())
    for change, message in (
        ({"floor": {"form": "affine"}}, "floor: is no form"),
        ({"covariance": {"diagonal": [-1.0]}}, "must have no negative variance"),
        ({"covariance": {"diagonal": [1.0, 2.0]}}, "is not a 1 x 1 matrix"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(data | change))
        with pytest.raises(InputError, match=message):
            ServiceModel.load(tmp_path / "bad.json")


@pytest.mark.parametrize("distribution", ["lognormal", "gamma", "empirical"])
def test_law_keeps_mean_and_variance(distribution):
    quantiles = tuple(np.quantile(np.random.default_rng(0).gamma(4, 0.25, 500), np.linspace(0, 1, 101)).tolist())
    law = Residual(0.2, distribution, quantiles=quantiles).law(0.03)
    assert law.mean == pytest.approx(0.03, rel=1e-9) and law.scv == pytest.approx(0.2, rel=1e-6)


def test_law_without_noise_is_one_number():
    law = ServiceModel.affine({"1": 0.002}).law({})
    assert law.mean == 0.002 and law.scv == 0


def test_empirical_values_stay_above_zero():
    assert np.all(standardised([0.1, 0.9, 1.0, 1.1], 5.0) > 0)


def test_one_level_at_which_a_component_counts_is_enough():
    """Three settings of which a chunk is in one alone: a power of the chunk is asked for there."""
    chunks = Sum((Component("chunks", PowerLaw(("chunk",), (0.0, 3.0, 0.5)), when=("chunk",)),))
    found = chunks.evaluate({"chunk": np.array([0.0, 64.0, 0.0])})
    alone = float(chunks.evaluate({"chunk": np.array([64.0])})[0])
    assert found.tolist() == pytest.approx([0.0, alone, 0.0], rel=1e-14) and alone > 0
