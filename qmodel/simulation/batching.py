"""Batches that are served as one: dynamic, static and in bins, with lengths where requests bring any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.service.batch_time import batch_time, until_longest
from qmodel.simulation import streams
from qmodel.simulation.serving import first_ranks
from qmodel.workload import Mixture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.service.iteration_time import IterationTime
    from qmodel.simulation.kernels.batched import Batching, Iteration
    from qmodel.simulation.kernels.columns import Log
    from qmodel.simulation.network.serving import Fates
    from qmodel.simulation.requests import Requests
    from qmodel.workload import Distribution, RequestClass

    Floats = NDArray[np.float64]

NO_BUFFER = np.iinfo(np.int64).max
SAMPLE, LARGEST = 1 << 17, 1 << 10
"""Requests drawn to find what full batches of a bin take, and the batch taken for one without limit."""


def serve_batches(
    scenario: Scenario, requests: Requests, seed: np.random.SeedSequence
) -> tuple[Fates, NDArray[np.int64], list[str]]:
    """Serve all requests in batches: their fates, the size of each one's batch (0: never served), and notes.

    Raises InputError for what batches cannot do, and for a rank that raises or is not a number.
    """
    from qmodel.simulation.kernels.batched import serve_in_batches
    from qmodel.simulation.kernels.columns import blank_log

    _check(scenario, requests)
    taken, requests = _iteration(scenario, requests, seed)
    log, state = blank_log(len(requests), batched=True), np.zeros(len(requests), dtype=np.int64)
    keys = first_ranks(scenario.policy, requests)
    batching = _batching(scenario, requests, taken)
    patience = _patience(scenario, requests, seed)
    serve_in_batches(requests.demand, keys, patience, batching, taken, scenario.system.servers, log, state)
    alone = requests.service_s if taken.outputs.size else np.full(len(requests), taken.base_s + taken.each_s)
    return _fates(requests, log, state, alone), log.batch, _notes(scenario, log.batch)


def _check(scenario: Scenario, requests: Requests) -> None:
    if scenario.condition is not None or requests.mark.size:
        fault = "is served whole: no queue condition, no early delivery, no steps"
        raise InputError("system, batching", f"a dynamic batch {fault}", "leave out the transform")
    policy = scenario.policy
    if policy.sharing is not None or policy.timed:
        raise InputError(f"policy '{policy.name}'", "does not say who joins a batch", "use fcfs or another order")
    batch_time(scenario)


def _coefficients(scenario: Scenario) -> IterationTime:
    found = scenario.system.iteration_time
    assert found is not None, "checked before"
    return found


def _iteration(scenario: Scenario, requests: Requests, seed: np.random.SeedSequence) -> tuple[Iteration, Requests]:
    """The time of iterations with each request's lengths, and the requests with the services that follow."""
    from qmodel.simulation.kernels.batched import Iteration

    found = _coefficients(scenario)
    linear = found.base, found.per_sequence, found.per_context_token, found.per_prefill_token
    coefficients = *linear, found.per_query_key
    if "output_tokens" not in scenario.classes[0].factors:
        return Iteration(*coefficients, np.empty(0), np.empty(0)), requests
    inputs, outputs = np.empty(len(requests)), np.empty(len(requests))
    for index, each in enumerate(scenario.classes):
        mine = np.flatnonzero(requests.class_index == index)
        rng = streams.generator(seed, index, "tokens")
        drawn = _lengths(each, rng, mine.size)
        inputs[mine], outputs[mine] = drawn
    steps = outputs - 1.0
    counted = found.per_prefill_token * inputs + found.per_context_token * (steps * inputs + outputs * steps / 2.0)
    alone = outputs * found.seconds(1) + counted
    predicted = requests.predicted_s * (alone / requests.service_s)  # the error of a prediction is a factor
    served = replace(
        requests, service_s=alone, long_s=alone, size_s=alone, long_size_s=alone, predicted_s=predicted
    )
    return Iteration(*coefficients, inputs, outputs), served


def _lengths(each: RequestClass, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Whole numbers of input and output tokens; an output of one at least. A class may have no inputs."""
    if "input_tokens" not in each.factors:
        return np.zeros(count), _whole(each.factors["output_tokens"].sample(rng, count), 1.0)
    inputs, outputs = each.draw_lengths(rng, rng, count)
    return _whole(inputs, 0.0), _whole(outputs, 1.0)


def _whole(lengths: Floats, least: float) -> Floats:
    return np.maximum(np.ceil(lengths - 1e-9), least)


def _batching(scenario: Scenario, requests: Requests, taken: Iteration) -> Batching:
    from qmodel.simulation.kernels.batched import Batching

    system = scenario.system
    bin_of = _bins(scenario, taken.outputs if taken.outputs.size else requests.size_s, bool(taken.outputs.size))
    sizes = np.bincount(bin_of) if bin_of.size else np.zeros(1, dtype=np.int64)
    return Batching(
        system.min_batch or 1,
        len(requests) if system.max_batch is None else system.max_batch,
        NO_BUFFER if system.buffer is None else system.buffer,
        bin_of,
        np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
    )


def _bins(scenario: Scenario, measure: Floats, in_tokens: bool) -> NDArray[np.int64]:
    """The bin of each request; an edge belongs to the bin below it."""
    bins = scenario.system.bins
    if bins is None:
        return np.zeros(measure.size, dtype=np.int64)
    if isinstance(bins, int):
        edges = _law(scenario, in_tokens).quantile(np.arange(1, bins) / bins)
    else:
        edges = np.array(bins)
    return np.searchsorted(np.unique(edges), measure, side="left").astype(np.int64)


def _law(scenario: Scenario, in_tokens: bool) -> Distribution:
    """Law of what bins go by, over all classes."""
    if not in_tokens:
        return scenario.size
    laws = tuple(each.factors["output_tokens"] for each in scenario.classes)
    return laws[0] if len(laws) == 1 else Mixture(tuple(c.rate / scenario.rate for c in scenario.classes), laws)


def _patience(scenario: Scenario, requests: Requests, seed: np.random.SeedSequence) -> Floats:
    if all(served.patience is None for served in scenario.served):
        return np.empty(0)
    patience = np.full(len(requests), np.inf)
    for index, served in enumerate(scenario.served):
        mine = np.flatnonzero(requests.class_index == index)
        if served.patience is not None:
            patience[mine] = served.patience.sample(streams.generator(seed, index, "patience"), mine.size)
    return patience


def _fates(requests: Requests, log: Log, state: NDArray[np.int64], alone: Floats) -> Fates:
    from qmodel.simulation.kernels import batched, network_rows
    from qmodel.simulation.network.serving import Fates

    names = {
        batched.SERVED: network_rows.DONE,
        batched.REJECTED: network_rows.REJECTED,
        batched.ABANDONED: network_rows.ABANDONED,
    }
    none = np.zeros(state.size)
    served = state == batched.SERVED
    return Fates(
        arrival_s=requests.arrival_s,
        start_s=log.start_s,
        done_s=log.done_s,
        delivered_s=log.delivered_s,
        service_s=np.where(served, log.done_s - log.start_s, 0.0),
        size_s=alone,
        away_s=none,
        overhead_s=none,
        reduced=np.zeros(state.size, dtype=np.bool_),
        preemptions=np.zeros(state.size, dtype=np.int64),
        migrations=np.zeros(state.size, dtype=np.int64),
        state=np.vectorize(names.get, otypes=[np.int64])(state),
    )


def _notes(scenario: Scenario, batch: NDArray[np.int64]) -> list[str]:
    taken = _coefficients(scenario)
    mean = float(batch[batch > 0].mean()) if (batch > 0).any() else 0.0
    if "output_tokens" in scenario.classes[0].factors:
        return [f"a batch runs until its longest output is out; mean batch of a request {mean:.3g}"]
    formula = f"a batch of b takes {taken.base:g} + {taken.per_sequence:g} b s, whatever its requests bring"
    return [f"{formula}; mean batch of a request {mean:.3g}"]


def mean_batch_seconds(scenario: Scenario, size: int) -> float:
    """Mean time of full batches of so many, over the bins as they come up."""
    alone = scenario.system.bins in (None, 1) and all(each.joint is None for each in scenario.classes)
    if alone or "output_tokens" not in scenario.classes[0].factors:
        return batch_time(scenario).mean(size)
    found, size = _coefficients(scenario), min(size, LARGEST)
    inputs, outputs = _sampled(scenario)
    place = _bins(scenario, outputs, True)
    total = batches = 0.0
    for number in np.unique(place):
        chosen = np.flatnonzero(place == number)
        batch = np.resize(chosen, (max(1, chosen.size // size), size))
        longest, prompts = outputs[batch].max(axis=1), inputs[batch].sum(axis=1)
        times = until_longest(found, size, prompts, longest)
        total += float(times.mean()) * chosen.size / size
        batches += chosen.size / size
    return total / batches


def _sampled(scenario: Scenario) -> tuple[Floats, Floats]:
    """Lengths of SAMPLE requests of all classes as they come, always the same."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(SAMPLE, [each.rate / scenario.rate for each in scenario.classes])
    drawn = [_lengths(each, rng, count) for each, count in zip(scenario.classes, counts.tolist(), strict=True)]
    order = rng.permutation(SAMPLE)
    return np.concatenate([a for a, _ in drawn])[order], np.concatenate([b for _, b in drawn])[order]
