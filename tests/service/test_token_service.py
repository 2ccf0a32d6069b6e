"""Service time of a request from its phases."""

import pytest

from qmodel.errors import InputError
from qmodel.service.model import ServiceModel
from qmodel.service.token_service import TokenService

PREFILL = ServiceModel.affine(
    {"1": 0.002, "input_tokens": 1e-5}, residual_scv=0.01, domain={"input_tokens": (16, 256)}
)
DECODE = ServiceModel.affine({"1": 0.001, "context_tokens": 1e-6}, domain={"context_tokens": (16, 512)})


def test_decode_steps_are_summed_over_the_growing_context():
    """The first token comes from the prefill; 3 more see contexts 101, 102 and 103."""
    service = TokenService(PREFILL, DECODE)
    expected = 0.002 + 100e-5 + 3 * 0.001 + (101 + 102 + 103) * 1e-6
    assert service.predict({"input_tokens": 100, "output_tokens": 4}) == pytest.approx(expected, rel=1e-12)


def test_one_token_is_the_prefill_alone():
    service = TokenService(PREFILL, DECODE)
    levels = {"input_tokens": 50, "output_tokens": 1}
    assert service.predict(levels) == service.first_token(levels) == pytest.approx(0.0025, rel=1e-12)


def test_a_decode_time_without_context_counts_every_step():
    service = TokenService(PREFILL, ServiceModel.affine({"1": 0.004}, domain={}))
    assert service.predict({"input_tokens": 100, "output_tokens": 11}) == pytest.approx(
        0.003 + 10 * 0.004, rel=1e-12
    )


def test_other_factors_of_the_phases_are_asked_for():
    decode = ServiceModel.affine(
        {"exit_layer": 0.001, "batch_size:context_tokens": 1e-6},
        domain={"exit_layer": (2, 8), "batch_size": (1, 4), "context_tokens": (16, 512)},
    )
    service = TokenService(PREFILL, decode)
    assert service.factors == ("input_tokens", "output_tokens", "exit_layer")
    found = service.predict({"input_tokens": 100, "output_tokens": 2, "exit_layer": 4})
    assert found == pytest.approx(0.003 + 0.004 + 101e-6, rel=1e-12)


def test_lengths_outside_what_was_measured_are_named():
    service = TokenService(PREFILL, DECODE)
    assert service.outside_domain({"input_tokens": 100, "output_tokens": 100}) == []
    assert len(service.outside_domain({"input_tokens": 300, "output_tokens": 300})) == 2


def test_no_output_token_is_refused():
    with pytest.raises(InputError, match="below 1"):
        TokenService(PREFILL, DECODE).predict({"input_tokens": 10, "output_tokens": 0})


def test_a_prefill_model_without_length_is_refused():
    with pytest.raises(InputError, match="no factor input_tokens"):
        TokenService(DECODE, DECODE)


def test_equal_models_have_equal_fingerprints():
    assert TokenService(PREFILL, DECODE).fingerprint == TokenService(PREFILL, DECODE).fingerprint
    assert TokenService(PREFILL, DECODE).fingerprint != TokenService(PREFILL, PREFILL).fingerprint


def test_requests_are_served_one_at_a_time():
    """Both phases at batch size 1, whatever batches they were timed over."""
    prefill = ServiceModel.affine({"batch_size": 0.002, "input_tokens": 1e-5})
    decode = ServiceModel.affine({"batch_size": 0.001})
    service = TokenService(prefill, decode)
    assert service.first_token({"input_tokens": 100}) == pytest.approx(0.003, rel=1e-12)
    assert service.predict({"input_tokens": 100, "output_tokens": 3}) == pytest.approx(0.005, rel=1e-12)
