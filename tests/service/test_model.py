import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.service.domain import Categorical, Domain, Numeric
from qmodel.service.forms import Affine, MaxAffine
from qmodel.service.model import Residual, ServiceModel
from qmodel.service.model_file import from_json, to_json
from qmodel.service.terms import Term


def terms(*texts):
    return tuple(Term.parse(text) for text in texts)


@pytest.fixture
def digits():
    """0.12 ms + 0.31 ms*steps + 0.20 ms*steps*batch_size, 2 % faster back to back."""
    return ServiceModel(
        form=Affine(terms("1", "steps", "steps:batch_size"), (0.00012, 0.00031, 0.0002)),
        covariance=np.diag([4e-10, 1e-12, 9e-12, 1e-6]),
        domain=Domain(
            {
                "steps": Numeric(5, 50, (5, 10, 50)),
                "batch_size": Numeric(1, 64),
                "pacing": Categorical(("back-to-back", "idle-gaps")),
            },
            ({"batch_size": 64, "steps": 50},),
        ),
        phase="denoise",
        residual=Residual(scv=0.0005, degrees_of_freedom=90),
        ratios={"pacing": {"back-to-back": 0.98, "idle-gaps": 1.0}},
        reference={"pacing": "idle-gaps"},
        degrees_of_freedom=8,
        statistics={"in_sample": {"median": 0.01}},
        anova=[{"effect": "steps", "sum_sq": 1.5, "PR(>F)": 1e-9}],
        data_sha256="ab" * 32,
        provenance={"qmodel": "0.1.0"},
    )


def test_predict_scalar_array_and_reference(digits):
    assert digits.predict({"steps": 10, "batch_size": 4}) == pytest.approx(0.00012 + 0.0031 + 0.008, rel=1e-14)
    assert isinstance(digits.predict({"steps": 10, "batch_size": 4}), float)
    got = digits.predict({"steps": np.array([[10], [20]]), "batch_size": [1, 2, 4], "pacing": "back-to-back"})
    steps, batch = np.array([[10.0], [20.0]]), np.array([1.0, 2.0, 4.0])
    assert got.shape == (2, 3)
    np.testing.assert_allclose(got, 0.98 * (0.00012 + 0.00031 * steps + 0.0002 * steps * batch), rtol=1e-14)
    got = digits.predict({"steps": 10, "batch_size": 1, "pacing": ["idle-gaps", "back-to-back"]})
    np.testing.assert_allclose(got, [0.00522, 0.98 * 0.00522], rtol=1e-13)


def test_factors_and_words(digits):
    assert digits.factors == ("steps", "batch_size")
    assert (digits.response, digits.phase, digits.residual_scv) == ("latency_s", "denoise", 0.0005)
    assert digits.describe() == (
        "latency = 0.12 ms + 0.31 ms*steps + 0.2 ms*batch_size*steps; x 0.98 if pacing = back-to-back"
    )
    assert digits.latex() == (
        r"\mathrm{latency} = \left(0.12\,\mathrm{ms} + 0.31\,\mathrm{ms} \cdot \mathrm{steps} + 0.2\,\mathrm{ms}"
        r" \cdot \mathrm{batch\_size} \cdot \mathrm{steps}\right) \cdot r_{\mathrm{pacing}}"
    )
    assert digits.labelled_coefficients()["ratio pacing[back-to-back]"] == (0.98, 0.001)
    assert digits.labelled_coefficients()["steps"] == (0.00031, 1e-6)


def test_negative_coefficients_read_as_subtraction():
    model = ServiceModel.affine({"1": 0.5, "a": -0.25}, response="energy_j")
    assert model.describe() == "energy = 0.5 J - 0.25 J*a"


def test_interval_by_hand(digits):
    """Gradient (1, 10, 40) and variances 4e-10, 1e-12, 9e-12; t(8) at 97.5 % is 2.306004135."""
    low, high = digits.interval({"steps": 10, "batch_size": 4})
    sd = math.sqrt(4e-10 + 100 * 1e-12 + 1600 * 9e-12)
    assert (high + low) / 2 == pytest.approx(0.01122, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(2.306004135 * sd, rel=1e-9)


def test_interval_counts_the_ratio(digits):
    low, high = digits.interval({"steps": 10, "batch_size": [4, 4], "pacing": "back-to-back"}, confidence=0.9)
    sd = math.sqrt(0.98**2 * (4e-10 + 100 * 1e-12 + 1600 * 9e-12) + 0.01122**2 * 1e-6)
    np.testing.assert_allclose((high - low) / 2, [1.859548038 * sd] * 2, rtol=1e-9)


def test_interval_of_a_given_model_has_no_width():
    model = ServiceModel.affine({"1": 0.002}, residual_scv=0.1)
    assert model.interval({}) == (0.002, 0.002)
    assert (model.residual_scv, model.factors, model.predict({})) == (0.1, (), 0.002)


def test_outside_domain(digits):
    assert digits.outside_domain({"steps": 10, "batch_size": 4}) == []
    assert digits.outside_domain({"steps": [2, 10, 99], "batch_size": 4, "stpes": 1}) == [
        "steps = 99 is outside the measured range 5 to 50",
        "stpes is not a factor of this model: its effect is not in it",
    ]
    assert digits.outside_domain({"steps": 50, "batch_size": 64}) == [
        "out of memory when measured at batch_size = 64, steps = 50"
    ]
    assert digits.outside_domain({"steps": 10, "batch_size": 4, "pacing": "bursts"}) == [
        "pacing = bursts was never measured, only back-to-back, idle-gaps"
    ]
    fixed = ServiceModel.affine({"1": 1.0}, domain={"threads": (1, 1)})
    assert fixed.outside_domain({"threads": 2}) == ["threads = 2 was never measured, only 1"]
    named = Domain({"p": Categorical(("a",)), "n": Numeric(1, 8)}, ({"p": "a", "n": 8},))
    assert named.outside({"p": "a", "n": 8}) == ["out of memory when measured at p = a, n = 8"]
    assert named.outside({"p": "a", "n": 7}) == []


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            {"steps": 10},
            r"^service model: factor 'batch_size' has no level; did you|^service model: .* known: steps",
        ),
        ({"steps": 10, "batch_sise": 4}, r"did you mean 'batch_sise'\?"),
        ({}, "give steps"),
        ({"steps": "ten", "batch_size": 1}, r"factor 'steps': level 'ten' is not a number"),
        ({"steps": math.nan, "batch_size": 1}, r"factor 'steps': level nan is not a finite number"),
        ({"steps": 1, "batch_size": 1, "pacing": "idle"}, r"'idle' was never measured; did you mean 'idle-gaps'\?"),
    ],
)
def test_predict_refuses(digits, levels, message):
    with pytest.raises(InputError, match=message):
        digits.predict(levels)


def test_max_affine():
    form = MaxAffine((Affine(terms("1"), (0.1,)), Affine(terms("1", "tokens"), (0.02, 0.001))))
    domain = Domain({"tokens": Numeric(1, 500)})
    model = ServiceModel(form, np.diag([1e-6, 4e-6, 9e-10]), domain)
    tokens = [10, 79, 81, 500]
    np.testing.assert_allclose(model.predict({"tokens": tokens}), [0.1, 0.1, 0.101, 0.52], rtol=1e-14)
    assert form.active({"tokens": tokens}).tolist() == [0, 0, 1, 1]
    assert form.gradient({"tokens": np.array(tokens)}).tolist()[::3] == [[1, 0, 0], [0, 1, 500]]
    low, high = model.interval({"tokens": 500})
    assert (high - low) / 2 == pytest.approx(1.959963985 * math.sqrt(4e-6 + 500**2 * 9e-10), rel=1e-6)
    assert model.describe() == "latency = max(0.1 s, 20 ms + 1 ms*tokens)"
    assert model.latex().endswith(
        r"\max\{0.1\,\mathrm{s},\; 20\,\mathrm{ms} + 1\,\mathrm{ms} \cdot \mathrm{tokens}\}"
    )
    assert form.with_coefficients(np.array([1.0, 2.0, 3.0])).coefficients.tolist() == [1, 2, 3]
    assert form.labels == ("piece 1, 1", "piece 2, 1", "piece 2, tokens")


def equal(a, b):
    return to_json(a) == to_json(b) and np.array_equal(a.covariance, b.covariance) and a.form == b.form


def test_round_trip_is_exact(digits, tmp_path):
    path = tmp_path / "model.json"
    digits.save(path)
    again = ServiceModel.load(path)
    assert equal(digits, again)
    assert again.domain == digits.domain and again.residual == digits.residual
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


coefficient = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(coefficient, min_size=3, max_size=3), st.floats(0, 1e6))
def test_round_trip_of_any_numbers(weights, variance):
    form = MaxAffine((Affine(terms("1"), (weights[0],)), Affine(terms("x", "x^2"), tuple(weights[1:]))))
    model = ServiceModel(form, np.eye(3) * variance, Domain({"x": Numeric(-1.5, 2)}))
    assert equal(model, from_json(json.loads(json.dumps(to_json(model)))))


def damaged(data, change):
    data = json.loads(json.dumps(data))
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("terms"), "m, terms: is missing"),
        (lambda d: d.update(schema="qmodel.model/9"), "m, schema: is 'qmodel.model/9'; this version reads"),
        (lambda d: d.update(covarience=1), "m, covarience: is an unknown key; did you mean 'covariance'?"),
        (lambda d: d.update(form="polynomial"), "m, form: 'polynomial' is unknown; known: affine, max-affine"),
        (lambda d: d.update(form=["affine"]), "m, form: '['affine']' is unknown"),
        (lambda d: d.update(terms=[]), "m, terms: is not a list with at least one entry"),
        (lambda d: d["terms"].__setitem__(1, "exp(steps)"), 'm, terms[1]: "exp(steps)" is not a term'),
        (lambda d: d["terms"].__setitem__(1, 7), "m, terms[1]: 7 is not text"),
        (lambda d: d["terms"].__setitem__(1, "1"), "m, terms: repeats a term"),
        (lambda d: d["coefficients"].pop(), "m, coefficients: has 2 entries for 3 terms"),
        (lambda d: d["coefficients"].__setitem__(2, None), "m, coefficients[2]: None is not a finite number"),
        (lambda d: d["coefficients"].__setitem__(2, True), "m, coefficients[2]: True is not a finite number"),
        (lambda d: d["coefficients"].__setitem__(2, "1"), "m, coefficients[2]: '1' is not a finite number"),
        (lambda d: d["covariance"].pop(), "m, covariance: is not a 4 x 4 matrix"),
        (lambda d: d["covariance"][0].__setitem__(0, -1.0), "m, covariance: is not a covariance matrix"),
        (lambda d: d["covariance"][0].__setitem__(1, 1.0), "m, covariance: is not a covariance matrix"),
        (lambda d: d["covariance"][0].__setitem__(1, "x"), "m, covariance[0][1]: 'x' is not a finite number"),
        (lambda d: d["domain"].pop("steps"), "m, domain: does not give the levels of 'steps'"),
        (lambda d: d["domain"]["steps"].update(low=99), "m, domain.steps: low 99 is above high 50"),
        (lambda d: d["domain"].update(steps=5), "m, domain.steps: gives neither low and high nor levels"),
        (lambda d: d["domain"]["steps"].update(levels=3), "m, domain.steps.levels: is not a list"),
        (lambda d: d["domain"]["pacing"].update(levels=[3]), "m, domain.pacing.levels[0]: 3 is not text"),
        (lambda d: d.update(domain=[]), "m, domain: is not a JSON object"),
        (lambda d: d.update(domain=3), "m, domain: is not a JSON object"),
        (lambda d: d.update(link="log"), "m, link: 'log' is unknown"),
        (lambda d: d.update(response=3), "m, response: 3 is not text"),
        (lambda d: d.update(reference={}), "m, ratios.pacing: has no ratio for the reference level None"),
        (lambda d: d["ratios"].update(pacing={}), "m, ratios.pacing: is not an object of levels"),
        (
            lambda d: d["ratios"]["pacing"].update({"idle-gaps": 0}),
            "m, ratios.pacing.idle-gaps: 0.0 is not above 0",
        ),
        (
            lambda d: d["domain"].update(pacing={"low": 1, "high": 2}),
            "m, ratios.pacing: is not a factor with named",
        ),
        (lambda d: d["residual"].update(scv=-1), "m, residual.scv: -1.0 is negative"),
        (lambda d: d["residual"].update(svc=1), "m, residual.svc: is an unknown key; did you mean 'scv'?"),
        (lambda d: d["residual"].update(quantiles=1), "m, residual.quantiles: is not a list"),
        (lambda d: d.update(degrees_of_freedom=0), "m, degrees_of_freedom: 0.0 is not above 0"),
        (lambda d: d.update(anova={}), "m, anova: is not a list of JSON objects"),
        (lambda d: d["out_of_memory"][0].update(foo=1), "m, out_of_memory[0].foo: is not a factor of the domain"),
        (lambda d: d["out_of_memory"][0].update(steps="x"), "m, out_of_memory[0].steps: 'x' is not a finite"),
    ],
)
def test_damage_is_named(digits, change, message):
    with pytest.raises(InputError) as caught:
        from_json(damaged(to_json(digits), change), "m")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_pieces_must_match():
    form = MaxAffine((Affine(terms("1"), (0.1,)), Affine(terms("tokens"), (0.001,))))
    data = to_json(ServiceModel(form, np.zeros((2, 2)), Domain({"tokens": Numeric(1, 9)})))
    with pytest.raises(InputError, match="m, coefficients: has 1 pieces, terms has 2"):
        from_json(data | {"coefficients": [[0.1]]}, "m")
    with pytest.raises(InputError, match=r"m, terms\[1\]\[0\]: 5 is not text"):
        from_json(data | {"terms": [["1"], [5]]}, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: is not JSON"),
        (b"{", "line 1: is not JSON"),
        (b"\xff\xfe\x00", "is not text"),
        (b"[1, 2]", "is not a JSON object"),
        (b'{"schema": NaN}', "holds NaN, which is not a finite number"),
        (b'{"schema": -Infinity}', "holds -Infinity, which is not a finite number"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        ServiceModel.load(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_missing_file_and_unwritable_folder(digits, tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file"):
        ServiceModel.load(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another place"):
        digits.save(tmp_path / "file" / "model.json")


def test_loading_imports_numpy_alone(digits, tmp_path):
    digits.save(tmp_path / "model.json")
    code = (
        "import sys; from qmodel.service.model import ServiceModel;"
        f"m = ServiceModel.load({str(tmp_path / 'model.json')!r}); m.predict({{'steps': 5, 'batch_size': 1}});"
        "assert not {'scipy', 'pandas', 'statsmodels', 'matplotlib'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
