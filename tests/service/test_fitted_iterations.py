"""Fitted models as iteration times: the tables say at every point what the model says, or the model is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.fit.composition import compose
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.domain import Domain, Numeric
from qmodel.service.engine import Engine
from qmodel.service.fitted_iterations import engine_time_of, iteration_time_of
from qmodel.service.forms import Affine, MaxAffine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.table_form import Table
from qmodel.service.terms import Term
from qmodel.service.token_service import TokenService
from qmodel.simulation import simulate
from qmodel.simulation.iterations.replaying import replay_run
from qmodel.theory.batch.engine_answer import continuous_batching
from qmodel.theory.result import Result
from qmodel.workload import Deterministic, Geometric, Poisson, RequestClass

SPANS = {"batch_size": (1.0, 64.0), "context_tokens": (32.0, 4096.0), "prefill_tokens": (0.0, 2048.0)}
BENT = {
    "1": 0.01,
    "batch_size": 2e-4,
    "over(batch_size,16)": 1e-4,
    "batch_size:context_tokens": 1e-7,
    "context_tokens": 1e-6,
    "between(prefill_tokens,128,512)": 2e-5,
}
LINEAR = {"1": 0.01, "batch_size": 2e-4, "batch_size:context_tokens": 2e-7, "prefill_tokens": 2e-5}
TIME = IterationTime(0.01, 2e-4, 2e-7, 2e-5)


def composition() -> ServiceModel:
    levels, taken = (1.0, 64.0, 512.0, 2048.0), (0.01, 0.011, 0.02, 0.06)
    dense = ServiceModel(
        Table((("tokens", levels),), taken), np.zeros((4, 4)), Domain({"tokens": Numeric(1, 2048)})
    )
    attention = ServiceModel.affine(
        {"batch_size:context_tokens": 1e-8}, domain={n: SPANS[n] for n in list(SPANS)[:2]}
    )
    pieces = (Affine((Term(),), (1e-3,)), Affine((Term.parse("prefill_tokens"),), (1e-5,)))
    roof = ServiceModel(MaxAffine(pieces), np.zeros((2, 2)), Domain({"prefill_tokens": Numeric(1, 4096)}))
    return compose(
        [("dense", dense), ("attention", attention), ("roof", roof)],
        inputs={"dense": {"tokens": ["prefill_tokens", "batch_size"]}},
        when={"roof": ["prefill_tokens"], "attention": ["batch_size"]},
        times={"attention": 32},
    )


@pytest.mark.parametrize(
    "model", [ServiceModel.affine(BENT, domain=SPANS), composition()], ids=["bent", "composed"]
)
def test_tables_are_the_model_at_every_point(model: ServiceModel) -> None:
    taken, rng = engine_time_of(model), np.random.default_rng(1)
    for _ in range(200):
        n, context, chunk = int(rng.integers(1, 100)), rng.uniform(1, 6000), int(rng.integers(0, 1900))
        said = model.predict({"batch_size": n, "context_tokens": context, "prefill_tokens": chunk})
        assert taken.seconds(n, n * context, chunk) == pytest.approx(said, rel=1e-9)


def test_phases_timed_apart_add_up_and_each_is_exact() -> None:
    prefill = ServiceModel.affine({"1": 0.002, "input_tokens": 1e-5}, domain={"input_tokens": (16.0, 1024.0)})
    decode = ServiceModel.affine({"1": 0.001, "batch_size": 1e-4}, domain={"batch_size": (1.0, 8.0)})
    taken = engine_time_of(TokenService(prefill, decode))
    assert taken.seconds(0, 0, 100) == pytest.approx(0.003)
    assert taken.seconds(4, 100, 0) == pytest.approx(0.0014)
    assert taken.seconds(4, 100, 100) == pytest.approx(0.0044)


def test_linear_models_are_iteration_times_for_theory_and_simulation_alike() -> None:
    assert iteration_time_of(ServiceModel.affine(LINEAR, domain=SPANS)) == TIME
    table = engine_time_of(ServiceModel.affine(LINEAR))
    assert table.seconds(9, 900, 70) == pytest.approx(TIME.seconds(9, 900, 70), rel=1e-12)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (ServiceModel.affine({"batch_size^2": 1.0, "prefill_tokens": 1.0}), "has the term 'batch_size\\^2'"),
        (ServiceModel.affine({"ceil(batch_size/8)": 1.0, "prefill_tokens": 1.0}), "ceil"),
        (ServiceModel.affine({"steps": 1.0, "prefill_tokens": 1.0}), "the factor 'steps'"),
        (ServiceModel.affine({"1": 1.0, "batch_size": 1.0}), "nothing of prompt tokens"),
        (replace(ServiceModel.affine(LINEAR), floor=Affine((Term(),), (1.0,))), "floor"),
        (None, "no fitted model"),
    ],
)
def test_what_cannot_be_told_exactly_is_refused(model: object, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        engine_time_of(model)


def test_maxima_over_several_factors_and_bent_functions_are_not_linear() -> None:
    pieces = tuple(Affine((Term.parse(name),), (1e-3,)) for name in ("prefill_tokens", "batch_size"))
    model = ServiceModel(MaxAffine(pieces), np.zeros((2, 2)), Domain({}))
    with pytest.raises(InputError, match="max-affine"):
        engine_time_of(model)
    with pytest.raises(InputError, match="affine"):
        iteration_time_of(ServiceModel.affine(BENT))


def asked(system: System, rate: float = 4.0) -> Scenario:
    lengths = {"input_tokens": Deterministic(100), "output_tokens": Geometric(40.0)}
    return Scenario(classes=[RequestClass("a", Poisson(rate), factors=lengths)], system=system)


def test_a_scenario_with_a_fitted_model_is_the_one_with_its_iteration_time() -> None:
    spans = {**SPANS, "batch_size": (0.0, 64.0), "context_tokens": (0.0, 4096.0)}
    model = ServiceModel.affine({name: LINEAR[name] for name in LINEAR if name != "batch_size"}, domain=spans)
    engine = System(batching="continuous", max_batch=16, iteration_time=replace(TIME, per_sequence=0.0))
    fitted = replace(engine, iteration_time=None, model=model)
    one, other = (simulate(asked(system), requests=2_000, tell=None) for system in (engine, fitted))
    for name, value in one["all"].metrics.items():
        assert other["all"].metrics[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name
    said = [continuous_batching(asked(system)) for system in (engine, fitted)]
    assert isinstance(said[0], Result) and isinstance(said[1], Result)
    assert [part.extra["mean_ttft_s"] for part in said[0].classes] == [
        part.extra["mean_ttft_s"] for part in said[1].classes
    ]


def test_what_lies_outside_the_range_measured_is_counted_and_named() -> None:
    model = ServiceModel.affine(LINEAR, domain={**SPANS, "context_tokens": (1.0, 110.0)})
    system = System(batching="continuous", max_batch=16, model=model)
    notes = " ".join(simulate(asked(system), requests=500, tell=None).notes)
    assert "outside the measured tables (extrapolated)" in notes


def test_strides_over_tables_are_the_iterations_one_by_one() -> None:
    taken = engine_time_of(ServiceModel.affine({**BENT, "over(context_tokens,300)": 1e-5}, domain=SPANS))
    arrivals, prompts, outputs = [0.0, 0.1, 3.0, 3.1], [200, 50, 700, 20], [300, 40, 150, 900]
    runs = [replay_run(taken, arrivals, prompts, outputs, jumps=jumps, tell=None) for jumps in (True, False)]
    np.testing.assert_allclose(runs[0].outcome.done_s, runs[1].outcome.done_s, rtol=1e-12)
    assert runs[0].totals.outside == runs[1].totals.outside


@pytest.mark.parametrize("routing", ["random", "round-robin", "jsq", "jsq:2", "least-work"])
def test_several_engines_serve_everybody_and_better_routing_waits_less(routing: str) -> None:
    system = System(servers=3, batching="continuous", max_batch=8, iteration_time=TIME)
    blind = simulate(asked(replace(system, routing=Routing("random")), 38.0), requests=4_000, tell=None)
    seen = simulate(asked(replace(system, routing=Routing.parse(routing)), 38.0), requests=4_000, tell=None)
    assert seen.run["requests"] == 4_000 and seen.utilisation == blind.utilisation < 1
    waits = [each["all"].metrics["mean_wait_s"] for each in (seen, blind)]
    assert waits[0] == waits[1] if routing == "random" else waits[0] < waits[1]


def test_one_engine_behind_a_watching_router_is_one_engine() -> None:
    from qmodel.policy import FCFS
    from qmodel.simulation.iterations.pools import collected
    from qmodel.simulation.iterations.routed import _watched
    from qmodel.simulation.iterations.rules import Rules
    from qmodel.simulation.iterations.token_requests import given

    rng = np.random.default_rng(2)
    arrivals, lengths = np.sort(rng.uniform(0, 60, 300)), rng.integers(1, 200, (2, 300))
    requests = given(asked(System()).classes, arrivals, *lengths)
    rules = Rules(TIME, Engine(), max_batch=4, kv_capacity_tokens=1024)
    alone, _ = collected(requests, FCFS(), rules)
    watched, _ = _watched(requests, FCFS(), replace(rules, routing=Routing("jsq")), 0, True, rng)
    for name, column in vars(alone).items():
        np.testing.assert_allclose(getattr(watched, name), column, rtol=1e-9, err_msg=name)


def test_a_ratio_at_its_reference_level_counts_in_every_part() -> None:
    """Tables of a model whose precision is 0.6 times the first: 0.6 times the tables of the model without."""
    plain = ServiceModel.affine(BENT, domain=SPANS)
    ratios, domain = {"precision": {"full": 1.0, "half": 0.6}}, plain.domain
    quick = replace(plain, ratios=ratios, reference={"precision": "half"}, domain=domain)
    taken, slower = engine_time_of(quick), engine_time_of(plain)
    for n, context, chunk in ((1, 40.0, 0), (20, 900.0, 300), (64, 4000.0, 2000)):
        said = quick.predict({"batch_size": n, "context_tokens": context, "prefill_tokens": chunk})
        assert taken.seconds(n, n * context, chunk) == pytest.approx(said, rel=1e-9)
        assert taken.seconds(n, n * context, chunk) == pytest.approx(
            0.6 * slower.seconds(n, n * context, chunk), rel=1e-9
        )


def test_a_renamed_factor_keeps_the_range_it_was_measured_over() -> None:
    dense = ServiceModel.affine({"1": 0.01, "tokens": 1e-5}, domain={"tokens": (16.0, 512.0)})
    each = ServiceModel.affine({"batch_size": 1e-4}, domain={"batch_size": (1.0, 8.0)})
    model = compose([("dense", dense), ("each", each)], inputs={"dense": {"tokens": ["prefill_tokens"]}})
    table = engine_time_of(model).attention
    assert {16.0, 512.0} <= set(table.chunk.tolist()) and {1.0, 8.0} <= set(table.decodes.tolist())
