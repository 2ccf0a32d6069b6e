"""Dynamic, static and multi-bin batching as answers: which of their models takes a scenario, and what it says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import Method, NotAnalysable
from qmodel.policy import FCFS, LCFS, RandomOrder
from qmodel.scenario import Scenario, ServedClass
from qmodel.service.batch_time import batch_time, merged, variance
from qmodel.theory.batch import multi_bin
from qmodel.theory.batch.bulk_service import BulkService, TooManyStates, closed_bound
from qmodel.theory.batch.bulk_wait import BulkLaw
from qmodel.theory.batch.multi_bin import Bin
from qmodel.theory.one_server.m_g_1 import POISSON
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SOURCE = "Neuts 1967"
TOGETHER = "a batch is served as one and leaves as one"
SIZE_BLIND = (FCFS, LCFS, RandomOrder)


def dynamic_batching(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """The answer to batching "dynamic", with `min_batch` and `bins` or without."""
    system = scenario.system
    if system.servers > 1 or scenario.condition is not None or scenario.transforms:
        return NotAnalysable("batches are analysed on one server, service untransformed", "that")
    if type(scenario.policy) not in SIZE_BLIND:
        return NotAnalysable(f"no result for batches formed by '{scenario.policy.name}'", "fcfs")
    if "bins" in scenario.features:
        return _binned(scenario)
    taken = batch_time(scenario)
    if system.max_batch is None and not taken.is_fixed:
        return NotAnalysable(
            "a batch without max_batch that waits for its longest answer has no limit", "max_batch"
        )
    queue = BulkService(scenario.rate, taken, system.min_batch or 1, system.max_batch)
    if queue.load >= 1.0:
        return Unstable(queue.load)
    try:
        return _bulk(scenario, queue)
    except TooManyStates:
        return NotAnalysable(f"at load {queue.load:.4g} the chain of batches is too long", "a lower rate")


def _bulk(scenario: Scenario, queue: BulkService) -> Result:
    size, time = queue.seen_by_requests
    has_law = type(scenario.policy) is FCFS and queue.smallest == 1 and queue.taken.is_fixed
    law = BulkLaw(queue) if has_law else None
    classes = tuple(ClassResult(served, time, queue.mean_response, law=law) for served in scenario.served)
    name = "M/G^[a,K]/1 embedded chain, mean response" + (" and its law" if law else "")
    assumptions = [POISSON, TOGETHER, "a free server takes all that wait, up to max_batch"]
    if not queue.taken.is_exact:
        assumptions.append("input tokens count by their mean")
    method: Method = "exact" if queue.taken.is_exact else "approximation"
    notes = (f"mean batch of a request {size:.4g}, counted by batches {queue.mean_batch:.4g}", *_bound(scenario))
    return Result(classes, name, SOURCE, tuple(assumptions), method, queue.utilisation, notes)


def _bound(scenario: Scenario) -> tuple[str, ...]:
    """Inoue's closed bound, where it holds."""
    taken, system = scenario.system.iteration_time, scenario.system
    tokens = any("output_tokens" in c.factors for c in scenario.classes)
    if taken is None or tokens or system.max_batch is not None or (system.min_batch or 1) > 1:
        return ()
    bound = closed_bound(scenario.rate, taken.per_sequence, taken.base)
    return (f"closed bound on the mean response {bound:.6g} s (Inoue 2021)",)


def _binned(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    system, taken = scenario.system, scenario.system.iteration_time
    lengths, inputs = merged(scenario, "output_tokens"), merged(scenario, "input_tokens")
    if taken is None or lengths is None:
        return NotAnalysable("bins are made by output_tokens, in iterations of system.iteration_time", "give both")
    if system.max_batch is None or system.min_batch != system.max_batch:
        return NotAnalysable("bins are analysed for full batches", "min_batch = max_batch")
    batch = system.max_batch
    edges = multi_bin.edges_of(lengths, system.bins or 1)
    mean, spread = (0.0, 0.0) if inputs is None else (inputs.mean, variance(inputs))
    bins = multi_bin.make_bins(taken, mean, lengths, edges, batch, spread)
    load = scenario.rate / multi_bin.capacity(bins, batch)
    if load >= 1.0:
        return Unstable(load)
    wait = multi_bin.batch_wait(bins, batch, scenario.rate)
    classes = tuple(
        _in_bins(scenario, served, request_class.factors["output_tokens"], bins, edges, wait)
        for served, request_class in zip(scenario.served, scenario.classes, strict=True)
    )
    assumptions = (POISSON, TOGETHER, "a bin is served when it is full", "lengths are known when a request comes")
    note = f"capacity {multi_bin.capacity(bins, batch):.6g} requests/s; the mean is up to 15 % too long"
    source = "Guldogan et al. 2024; Whitt & You 2018"
    return Result(classes, "multi-bin batching", source, assumptions, "approximation", load, (note,))


def _in_bins(
    scenario: Scenario, served: ServedClass, lengths: Distribution, bins: list[Bin], edges: Floats, wait: float
) -> ClassResult:
    """A class's requests spread over the bins by their own law of lengths."""
    batch = scenario.system.max_batch or 1
    shares = np.diff(multi_bin.bin_levels(lengths, edges)).tolist()
    visited = [(share, part) for share, part in zip(shares, bins, strict=True) if share > 0]
    time = math.fsum(share * part.time for share, part in visited)
    fill = math.fsum(share * multi_bin.filling(scenario.rate, part.share, batch) for share, part in visited)
    return ClassResult(served, time, fill + wait + time)
