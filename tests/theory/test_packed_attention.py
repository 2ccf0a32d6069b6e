"""Queries times keys in continuous batching: the largest rate, the speed by state, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS
from qmodel.predict import Asking, predict
from qmodel.scenario import Scenario
from qmodel.service.iteration_time import IterationTime
from qmodel.service.system import System
from qmodel.simulation import simulate
from qmodel.study.batching import capacity
from qmodel.theory import analyse
from qmodel.theory.batch.engine_answer import batching_engine
from qmodel.theory.batch.packed_attention import beyond, occupancy, pairs_at_cap, pausing
from qmodel.theory.batch.progeny import progeny
from qmodel.theory.batch.token_demand import Points, together
from qmodel.theory.batch.token_times import FirstTokenLaw, ResponseLaw
from qmodel.workload import Deterministic, Exponential, Lognormal, Poisson, RequestClass, Uniform

LINEAR = IterationTime(base=0.010, per_sequence=2e-4, per_context_token=2e-7, per_prefill_token=2e-5)
SAME = (
    "load", "wait", "residual", "running", "first_token", "ttft", "per_token", "response", "at_cap",
    "running_variance", "variance_ratio",
)  # fmt: skip
PACKED = replace(LINEAR, per_query_key=1e-9)


def engine_of(taken=PACKED, cap=64, rate=1.0, prompts=None, outputs=None):
    return batching_engine(scenario(taken, cap, rate, prompts, outputs))


def scenario(taken=PACKED, cap=64, rate=1.0, prompts=None, outputs=None):
    factors = {"input_tokens": prompts or Exponential(500.0), "output_tokens": outputs or Exponential(200.0)}
    system = System(batching="continuous", max_batch=cap, iteration_time=taken)
    return Scenario([RequestClass("a", Poisson(rate), factors=factors)], FCFS(), system)


def at_load(load, **wanted):
    return scenario(rate=load / engine_of(**wanted).load, **wanted)


class TestLargestRate:
    def test_pairs_at_cap_are_those_of_places_that_pass_through_their_requests(self):
        """Each of 5 places goes from request to request by itself: queries and keys of every iteration."""
        rng = np.random.default_rng(3)
        rounds, cap = 200_000, 5
        queries, keys = np.zeros((cap, rounds)), np.zeros((cap, rounds))
        for place in range(cap):
            at = 0
            while at < rounds:
                prompt, output = int(rng.choice([2, 30])), int(rng.choice([1, 4, 12]))
                ends = min(at + output, rounds)
                queries[place, at:ends] = [prompt, *np.ones(ends - at - 1)]
                keys[place, at:ends] = prompt + np.arange(ends - at)
                at = ends
        prompts, outputs = points([2, 30]), points([1, 4, 12])
        expected = pairs_at_cap(together([1.0], [(prompts, prompts, outputs)]), cap)
        each = queries.sum(axis=0) * keys.sum(axis=0)
        error = each[1000:].reshape(-1, 1000).mean(axis=1)
        assert abs(each.mean() - expected) < 4 * error.std() / np.sqrt(error.size)
        assert error.std() / np.sqrt(error.size) < 0.005 * expected

    @pytest.mark.parametrize("pair_s", [0.0, 1e-9, 8e-9])
    @pytest.mark.parametrize("cap", [4, 32])
    def test_is_that_of_the_simulation(self, cap, pair_s):
        asked = scenario(replace(LINEAR, per_query_key=pair_s), cap, prompts=Uniform(50, 300))
        assert 1.0 / batching_engine(asked).load == pytest.approx(capacity(asked), rel=0.01)


def points(values):
    return Points(np.array(values, dtype=float), np.full(len(values), 1.0 / len(values)))


class TestSpeedByState:
    def test_the_time_of_an_iteration_is_the_root(self):
        engine = engine_of(rate=2.0)
        n = np.arange(engine.cap + 1.0)
        alone, demand, t = engine.decoding(n), engine.demand, engine.iteration
        each = PACKED.per_prefill_token + PACKED.per_query_key * n * (1.0 + demand.context)
        single = each * demand.prefills.moment(1) + PACKED.per_query_key * demand.prefills.moment(2)
        again = alone + demand.rate * t * single + PACKED.per_query_key * (demand.prefill_rate * t) ** 2
        np.testing.assert_allclose(t, again, rtol=1e-12)
        per_request = LINEAR.per_sequence + LINEAR.per_context_token * demand.context
        np.testing.assert_allclose(alone, 0.01 + per_request * n + 1e-9 * demand.context * n**2, rtol=1e-12)

    def test_an_iteration_that_takes_prompts_up_has_every_pair(self):
        engine = engine_of()
        context = engine.demand.context
        pairs = (6 + 300) * (6 * context + 300)
        linear = LINEAR.seconds(7, 7 * context, 300)
        assert float(engine.beside(6, 300.0)) == pytest.approx(linear + 1e-9 * pairs, rel=1e-12)
        at_cap = float(engine.beside(engine.cap, 0.0))
        assert at_cap == pytest.approx(float(engine.beside(engine.cap - 1, 0.0)), rel=1e-12)

    @pytest.mark.parametrize(
        ("cap", "rate", "outputs"), [(64, 2.0, Exponential(200.0)), (8, 0.5, Deterministic(200))]
    )
    def test_hardly_any_time_a_pair_is_the_linear_engine(self, cap, rate, outputs):
        barely = replace(LINEAR, per_query_key=1e-19)
        linear, packed = (engine_of(taken, cap, rate, None, outputs) for taken in (LINEAR, barely))
        for name in SAME:
            assert getattr(packed, name) == pytest.approx(getattr(linear, name), rel=2e-6), name
        prompts, made = Points.of(Exponential(500.0)), Points.of(outputs)
        for laws in ([FirstTokenLaw(e, prompts) for e in (linear, packed)],
                     [ResponseLaw(e, prompts, made) for e in (linear, packed)]):  # fmt: skip
            assert laws[1].percentile(99) == pytest.approx(laws[0].percentile(99), rel=1e-4)

    def test_clusters_between_the_states_worked_out(self):
        engine = engine_of(cap=100, rate=2.0)
        pauses = np.asarray(engine.pauses)
        table = beyond(PACKED, engine.demand, pauses)
        mean, square = engine.demand.prefills.moment(1), engine.demand.prefills.moment(2)
        each = PACKED.per_prefill_token + PACKED.per_query_key * 37 * (1.0 + engine.demand.context)
        pair = PACKED.per_query_key
        third, fourth = engine.demand.prefills.moment(3), engine.demand.prefills.moment(4)
        scv = (each**2 * square + 2 * each * pair * third + pair**2 * fourth) / (
            each * mean + pair * square
        ) ** 2 - 1
        own = 1.0 - np.cumsum(progeny(float(pauses[37]), scv))
        np.testing.assert_allclose(table[37, : own.size], own, atol=1e-5)
        assert (np.diff(table, axis=0) > -1e-12).all()  # the more there are, the more come

    def test_one_place_has_one_law_of_clusters_beside_the_empty_engine(self):
        engine = engine_of(cap=1, rate=0.05)
        assert beyond(PACKED, engine.demand, np.asarray(engine.pauses)[:1]).shape[0] == 1
        assert engine.occupancy.sum() == pytest.approx(1.0)

    def test_a_law_over_many_powers_of_ten_keeps_its_ratios(self):
        law = occupancy(1000.0, np.ones((1, 1)), np.ones(1), 150)
        assert np.isfinite(law).all()
        np.testing.assert_allclose(law[-50:] / law[-51:-1], 1000.0, rtol=1e-12)

    def test_prompts_that_overwhelm_the_engine_are_no_steady_state(self):
        demand = engine_of(rate=50.0).demand
        assert pausing(replace(PACKED, per_query_key=1e-6), demand, np.array([0.01, 0.02])).max() <= 0.99


@pytest.mark.parametrize(
    ("taken", "cap", "load", "prompts", "outputs"),
    [
        (PACKED, 64, 0.7, Exponential(500.0), Exponential(200.0)),
        (PACKED, 256, 0.3, Exponential(200.0), Deterministic(200)),
        (replace(LINEAR, per_query_key=4e-9), 64, 0.6, Uniform(50, 350), Exponential(200.0)),
        (replace(LINEAR, per_query_key=4e-9), 32, 0.3, Deterministic(200), Lognormal(200.0, 2.0)),
    ],
)
def test_against_the_iteration_level_simulation(taken, cap, load, prompts, outputs):
    asked = at_load(load, taken=taken, cap=cap, prompts=prompts, outputs=outputs)
    told = analyse(asked, percentiles=(99,))
    assert not isinstance(told, NotAnalysable), told
    found = simulate(asked, requests=40_000, seed=2, percentiles=(99,)).classes[0]
    theory, simulated = told.classes[0].metrics, found.metrics
    low, high = found.ci95["mean_response_s"]
    slack = 0.5 * (high - low) / simulated["mean_response_s"]
    assert slack < 0.03
    assert theory["mean_response_s"] == pytest.approx(simulated["mean_response_s"], rel=0.03 + 0.5 * slack)
    assert theory["mean_ttft_s"] == pytest.approx(simulated["mean_ttft_s"], rel=0.05)
    assert theory["mean_tpot_s"] == pytest.approx(simulated["mean_tpot_s"], rel=0.03)
    for name in ("p99_response_s", "p99_ttft_s"):
        if theory.get(name) is not None:
            assert theory[name] == pytest.approx(simulated[name], rel=0.1), name


def test_the_term_matters_in_these_cases():
    asked = at_load(0.7)
    plain = replace(asked, system=replace(asked.system, iteration_time=LINEAR))
    with_pairs, without = (analyse(each).classes[0].metrics["mean_response_s"] for each in (asked, plain))
    assert with_pairs > 1.1 * without


class TestOutOfRange:
    def test_waits_for_a_place(self):
        assert "wait for a place" in analyse(at_load(0.9, cap=16)).reason

    def test_prompts_that_take_long(self):
        taken = replace(PACKED, per_prefill_token=2e-4)
        asked = at_load(0.8, taken=taken, cap=256, prompts=Exponential(400.0), outputs=Exponential(40.0))
        assert "prompts take" in analyse(asked).reason

    def test_lengths_that_hardly_vary_with_few_running(self):
        taken = IterationTime(0.00144, 1.1e-4, 1.24e-6, 7e-5, 5.3e-8)
        asked = at_load(0.5, taken=taken, cap=32, prompts=Deterministic(32), outputs=Deterministic(48))
        assert "varies more than" in analyse(asked).reason
        longer = at_load(0.3, taken=taken, cap=12, prompts=Deterministic(64), outputs=Deterministic(32))
        assert "a prompt takes 9%" in analyse(longer).reason

    def test_a_full_engine_that_is_slower_than_one_less_full(self):
        """1.7 run on average, and yet a burst can fill the engine, which then hardly empties."""
        taken = IterationTime(0.00144, 1.1e-4, 1.24e-6, 7.07e-5, 1.06e-7)
        given = {"taken": taken, "cap": 32, "prompts": Exponential(64.0), "outputs": Exponential(64.0)}
        assert "jams last at load 0.9" in analyse(at_load(0.9, **given)).reason
        assert engine_of(**given).jams and not engine_of(LINEAR).jams
        assert analyse(at_load(0.4, **given)).stable

    def test_percentiles_that_theory_does_not_tell_are_simulated(self):
        asked = at_load(0.3, taken=replace(LINEAR, per_query_key=8e-9), cap=64, prompts=Deterministic(500),
                        outputs=Exponential(60.0))  # fmt: skip
        told = analyse(asked, percentiles=(99,))
        assert told.classes[0].metrics.get("p99_response_s") is None
        assert any("percentiles of E2E" in note for note in told.notes)
        both = predict(asked, asking=Asking(percentiles=(99,), requests=4000)).results[0]
        assert both.classes[0].metrics["p99_response_s"] > both.classes[0].metrics["mean_response_s"]
        assert both.classes[0].methods["p99_response_s"] == "simulation"

    def test_saturation(self):
        assert not analyse(at_load(1.1)).stable
