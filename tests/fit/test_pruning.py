import numpy as np
import pytest

from qmodel.fit import fit_measurements
from qmodel.fit.least_squares import DEFAULT
from qmodel.fit.pruning import weakest_term, without
from qmodel.service.model import ServiceModel
from qmodel.service.terms import Term

from .planted import planted


def model(values, errors, freedom=20):
    from dataclasses import replace

    made = ServiceModel.affine(values, domain={"n": (1, 9), "m": (1, 9)})
    return replace(made, covariance=np.diag(np.square(errors)), degrees_of_freedom=freedom)


def test_weakest_term_by_hand():
    """t(20) at 97.5 % is 2.086: n at 2.0 and m at 1.5 standard errors lie inside, the constant is never asked."""
    assert weakest_term(model({"1": 0.1, "n": 2.0, "m": 1.5}, [1.0, 1.0, 1.0])) == Term.parse("m")
    assert weakest_term(model({"1": 0.1, "n": 2.0, "m": 3.0}, [1.0, 1.0, 1.0])) == Term.parse("n")
    assert weakest_term(model({"1": 0.1, "n": 2.1, "m": 3.0}, [1.0, 1.0, 1.0])) is None


def test_a_needed_term_stays():
    result = fit_measurements(planted(0), analysis=False)
    assert without(result.search, Term.parse("batch_size:steps"), DEFAULT) is None


def test_asked_for_terms_stay():
    terms = ["1", "steps", "batch_size:steps", "batch_size"]
    result = fit_measurements(planted(3), terms=terms, analysis=False)
    assert set(result.search.form.labels) == set(terms)


def test_an_idle_term_goes():
    wide = fit_measurements(planted(3), terms=["1", "steps", "batch_size:steps", "batch_size"], analysis=False)
    lean = without(wide.search, Term.parse("batch_size"), DEFAULT)
    assert lean is not None and lean.form.labels == ("1", "steps", "batch_size:steps")
    assert lean.form.weights == pytest.approx((0.002, 0.0003, 0.0002), rel=0.1)
