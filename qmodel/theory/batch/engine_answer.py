"""Continuous batching as an answer: a scenario's classes on a batching engine, within the range checked."""

from __future__ import annotations

import math
from dataclasses import replace

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.policy import FCFS
from qmodel.scenario import Scenario
from qmodel.service.engine import Engine
from qmodel.service.fitted_iterations import iteration_time_of
from qmodel.service.iteration_time import IterationTime
from qmodel.theory.batch.continuous_batching import BatchingEngine
from qmodel.theory.batch.token_demand import Points, together
from qmodel.theory.batch.token_times import FirstTokenLaw, PerTokenLaw, ResponseLaw
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.one_server.m_g_1 import POISSON
from qmodel.theory.result import ClassResult, Result, Unstable

SOURCE = "Cohen 1979; Gupta & Zhang 2014; Kimura 1986"
ASSUMED = (
    POISSON,
    "lengths of a request independent of each other",
    "first come, first served; prompts and decodes mixed in an iteration",
    "memory does not bind",
)
MOST_LOAD, MOST_PROMPTS = 0.955, 0.12
MOST_WAITING, MOST_PAUSING, MOST_OF_DECODING, MOST_VARIANCE, MOST_JAMMED = 0.01, 0.1, 0.08, 1.04, 0.6
"""Where queries times keys cost time: of the wait in TTFT, of prompts in time and in a request's, of the widening,
and of the load where a full engine is the slower one."""
MOST_OF_DECODING_LINEAR, MOST_PAUSING_LINEAR, MOST_PAUSING_FIXED = 0.02, 0.45, 0.3
MOST_PAUSING_AND_WAITING, FEWEST_OUTPUTS, WAITING = 0.25, 20.0, 0.1
"""Where they cost none: of a prompt in its request's decoding, and of prompts in time (where outputs hardly vary);
where waits for a place are more than WAITING of TTFT, of prompts in time again, and of the mean output."""
FIXED = 0.5
"""Squared coefficient of variation of outputs that hardly vary."""
UNBOUNDED = 10**9
BESIDE = ("max_batched_tokens", "kv_block_tokens", "power_w", "idle_power_w", "whole_prompt", "prefix_caching")
"""Settings of an engine that leave its order and its iterations as they are."""


def continuous_batching(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """The answer to batching "continuous"."""
    refusal = _outside(scenario)
    if refusal is not None:
        return refusal
    if scenario.system.iteration_time is None:
        system = replace(scenario.system, model=None, iteration_time=_taken(scenario))
        scenario = replace(scenario, system=system)
    engine = batching_engine(scenario)
    if engine.load >= 1.0:
        return Unstable(engine.load)
    reason = outside_range(engine, _holds(scenario, engine))
    if reason is not None:
        return NotAnalysable(f"outside the range where the approximation was checked: {reason}", "simulation")
    return _result(scenario, engine)


def _outside(scenario: Scenario) -> NotAnalysable | None:
    system, plain = scenario.system, Engine()
    given = system.engine or plain
    unusual = [n for n in vars(plain) if n not in BESIDE and getattr(given, n) != getattr(plain, n)]
    if unusual:
        return NotAnalysable(f"no result for system.engine, {unusual[0]}", "the default engine")
    if system.servers > 1 or scenario.transforms or type(scenario.policy) is not FCFS:
        return NotAnalysable("continuous batching is analysed for one engine, fcfs, untransformed", "that")
    lengths = {"input_tokens", "output_tokens"}
    if any(not lengths <= set(c.factors) for c in scenario.classes):
        return NotAnalysable("needs classes with input_tokens and output_tokens", "both")
    try:
        _taken(scenario)
    except InputError as error:
        return NotAnalysable(f"{error.place} {error.fault}", "system.iteration_time")
    return None


def _taken(scenario: Scenario) -> IterationTime:
    """The iteration time as given, or as a fitted model tells it."""
    return scenario.system.iteration_time or iteration_time_of(scenario.system.model)


def batching_engine(scenario: Scenario) -> BatchingEngine:
    """The engine that a scenario describes; its cap is that of the memory where this is the lower one."""
    taken, engine = _taken(scenario), scenario.system.engine or Engine()
    demand = together([c.rate for c in scenario.classes], _points(scenario))
    cap = scenario.system.max_batch or engine.max_batched_tokens
    made = BatchingEngine(taken, demand, cap, engine.max_batched_tokens)
    return replace(made, cap=max(1, min(cap, _holds(scenario, made))))


def _points(scenario: Scenario) -> list[tuple[Points, Points, Points]]:
    found = []
    for request_class in scenario.classes:
        inputs = Points.of(request_class.factors["input_tokens"])
        prefills = replace(inputs, values=inputs.values * (1.0 - request_class.prefix_hit))
        found.append((inputs, prefills, Points.of(request_class.factors["output_tokens"])))
    return found


def _holds(scenario: Scenario, engine: BatchingEngine) -> int:
    """Requests of mean context that the memory holds; half a block of each is empty."""
    capacity = scenario.system.kv_capacity_tokens
    if capacity is None:
        return UNBOUNDED
    block = (scenario.system.engine or Engine()).kv_block_tokens
    return int(capacity / (engine.demand.context + block / 2.0))


def outside_range(engine: BatchingEngine, holds: int) -> str | None:
    """Why the approximation was not checked there, None if it was."""
    if engine.load > MOST_LOAD:
        return f"load {engine.load:.3g} is above {MOST_LOAD}"
    if engine.prompts.budget_load > MOST_PROMPTS and engine.prompts.scale > 2.0 / 3.0:
        return f"prompts take {engine.prompts.budget_load:.0%} of the iterations' token budget"
    if float(engine.occupancy[math.ceil(0.7 * holds) :].sum()) > 1e-3:
        return f"memory for about {holds} requests binds"
    waiting = engine.wait / engine.ttft
    if engine.packed:
        return _packed_outside(engine, waiting)
    share = _prompt(engine)[1]
    if share > MOST_OF_DECODING_LINEAR:
        return f"a prompt takes {share:.0%} of what its request's decoding does"
    if engine.pausing > (MOST_PAUSING_LINEAR if engine.demand.outputs.scv >= FIXED else MOST_PAUSING_FIXED):
        return f"prompts take {engine.pausing:.0%} of the time"
    if waiting > WAITING and engine.pausing > MOST_PAUSING_AND_WAITING:
        return f"requests wait for a place, and prompts take {engine.pausing:.0%} of the time"
    if waiting > WAITING and engine.demand.outputs.moment(1) < FEWEST_OUTPUTS:
        return "requests wait for a place, and make few tokens"
    if engine.demand.outputs.scv > 1.2 and waiting > 0.02:
        return f"requests wait for a place and output lengths vary (scv {engine.demand.outputs.scv:.2g})"
    if engine.at_cap < 0.1 and waiting > 0.05:
        return f"few requests ({engine.at_cap:.1%}) wait for a place, and long"
    if engine.demand.outputs.scv < 0.5 and engine.cap < 12 and 0.3 < engine.at_cap < 0.6:
        return f"lengths hardly vary and {engine.cap} places are few: the tail of TTFT would be up to 20 % too long"
    return None


def _packed_outside(engine: BatchingEngine, waiting: float) -> str | None:
    """The same where queries times keys cost time: means were within 3 % (TTFT 5 %) inside of it."""
    why = None
    if waiting > MOST_WAITING:
        why = f"requests wait for a place ({waiting:.1%} of TTFT)"
    elif engine.pausing > MOST_PAUSING:
        why = f"prompts take {engine.pausing:.0%} of it"
    elif _prompt(engine)[1] > MOST_OF_DECODING:
        why = f"a prompt takes {_prompt(engine)[1]:.0%} of what its request's decoding does"
    elif engine.variance_ratio > MOST_VARIANCE:
        why = "the number running varies more than a Poisson number"
    elif engine.load > MOST_JAMMED and engine.jams:
        why = (
            f"a full engine serves fewer requests a second than one less full: jams last at load {engine.load:.2g}"
        )
    return why and f"queries times keys cost time, and {why}"


def _prompt(engine: BatchingEngine) -> tuple[float, float]:
    """Mean time of a prompt in iterations, and as a share of what its request's decoding takes."""
    iterations = engine.pausing / engine.demand.rate / float(engine.seen @ engine.iteration)
    return iterations, iterations / engine.demand.outputs.moment(1)


def _lawful(engine: BatchingEngine) -> tuple[bool, bool]:
    """Whether the laws of E2E and TPOT, and of TTFT, hold to 10 % at the 99th percentile.

    Where queries times keys cost time, those of E2E did while a prompt took less than 0.3 % of a request's
    decoding, and that of TTFT while it took less than 0.4 iterations and 0.2 %, with outputs that vary no more
    than exponential ones.
    """
    iterations, share = _prompt(engine)
    if not engine.packed:
        return True, _first_lawful(engine, iterations)
    even = engine.demand.outputs.scv <= 1.2
    return share < 0.003, even and share < 0.002 and iterations < 0.4


def _first_lawful(engine: BatchingEngine, iterations: float) -> bool:
    """Whether the law of TTFT holds where pairs cost no time.

    It did for prompts of less than 0.4 iterations, or of one where they fit into the budget and leave 0.7 of the
    time to decoding; not where waiting requests of one short length are served in step.
    """
    outputs, longest = engine.demand.outputs, engine.demand.prefills.quantile(0.99)
    if engine.prompts.budget_load > 0.25:
        return False
    if outputs.scv < FIXED and outputs.moment(1) < 100.0 and engine.at_cap > 0.01:
        return False
    return iterations < 0.4 or (iterations < 1.0 and engine.pausing < 0.3 and longest < 1.5 * engine.budget)


def _result(scenario: Scenario, engine: BatchingEngine) -> Result:
    parts = []
    whole, first_too = _lawful(engine)
    for served, (_, prompts, outputs) in zip(scenario.served, _points(scenario), strict=True):
        waiting = engine.wait + engine.residual  # until its first iteration, as the simulator counts it
        first = waiting + engine.prompts.mean_prefill(prompts)
        response = first + (outputs.moment(1) - 1.0) * engine.per_token
        tokens = served.rate * outputs.moment(1)
        extra: dict[str, float | None] = {
            "mean_ttft_s": first,
            "mean_tpot_s": engine.per_token,
            "throughput_tokens_per_s": tokens,
        }
        laws: dict[str, Law] = {}
        if first_too:
            laws["ttft"] = FirstTokenLaw(engine, prompts)
        if whole:
            laws["tpot"] = PerTokenLaw(engine, outputs)
        law = ResponseLaw(engine, prompts, outputs) if whole else None
        parts.append(ClassResult(served, response - waiting, response, law=law, extra=extra, laws=laws))
    places = f"mean number running {engine.running:.4g} of {engine.cap}; {engine.at_cap:.2%} wait for a place"
    notes: tuple[str, ...] = (places,)
    if not (whole and first_too):
        which = "of TTFT" if whole else "of E2E, TTFT and TPOT"
        notes = (*notes, f"percentiles {which} are not told: a prompt takes long beside an iteration")
    name = "continuous batching as state-dependent processor sharing"
    return Result(tuple(parts), name, SOURCE, ASSUMED, "approximation", engine.load, notes)
