"""Models put together from fitted parts, for mixed batches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit.composition import compose, read_composition
from qmodel.service.model import ServiceModel

DENSE = {"1": 1e-3, "tokens": 1e-4}
ATTENTION = {"1": 2e-4, "decodes:context": 1e-7}

TOML = """
[[component]]
name = "dense"
csv = "dense.csv"
response = "time_us"
times = 4
inputs = { tokens = ["chunk", "decodes"] }

[[component]]
name = "attention"
model = "attention.json"
times = 4
when = ["decodes"]
"""


def folder(path):
    rng = np.random.default_rng(0)
    tokens = np.repeat([1.0, 8, 64, 256, 512], 3)
    time_us = 1e6 * (1e-3 + 1e-4 * tokens) * rng.lognormal(0, 0.002, len(tokens))
    pd.DataFrame({"tokens": tokens, "time_us": time_us}).to_csv(path / "dense.csv", index=False)
    model = ServiceModel.affine(ATTENTION, domain={"decodes": (1, 64), "context": (16, 4096)}, residual_scv=0.01)
    model.save(path / "attention.json")
    (path / "mixed.toml").write_text(TOML)
    return path / "mixed.toml"


def test_from_files_to_prediction(tmp_path):
    model = read_composition(folder(tmp_path))
    model.save(tmp_path / "m.json")
    model = ServiceModel.load(tmp_path / "m.json")
    levels = {"chunk": [100.0, 100.0], "decodes": [20.0, 0.0], "context": [1000.0, 16.0]}
    truth = [4 * (1e-3 + 1e-4 * 120 + 2e-4 + 1e-7 * 20000), 4 * (1e-3 + 1e-4 * 100)]
    assert model.predict(levels) == pytest.approx(truth, rel=0.005)
    assert model.residual.scv == 0.01 and set(model.factors) == {"chunk", "decodes", "context"}
    low, high = model.interval(levels)
    assert np.all((low < truth) & (truth < high))
    assert "4 x dense[" in model.describe()


def test_domain_of_the_parts(tmp_path):
    model = read_composition(folder(tmp_path))
    assert model.outside_domain({"chunk": 100.0, "decodes": 0.0, "context": 16.0}) == []
    assert model.outside_domain({"chunk": 500.0, "decodes": 20.0, "context": 16.0}) == [
        "chunk+decodes = 520 is outside the measured range 1 to 512"
    ]
    assert "decodes = 100 is outside" in model.outside_domain({"chunk": 0.0, "decodes": 100.0, "context": 16.0})[0]


def test_ranges_meet():
    a, b = (ServiceModel.affine({"n": 1.0}, domain={"n": span}) for span in ((1, 10), (5, 20)))
    both = compose([("a", a), ("b", b)])
    assert both.outside_domain({"n": 4}) == ["n = 4 is outside the measured range 5 to 10"]
    assert both.predict({"n": 6}) == 12.0
    far = ServiceModel.affine({"n": 1.0}, domain={"n": (30, 40)})
    with pytest.raises(InputError, match="ranges that do not meet"):
        compose([("a", a), ("far", far)])


def test_covariances_stand_apart():
    a = ServiceModel.affine({"1": 1.0}, domain={})
    b = ServiceModel.affine({"n": 1.0}, domain={"n": (1, 9)})
    both = compose(
        [("a", replace(a, covariance=np.array([[4.0]]))), ("b", replace(b, covariance=np.array([[9.0]])))]
    )
    assert both.covariance.tolist() == [[4.0, 0.0], [0.0, 9.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "is not TOML"),
        ("", "component: is missing"),
        ("name = 1\n[[component]]\nmodel = 'attention.json'", "name: is an unknown key"),
        ("[[component]]\nname = 'a'", "needs either csv or model"),
        ("[[component]]\nmodel = 'attention.json'\ntimse = 3", "timse: is an unknown key"),
        ("[[component]]\nmodel = 'attention.json'\ntimes = 0", "times: 0 is no number above 0"),
        ("[[component]]\nmodel = 'attention.json'\nwhen = 'x'", "inputs: are no lists of factors"),
        ("[[component]]\nmodel = 'attention.json'\ninputs = 3", "inputs: are no lists of factors"),
        ("[[component]]\nmodel = 'none.json'", "none.json"),
        (
            "[[component]]\nname='a'\nmodel='attention.json'\n[[component]]\nname='a'\nmodel='attention.json'",
            "needs parts with a name each",
        ),
    ],
)
def test_bad_compositions(text, message, tmp_path):
    folder(tmp_path)
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_composition(tmp_path / "bad.toml")
    assert message in str(caught.value)


def test_parts_that_cannot_be_added(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_composition(tmp_path / "none.toml")
    plain = ServiceModel.affine({"1": 1.0}, domain={})
    with pytest.raises(InputError, match="is itself a sum"):
        compose([("all", compose([("a", plain)]))])
