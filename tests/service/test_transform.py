"""Transforms of service against their definition: occupancy, delivery, quality, energy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.scenario import Scenario, System
from qmodel.service.cache_hits import hit_ratio
from qmodel.service.model import ServiceModel
from qmodel.service.transform import (
    REQUIRED,
    TRANSFORMS,
    Cache,
    ClipOutput,
    EarlyExit,
    FewerSteps,
    ModelSwap,
    Quantise,
    QueueCondition,
    Service,
    Transform,
)
from qmodel.workload import Deterministic, Discrete, Exponential, Geometric, Lognormal, Poisson, RequestClass

FULL = Service(Lognormal(2.0, 3.0), quality=0.5, energy=4.0)
SHARES = st.floats(0.01, 1.0)


class TestModelSwap:
    def test_time_shrinks_and_energy_with_it(self) -> None:
        served = ModelSwap(service_factor=0.4, quality=0.9).apply(FULL)
        assert served.occupancy.mean == pytest.approx(0.8) and served.occupancy.scv == pytest.approx(3.0)
        assert (served.quality, served.energy, served.delivered_at) == (pytest.approx(0.45), 1.6, None)

    def test_energy_of_its_own(self) -> None:
        assert ModelSwap(service_factor=0.4, energy_factor=0.25).apply(FULL).energy == 1.0

    def test_factor_one_changes_nothing(self) -> None:
        assert ModelSwap(service_factor=1.0).apply(FULL) == FULL


class TestFewerSteps:
    def test_in_proportion(self) -> None:
        served = FewerSteps(fraction=0.25, quality=0.8).apply(FULL)
        assert served.occupancy.mean == 0.5
        assert (served.quality, served.energy) == (pytest.approx(0.4), 1.0)

    @pytest.mark.parametrize(
        ("fraction", "steps", "kept"), [(0.5, 25, 12), (0.5, 6, 3), (0.01, 20, 1), (1.0, 20, 20), (0.75, 16, 12)]
    )
    def test_whole_steps(self, fraction: float, steps: int, kept: int) -> None:
        assert FewerSteps(fraction=fraction).steps_kept(steps) == kept


class TestEarlyExit:
    def test_stop_shortens_the_occupancy(self) -> None:
        served = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.25, 0.75)).apply(FULL)
        for k in (1, 2, 3):
            expected = (0.25 * 0.5**k + 0.75) * FULL.occupancy.moment(k)
            assert served.occupancy.moment(k) == pytest.approx(expected, rel=1e-12)
        assert served.energy == 4.0 * 0.875 and served.delivered_at is None

    def test_release_moves_only_the_delivery(self) -> None:
        served = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.25, 0.75), delivery="release").apply(FULL)
        assert served.occupancy is FULL.occupancy and served.energy == FULL.energy
        assert served.delivered_at == Discrete((0.5, 1.0), (0.25, 0.75))

    def test_one_exit_for_all_is_a_scaled_service(self) -> None:
        served = EarlyExit(fractions=(0.25,), probabilities=(1.0,)).apply(FULL)
        assert served.occupancy == FULL.occupancy.scaled(0.25)

    @given(SHARES, st.floats(0.0, 1.0))
    def test_stop_keeps_what_the_shares_say(self, fraction: float, probability: float) -> None:
        exits = EarlyExit(fractions=(fraction, 1.0), probabilities=(probability, 1 - probability))
        kept = fraction * probability + 1 - probability
        served = exits.apply(Service(Exponential(1.0)))
        assert served.occupancy.mean == pytest.approx(kept, rel=1e-12)
        assert served.energy == pytest.approx(kept, rel=1e-12)


class TestCache:
    def test_hits_save_and_look_ups_cost(self) -> None:
        served = Cache(hit_ratio=0.3, saved_fraction=0.8, lookup_s=0.1).apply(FULL)
        assert served.occupancy.mean == pytest.approx(0.1 + (0.7 + 0.3 * 0.2) * 2.0)
        second = 0.7 * FULL.occupancy.shifted(0.1).moment(2)
        second += 0.3 * FULL.occupancy.scaled(0.2).shifted(0.1).moment(2)
        assert served.occupancy.moment(2) == pytest.approx(second, rel=1e-9)
        assert served.energy == pytest.approx(4.0 * (1 - 0.24))

    def test_a_full_hit_takes_the_look_up(self) -> None:
        served = Cache(hit_ratio=0.25, lookup_s=0.1).apply(Service(Deterministic(2.0)))
        assert served.occupancy.atoms() == [(0.1, 0.25), (2.1, 0.75)]

    def test_no_hits_cost_the_look_up_alone(self) -> None:
        assert Cache(hit_ratio=0.0, lookup_s=0.1).apply(FULL).occupancy == FULL.occupancy.shifted(0.1)
        assert Cache(hit_ratio=0.0).apply(FULL).occupancy is FULL.occupancy

    def test_always_a_hit(self) -> None:
        served = Cache(hit_ratio=1.0, saved_fraction=0.5).apply(FULL)
        assert served.occupancy.mean == pytest.approx(1.0) and served.energy == 2.0

    def test_hits_from_popularity_and_capacity(self) -> None:
        cache = Cache(items=1000, capacity=100, zipf=0.9, saved_fraction=0.5)
        assert cache.hits == hit_ratio(1000, 100, 0.9, "lru")
        assert cache.apply(FULL).occupancy.mean == pytest.approx(2.0 * (1 - 0.5 * cache.hits), rel=1e-12)
        kept = Cache(items=1000, capacity=100, zipf=0.9, saved_fraction=0.5, eviction="lfu")
        assert kept.hits == hit_ratio(1000, 100, 0.9, "lfu") > cache.hits


class TestQuantise:
    def test_time_quality_energy(self) -> None:
        served = Quantise(service_factor=0.6, quality=0.9, energy_factor=0.5).apply(FULL)
        assert served.occupancy == FULL.occupancy.scaled(0.6)
        assert (served.quality, served.energy) == (pytest.approx(0.45), 2.0)
        assert Quantise(service_factor=0.5).apply(FULL).energy == 2.0


class TestClipOutput:
    def test_the_length_is_cut_off(self) -> None:
        factors = {"input_tokens": Deterministic(5.0), "output_tokens": Discrete((10.0, 900.0), (0.5, 0.5))}
        clipped = ClipOutput(max_tokens=100).clipped(factors)
        assert clipped["output_tokens"].atoms() == [(10.0, 0.5), (100.0, 0.5)]
        assert clipped["input_tokens"] is factors["input_tokens"]

    def test_in_a_scenario(self) -> None:
        model = ServiceModel.affine({"1": 0.1, "output_tokens": 0.01})
        chat = RequestClass("chat", arrivals=Poisson(0.1), factors={"output_tokens": Geometric(50.0)})
        clip = ClipOutput(max_tokens=40, quality=0.8)
        (served,) = Scenario([chat], system=System(model=model), transforms=[clip]).served
        mean = sum(0.98**n for n in range(40))  # E[min(L, 40)] of a geometric length of mean 50
        assert served.size.mean == pytest.approx(0.1 + 0.01 * mean, rel=1e-9)
        assert served.service.quality == 0.8

    def test_needs_lengths(self) -> None:
        with pytest.raises(InputError, match="gives no output_tokens"):
            ClipOutput(max_tokens=40).clipped({})
        with pytest.raises(InputError, match="gives no output_tokens"):
            ClipOutput(max_tokens=40).apply(FULL)


def test_transforms_compose_in_order() -> None:
    swapped = ModelSwap(service_factor=0.5).apply(FULL)
    both = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5)).apply(swapped)
    assert both.occupancy.mean == pytest.approx(0.75) and both.energy == pytest.approx(1.5)


def test_the_base_transforms_nothing() -> None:
    with pytest.raises(TypeError, match="Transform does not transform"):
        Transform().apply(FULL)


def test_the_registry_is_whole() -> None:
    assert (
        set(TRANSFORMS)
        == set(REQUIRED)
        == {
            "model-swap",
            "steps",
            "early-exit",
            "cache",
            "quantise",
            "clip-output",
        }
    )
    for kind, (made, names) in TRANSFORMS.items():
        assert all(name in made.__dataclass_fields__ for name in names)
        assert set(REQUIRED[kind]) <= set(names)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: ModelSwap(service_factor=0.0),
            "transform model-swap, service_factor: 0.0 is not a positive number",
        ),
        (lambda: ModelSwap(service_factor=math.nan), "transform model-swap, service_factor: nan is not a positive"),
        (lambda: Quantise(service_factor=0.0), "transform quantise, service_factor: 0.0 is not a positive number"),
        (lambda: ClipOutput(max_tokens=0), "transform clip-output, max_tokens: 0 is below 1"),
        (lambda: Cache(lookup_s=1.0), "transform cache: hit_ratio is missing"),
        (
            lambda: Cache(items=5, capacity=2, zipf=1.0, hit_ratio=0.5),
            "transform cache: hit_ratio and items are both",
        ),
        (lambda: Cache(items=5, zipf=1.0, lookup_s=1.0), "transform cache, capacity: is missing"),
        (lambda: Cache(hit_ratio=0.5, lookup_s=1.0, eviction="lfu"), "transform cache, eviction: has no meaning"),
        (
            lambda: ModelSwap(quality=-0.1),
            "transform model-swap, quality: -0.1 is out of range; give a finite value",
        ),
        (lambda: ModelSwap(energy_factor=-1.0), "transform model-swap, energy_factor: -1.0 is out of range"),
        (lambda: FewerSteps(fraction=0.0), "transform steps, fraction: 0.0 is not in (0, 1]; e.g. 0.5"),
        (lambda: FewerSteps(fraction=1.5), "transform steps, fraction: 1.5 is not in (0, 1]"),
        (lambda: FewerSteps(fraction=math.nan), "transform steps, fraction: nan is not in (0, 1]"),
        (lambda: FewerSteps(fraction=0.5, quality=math.inf), "transform steps, quality: inf is out of range"),
        (
            lambda: EarlyExit(delivery="later"),
            "transform early-exit, delivery: 'later' is unknown; stop or release",
        ),
        (lambda: EarlyExit(fractions=(0.0, 1.0)), "transform early-exit, fractions: must be in (0, 1]"),
        (
            lambda: EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.6)),
            "transform early-exit, probabilities: must be >= 0 and sum to 1; rescale them",
        ),
        (
            lambda: EarlyExit(fractions=(0.5, 1.0), probabilities=(1.0,)),
            "transform early-exit, probabilities: needs one probability per fraction",
        ),
        (lambda: Cache(hit_ratio=1.1), "transform cache, hit_ratio: 1.1 is no share; give 0 to 1"),
        (lambda: Cache(saved_fraction=-0.1), "transform cache, saved_fraction: -0.1 is no share"),
        (lambda: Cache(lookup_s=-1.0), "transform cache, lookup_s: -1.0 is out of range"),
        (lambda: Cache(hit_ratio=0.5), "transform cache: a hit would take no time; give lookup_s above 0"),
        (lambda: QueueCondition(-1), "transform, above_queue: -1 is negative; give 0 or more"),
        (lambda: QueueCondition(4, 5), "transform, below_queue: 5 is out of range; give 0 to 4"),
        (lambda: QueueCondition(4, -1), "transform, below_queue: -1 is out of range; give 0 to 4"),
        (lambda: QueueCondition(4, swap_time_s=math.nan), "transform, swap_time_s: nan is out of range"),
    ],
)
def test_refused(make, line: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(line)
