"""What a request takes that an engine serves alone: iteration by iteration, and what its tokens are worth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from qmodel.errors import InputError
from qmodel.scenario import Scenario, System
from qmodel.service.alone_by_tables import AloneByTables
from qmodel.service.alone_time import AloneTime
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.token_worth import TokenWorth, token_worth
from qmodel.workload import Deterministic, Poisson, RequestClass

TAKEN = IterationTime(base=0.01, per_sequence=0.002, per_context_token=3e-6, per_prefill_token=5e-5)


@pytest.mark.parametrize("taken", [TAKEN, replace(TAKEN, per_query_key=2e-6)], ids=["linear", "pairs"])
@pytest.mark.parametrize(("inputs", "outputs"), [(100, 1), (100, 2), (7, 5), (1, 400)])
def test_one_prefill_then_its_decodes(inputs, outputs, taken):
    """The prefill makes the first token; decode j sees the prompt and the j tokens made."""
    each = [taken.seconds(1, inputs + j) for j in range(1, outputs)]
    whole = taken.seconds(1, 0.0, inputs) + math.fsum(each)
    found = AloneTime(taken).predict({"input_tokens": inputs, "output_tokens": outputs})
    assert found == pytest.approx(whole, rel=1e-12)
    assert AloneTime(taken).fingerprint == repr(taken)


def test_a_token_looks_at_the_keys_of_the_mean_context():
    """A pair costs the same whoever asks: 100 prompt tokens and half of 40 output tokens are there."""
    plain = on_engine()
    taken = replace(TAKEN, per_query_key=2e-6)
    linear, packed = (
        token_worth(plain),
        token_worth(replace(plain, system=replace(plain.system, iteration_time=taken))),
    )
    keys = 100 + 20
    assert packed.prompt_s - linear.prompt_s == pytest.approx(2e-6 * keys, rel=1e-9)
    assert packed.output_s - linear.output_s == pytest.approx(2e-6 * keys, rel=1e-9)


MIXED = ServiceModel.affine(
    {"1": 0.01, "batch_size": 1e-3, "batch_size:context_tokens": 2e-6, "prefill_tokens": 5e-5}
)


@pytest.mark.parametrize(("inputs", "outputs"), [(100, 1), (100, 2), (7, 3), (50, 256), (50, 300), (3, 1500)])
def test_by_tables_of_a_linear_model(inputs, outputs):
    """Between the tokens looked at the time is read along a line: nothing is lost where it is one."""
    decodes = [0.01 + 1e-3 + 2e-6 * (inputs + j) for j in range(1, outputs)]
    whole = 0.01 + 5e-5 * inputs + math.fsum(decodes)
    found = AloneByTables(MIXED).predict({"input_tokens": inputs, "output_tokens": outputs})
    assert found == pytest.approx(whole, rel=1e-12)


def chat(**given):
    factors = {"input_tokens": Deterministic(100.0), "output_tokens": Deterministic(40.0)}
    return RequestClass("chat", Poisson(1.0), factors=factors | given)


def on_engine(*classes, **given):
    system = System(batching="continuous", max_batch=8, iteration_time=TAKEN, **given)
    return Scenario(classes or (chat(),), system=system)


def test_tokens_are_worth_their_seconds():
    """A prompt token in a full chunk of 2048; an output token at a context of 100 + 40/2."""
    found = token_worth(on_engine())
    assert found.prompt_s == pytest.approx((0.012 + 2048 * 5e-5) / 2048, rel=1e-12)
    assert found.output_s == pytest.approx(0.012 + 120.0 * 3e-6, rel=1e-12)
    assert found.size(10, 2) == pytest.approx(10 * found.prompt_s + 2 * found.output_s, rel=1e-12)


def test_and_less_where_several_come_at_once_or_chunks_are_short():
    engine = Engine(max_batched_tokens=64, speculative_tokens=1, acceptance=0.5)
    found = token_worth(on_engine(engine=engine))
    assert found.prompt_s == pytest.approx((0.012 + 64 * 5e-5) / 64, rel=1e-12)
    assert found.output_s == pytest.approx((0.012 + 120.0 * 3e-6) / 1.5, rel=1e-12)


def test_means_are_over_the_requests_of_all_classes():
    long = RequestClass(
        "long", Poisson(3.0), factors={"input_tokens": Deterministic(500.0), "output_tokens": Deterministic(80.0)}
    )
    context = (100.0 + 3.0 * 500.0) / 4.0 + 0.5 * (40.0 + 3.0 * 80.0) / 4.0
    assert token_worth(on_engine(chat(), long)).output_s == pytest.approx(0.012 + context * 3e-6, rel=1e-12)


def test_worth_needs_an_iteration_time():
    one = RequestClass("a", Poisson(1.0), service=Deterministic(0.1))
    with pytest.raises(InputError, match="is missing"):
        token_worth(Scenario((one,)))
    assert TokenWorth(1e-4, 0.01).size(100, 3) == pytest.approx(0.04, rel=1e-12)
