"""Parts of the batching engine, each against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.theory import analyse
from qmodel.theory.batch.continuous_batching import BatchingEngine
from qmodel.theory.batch.engine_answer import batching_engine
from qmodel.theory.batch.engine_fluctuations import OMEGA, _arrivals, _by_class, _kernels
from qmodel.theory.batch.multi_bin import Bin, batch_wait
from qmodel.theory.batch.token_demand import Points, together
from qmodel.theory.batch.token_times import Decoding, ResponseLaw, _states
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass

PROMPT, OUTPUT, RATE = 100, 50, 0.4
TAKEN = IterationTime(base=0.02, per_sequence=0.001, per_prefill_token=1e-4)


def engine(cap=8):
    prompt, output = Points.of(Deterministic(PROMPT)), Points.of(Deterministic(OUTPUT))
    return BatchingEngine(TAKEN, together([RATE], [(prompt, prompt, output)]), cap=cap)


def on_servers(servers):
    factors = {"input_tokens": Deterministic(PROMPT), "output_tokens": Deterministic(OUTPUT)}
    system = System(servers=servers, batching="continuous", max_batch=8, iteration_time=TAKEN)
    return Scenario([RequestClass("chat", Poisson(RATE), factors=factors)], system=system)


def test_those_present_bring_others_by_their_tokens_and_by_prompts():
    # 0.4/s x 1 ms x 50 tokens, and 0.4/s x 100 tokens x 0.1 ms
    assert engine()._brought == pytest.approx(0.02 + 0.004, rel=1e-12)


def test_an_idle_engine_has_an_iteration_under_way_only_while_it_computes_prompts():
    made = engine()
    whole = made.iteration_square / (2.0 * made.iteration)
    assert made.residuals[0] == pytest.approx(0.004 * whole[0], rel=1e-12)
    assert made.residuals[1:] == pytest.approx(whole[1:], rel=1e-12)


def test_a_response_is_the_first_token_and_all_the_others():
    part = analyse(on_servers(1), percentiles=())["all"]
    assert part.mean_response_s == pytest.approx(part.mean_ttft_s + (OUTPUT - 1) * part.mean_tpot_s, rel=1e-12)


@pytest.mark.parametrize("servers", [2, 3])
def test_several_engines_behind_one_queue_are_refused(servers):
    assert isinstance(analyse(on_servers(servers)), NotAnalysable)


def test_prompts_of_any_length_keep_those_running_longer():
    """A share r of time goes to prompts, M/G/1-like: r (1 + r (1 + c^2) / (2 (1 - r)^2)) more are running."""
    prompts, outputs = Points.of(Exponential(1000.0)), Points.of(Deterministic(OUTPUT))
    made = BatchingEngine(TAKEN, together([3.0], [(prompts, prompts, outputs)]), cap=8)
    decoding = made.running - float(made.occupancy @ np.minimum(np.arange(made.occupancy.size), 8))
    share, scv = 3.0 * 1000.0 * 1e-4, prompts.scv
    assert scv > 0.9
    assert decoding == pytest.approx(share * (1.0 + share * (1.0 + scv) / (2.0 * (1.0 - share) ** 2)), rel=1e-9)


def test_an_answer_of_two_tokens_has_one_after_the_first():
    prompt, output = Points.of(Deterministic(PROMPT)), Points.of(Deterministic(2))
    made = BatchingEngine(TAKEN, together([RATE], [(prompt, prompt, output)]), cap=8)
    assert made.ttft + made.per_token == pytest.approx(made.response, rel=1e-12)


def test_arrivals_an_iteration_are_those_that_come_and_those_they_bring():
    """Lambda = 0.4 x 0.02 s / (1 - 0.024)."""
    demand = engine().demand
    assert _arrivals(TAKEN, demand, OUTPUT) == pytest.approx(0.008 / 0.976, rel=1e-12)


@pytest.mark.parametrize(("capacity", "cap"), [(1334, 9), (1335, 10)])
def test_memory_holds_contexts_and_half_a_block_each(capacity, cap):
    """100 tokens in, 50 out: 125.5 tokens on average, and 8 of a block of 16."""
    factors = {"input_tokens": Deterministic(PROMPT), "output_tokens": Deterministic(OUTPUT)}
    system = System(batching="continuous", max_batch=64, iteration_time=TAKEN, kv_capacity_tokens=capacity)
    made = batching_engine(Scenario([RequestClass("chat", Poisson(RATE), factors=factors)], system=system))
    assert made.cap == cap


def test_longer_inputs_bring_more_arrivals():
    """In the long run an input token more brings lambda (c L + p) more: the spread is Var[I] times its square."""
    taken = IterationTime(base=0.02, per_context_token=3e-5, per_prefill_token=1e-4)
    prompts = Points(np.array([50.0, 150.0]), np.array([0.5, 0.5]))
    demand = together([RATE], [(prompts, prompts, Points.of(Deterministic(OUTPUT)))])
    [(_, outputs, brought)] = _by_class(taken, demand)
    kernels = _kernels(outputs.values.tobytes(), outputs.weights.tobytes())
    spread = brought.square(kernels) - replace(brought, of_input=0.0).square(kernels)
    assert spread[0] == pytest.approx(50.0**2 * (RATE * (3e-5 * OUTPUT + 1e-4)) ** 2, rel=1e-6)


def test_transforms_of_presence_and_age_are_integrals():
    """Of two lengths, by quadrature, at low, middling and high frequencies."""
    lengths, weights = np.array([0.5, 2.0]), np.array([0.25, 0.75])
    kernels = _kernels(lengths.tobytes(), weights.tobytes())
    nodes, steps = np.polynomial.legendre.leggauss(400)
    for at in (0, 700, 1499):
        present, aged = (
            np.array(
                [
                    0.5 * t * (steps @ (s**power * np.exp(-1j * OMEGA[at] * s)))
                    for t in lengths
                    for s in [0.5 * t * (nodes + 1)]
                ]
            )
            for power in (0, 1)
        )
        for name, values in (
            ("present", present),
            ("aged", aged),
            ("present_square", np.abs(present) ** 2),
            ("aged_square", np.abs(aged) ** 2),
            ("crossed", aged * present.conj()),
        ):
            assert getattr(kernels, name)[at] == pytest.approx(weights @ values, rel=1e-9), name


@pytest.mark.parametrize("load", [0.1, 0.6, 0.97])
def test_batches_of_one_wait_as_pollaczek_and_khinchine_say(load):
    mean, square = 2.0, 7.0
    rate = load / mean
    found = batch_wait([Bin(0.25, mean, square), Bin(0.75, mean, square)], 1, rate)
    assert found == pytest.approx(rate * square / (2.0 * (1.0 - load)), rel=2e-3)


def test_the_number_running_is_forgotten_as_requests_leave_less_those_they_bring():
    """One more running makes iterations 1 ms / 0.996 longer: 0.4 x 50 of that more come. The rest fades."""
    decoding = Decoding(engine())
    theta = (1.0 - 0.4 * 50.0 * 0.001 / 0.996) / 50.0
    assert decoding.memory == pytest.approx(theta, rel=1e-12)
    few, many = np.array([1e-3]), np.array([1e6])
    slope_squared = (0.001 / 0.996) ** 2 * decoding.engine.running_variance
    # prompts beside: Poisson, 0.4/s of 10 ms each
    prompts = 0.4 * 0.01**2 * decoding.engine.per_token
    assert decoding.variance(few, False)[0] == pytest.approx(slope_squared * 1e-6 + prompts * 1e-3, rel=1e-4)
    assert decoding.variance(many, False)[0] == pytest.approx(
        (2.0 * slope_squared / theta + prompts) * 1e6, rel=1e-4
    )
    assert decoding.mean(many, False)[0] == pytest.approx(1e6 * decoding.engine.per_token, rel=1e-4)


@pytest.mark.parametrize("cap", [3, 64])
def test_the_law_of_the_response_begins_with_the_first_token_and_has_the_mean(cap):
    demand = together([10.0 * RATE], [(*[Points.of(Deterministic(PROMPT))] * 2, Points.of(Deterministic(OUTPUT)))])
    made = BatchingEngine(IterationTime(base=0.002, per_sequence=1e-4, per_prefill_token=1e-5), demand, cap)
    law = ResponseLaw(made, made.demand.classes[0].prefills, made.demand.outputs)
    assert law.cdf(0.999 * (made.residual + made.first_token)) == 0.0
    times = np.linspace(0.0, 40.0 * made.response, 801)
    mean = float(np.trapezoid([1.0 - law.cdf(t) for t in times], times))
    assert mean == pytest.approx(made.response, rel=0.01)


def test_who_waits_decodes_slower_and_others_faster_the_mean_is_kept():
    made, tokens = engine(2), np.array([1.0, 10.0, 100.0])
    decoding = Decoding(made)
    free, waited = (decoding.mean(tokens, each) for each in (False, True))
    assert made.at_cap > 0.05
    assert (waited > free).all()
    np.testing.assert_allclose(
        (1.0 - made.at_cap) * free + made.at_cap * waited, tokens * made.per_token, rtol=1e-12
    )


def test_numbers_running_are_taken_one_by_one_while_they_are_few():
    found = _states(engine(8))
    assert [number for number, _ in found] == list(range(9))
    assert sum(weight for _, weight in found) == pytest.approx(1.0, rel=1e-9)


def test_the_law_of_a_single_place_has_the_mean_too():
    """A request in three waits, and long prompts make the first token late."""
    prompts = Points.of(Deterministic(10_000.0))
    demand = together([2.0], [(prompts, prompts, Points.of(Deterministic(OUTPUT)))])
    made = BatchingEngine(IterationTime(base=0.002, per_prefill_token=1e-5), demand, cap=1, budget=20_000)
    law = ResponseLaw(made, prompts, made.demand.outputs)
    times = np.linspace(0.0, 20.0 * made.response, 1001)
    mean = float(np.trapezoid([1.0 - law.cdf(t) for t in times], times))
    assert made.at_cap > 0.3
    assert mean == pytest.approx(made.response, rel=0.01)
