"""Small parts of the service side at the edges of what they take."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.service.cache_hits import SINGLE, popularity
from qmodel.service.composed import _continued
from qmodel.service.domain import Numeric
from qmodel.service.fitted_iterations import iteration_time_of
from qmodel.service.from_model import levels
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.model_file import _covariance
from qmodel.service.overlap import overlapped
from qmodel.service.pipeline import Precision, best_plan
from qmodel.service.pool import Pool, check_order
from qmodel.service.station import Station
from qmodel.service.system import System
from qmodel.service.transform import EarlyExit, Service
from qmodel.service.units import _digits
from qmodel.workload import Exponential, Pareto

NUMBERS = [(1234.56, "1235"), (123456.7, "123457"), (12.3456, "12.35"), (0.0123456, "0.01235"), (5.0, "5")]


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_four_digits(number, text):
    assert _digits(number) == text


def test_popularities_of_many_items_by_cells():
    """One by one, then in cells about a thousandth wide that leave no item out; Zipf's sum to 3e-7."""
    items = 3 * SINGLE
    p, count = popularity(items, 0.8)
    first = np.cumsum(np.concatenate(([1.0], count)))
    assert (count[: SINGLE - 1] == 1.0).all() and first[-1] == items + 1
    assert (count >= 1.0).all() and (count / first[:-1])[SINGLE:].max() < 4e-3
    whole = np.arange(1.0, items + 1.0) ** -0.8
    assert p[0] == pytest.approx(1.0 / whole.sum(), rel=3e-7)
    assert p[-1] * count[-1] == pytest.approx(whole[-int(count[-1]) :].sum() / whole.sum(), rel=1e-6)


def test_tables_go_on_by_the_last_slope():
    nan = math.nan
    found = _continued(np.array([[1.0, 3.0, nan, nan], [1.0, 3.0, 4.0, nan]]), np.array([1.0, 2.0, 4.0, 8.0]))
    assert found.tolist() == [[1.0, 3.0, 7.0, 15.0], [1.0, 3.0, 4.0, 6.0]]


def test_the_level_farthest_outside_is_named():
    assert "-5 is outside" in Numeric(1.0, 10.0).outside("x", [-5.0, 12.0])[0]
    assert "20 is outside" in Numeric(1.0, 10.0).outside("x", [-5.0, 20.0])[0]
    assert Numeric(1.0, 10.0).outside("x", [1.0, 10.0]) == []


@pytest.mark.parametrize("transfer", [math.inf, math.nan, -1.0, -1e-9])
def test_ways_between_stations_that_are_none(transfer):
    with pytest.raises(InputError, match="is no time"):
        Station("a", transfer_s=transfer)
    assert Station("a", transfer_s=0.0).transfer_s == 0.0


def test_one_bin_is_none():
    assert "bins" not in System(batching="dynamic", bins=1).features
    assert "bins" in System(batching="dynamic", bins=2).features
    with pytest.raises(InputError, match="below 1"):
        System(batching="dynamic", bins=0)
    assert "bins" in System(batching="dynamic", bins=(0.5,)).features  # an edge below 1 s


def test_a_stage_that_takes_no_time():
    assert overlapped(0.0, 6.0, 3) == 6.0 and overlapped(6.0, 0.0, 3) == 6.0


def test_memories_that_are_just_enough():
    half = Precision((1.0, 1.0), 1.0, 0.0)
    assert best_plan([1.0] * 4, [half], [2.0, 2.0], most_loss=0.0, micro_batches=1).layers == (2, 2)
    with pytest.raises(InputError, match="no plan fits"):
        best_plan([1.0] * 4, [half], [2.0, 1.9], most_loss=0.0, micro_batches=1)


@pytest.mark.parametrize("moving", [{"transfer_s": 0.1}, {"transfer_tokens_per_s": 1e6}])
def test_nothing_moves_on_from_the_last_pool(moving):
    with pytest.raises(InputError, match="last pool"):
        check_order([Pool(("prefill",)), Pool(("decode",), **moving)])
    with pytest.raises(InputError, match="do prefill"):
        check_order([Pool(("prefill",))])


def test_qualities_multiply():
    """An early exit of a service that has lost quality before."""
    service = Service(Exponential(1.0), quality=0.9)
    for delivery in ("stop", "release"):
        transform = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5), delivery=delivery, quality=0.8)
        assert transform.apply(service).quality == pytest.approx(0.72, rel=1e-14)


def test_an_infinite_fourth_moment_is_no_hindrance():
    pairs = levels(Pareto(1.0, 3.5))
    assert math.fsum(p for _, p in pairs) == pytest.approx(1.0, rel=1e-12)
    assert math.fsum(value * p for value, p in pairs) == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(InputError, match="infinite variance"):
        levels(Pareto(1.0, 1.9))


@pytest.mark.parametrize("diagonal", [[-1.0, 2.0], [2.0, -1.0]])
def test_no_variance_is_negative(diagonal):
    with pytest.raises(InputError, match="is not a covariance matrix"):
        _covariance({"diagonal": diagonal}, 2, "here")
    assert _covariance({"diagonal": [0.0, 2.0]}, 2, "here").tolist() == [[0.0, 0.0], [0.0, 2.0]]


def test_iterations_without_a_base():
    """Sequences are enough to take time beside prompts, a base is too, and prompts alone are not."""
    each = iteration_time_of(ServiceModel.affine({"batch_size": 0.001, "prefill_tokens": 1e-5}))
    assert each == IterationTime(base=0.0, per_sequence=0.001, per_prefill_token=1e-5)
    fixed = iteration_time_of(ServiceModel.affine({"1": 0.001, "prefill_tokens": 1e-5}))
    assert fixed == IterationTime(base=0.001, per_prefill_token=1e-5)
    with pytest.raises(InputError):
        iteration_time_of(ServiceModel.affine({"prefill_tokens": 1e-5}))


def plans_of(layers, ways, memory, most_loss, micro_batches):
    """Every cut with every choice of precisions: the least makespan, infinite where nothing fits."""
    best = math.inf
    for cut in range(len(layers) + 1):
        for chosen in itertools.product(ways, repeat=len(layers)):
            parts = [list(zip(layers, chosen, strict=True))[part] for part in (slice(cut), slice(cut, None))]
            held = [math.fsum(layer * way.memory for layer, way in part) for part in parts]
            lost = sum(way.loss for way in chosen)
            if held[0] > memory[0] or held[1] > memory[1] or lost > most_loss + 1e-9:
                continue
            taken = [math.fsum(layer * way.seconds[on] for layer, way in part) for on, part in enumerate(parts)]
            best = min(best, sum(taken) + (micro_batches - 1) * max(taken))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_best_plan_is_the_best_of_all(seed):
    """Layers of several sizes on unequal devices, by trying every plan."""
    rng = np.random.default_rng(seed)
    layers = [float(x) for x in rng.uniform(0.5, 2.0, 4)]
    ways = [Precision((1.0, 2.0), 2.0, 0.0), Precision((0.7, 1.5), 1.0, 0.25), Precision((0.4, 1.2), 0.5, 0.5)]
    memory, loss = [float(x) for x in rng.uniform(1.0, 6.0, 2)], float(rng.choice([0.0, 0.5, 1.0, 2.0]))
    expected = plans_of(layers, ways, memory, loss, 3)
    if math.isinf(expected):
        with pytest.raises(InputError, match="no plan fits"):
            best_plan(layers, ways, memory, most_loss=loss, micro_batches=3)
        return
    found = best_plan(layers, ways, memory, most_loss=loss, micro_batches=3)
    assert found.makespan_s == pytest.approx(expected, rel=1e-12)
    assert sum(ways[way].loss for way in found.precision) <= loss + 1e-9


def test_losses_that_add_up_to_the_most_but_for_rounding():
    tenth = Precision((1.0, 1.0), 1.0, 0.1)
    assert best_plan([1.0] * 3, [tenth], [9.0, 9.0], most_loss=0.3, micro_batches=1).makespan_s == 3.0
