"""What holds of every answer, asked of scenarios drawn from all that theory handles: no input makes a wrong number.

Each scenario is asked again in other units of time, with its classes split into equal halves, at a little more and
at next to no traffic; every answer must say the same or be refused in one line.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.policy import SRPT
from qmodel.theory import analyse
from tests.theory.any_scenario import ROOMS

SMOOTH = 1e-7
"""Relative accuracy of means, whatever the unit."""
GROWS = {"plain", "sized", "sharing", "accumulating", "gittins", "predicted", "nested", "early_exit", "servers"}
"""Rooms where more traffic never shortens a mean response."""
NO_WAIT = {*GROWS, "preemption", "threshold"} - {"sharing"}
"""Rooms where a request that meets no other has its service for its response."""
LEAST = {"plain", "sized", "gittins", "predicted", "nested"}
"""Rooms with one server that never idles: nothing has a shorter mean than SRPT."""
SHARES = ("share_reduced", "abandoned_share", "rejected_share")


def question(room, seed):
    return room(np.random.default_rng([seed, ROOMS.index(room)]))


def answered(scenario, percentiles=()):
    """The answer, None where it is refused or unstable; nothing but a refusal in one line may be raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = analyse(scenario, percentiles=percentiles)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 250
            return None
    return None if isinstance(found, NotAnalysable) or not found.stable else found


def means(answer):
    return [part.mean_response_s for part in answer.classes]


def sane(room, asked, answer):
    for part in answer.classes:
        for metric, value in part.metrics.items():
            low = -1e-12 if metric in SHARES else -1e-9 * (part.mean_response_s or 1.0)
            assert value is None or (math.isfinite(value) and value >= low), (asked, room, metric)


def same_in_every_unit(asked, answer):
    for stretch in (1024.0, 1e-3):
        again = answered(asked.scenario(stretch=stretch))
        assert again is not None, asked
        for part, other in zip(answer.classes, again.classes, strict=True):
            for metric, value in part.metrics.items():
                if value is None:
                    assert other.metrics[metric] is None, (asked, metric)
                    continue
                scale = stretch if metric.endswith("_s") and "per_s" not in metric else 1.0
                scale = 1.0 / stretch if "per_s" in metric else scale
                whole = part.mean_response_s if metric == "mean_wait_s" else abs(value)
                slack = SMOOTH * whole + (1e-8 if metric in SHARES else 0.0)
                assert abs(other.metrics[metric] / scale - value) <= slack, (asked, metric)


def same_of_two_halves(asked, answer):
    again = answered(asked.scenario(split=True))
    assert again is not None, asked
    whole, halves = means(answer)[1:], means(again)[1:]
    for value, pair in zip(whole, zip(halves[::2], halves[1::2], strict=True), strict=True):
        close = None if value is None else pytest.approx(value, rel=1e-6)
        assert pair == (close, close), asked


def grows_with_traffic(asked, answer):
    again = answered(asked.scenario(more=1.004))
    if again is None or answer["all"].mean_response_s is None:
        return
    assert again["all"].mean_response_s >= answer["all"].mean_response_s * (1 - 1e-9), asked


def service_alone(asked, answer):
    for part in answered(asked.scenario(more=1e-9)).classes[1:]:
        if part.mean_response_s is not None:
            assert part.mean_response_s == pytest.approx(part.mean_service_s, rel=1e-4), (asked, part.name)


def no_shorter_than_srpt(asked, answer):
    best, found = answered(asked.scenario(policy=SRPT())), answer["all"].mean_response_s
    if best is not None and found is not None and best["all"].mean_response_s is not None:
        assert best["all"].mean_response_s <= found * (1 + 1e-7), asked


def conserved(asked, answer):
    """Kleinrock: sum rho_i W_i = rho W_0 / (1 - rho) when no order by size and no interruption takes part."""
    classes = asked.scenario().served
    if any(math.isinf(served.size.moment(2)) for served in classes):
        return
    load = math.fsum(served.load for served in classes)
    residual = math.fsum(served.rate * served.size.moment(2) for served in classes) / 2.0
    waits = [part.mean_wait_s for part in answer.classes[1:]]
    held = math.fsum(served.load * wait for served, wait in zip(classes, waits, strict=True))
    assert held == pytest.approx(load * residual / (1.0 - load), rel=1e-8, abs=1e-9 * load * classes[0].size.mean)


def held_to_all(room, seed):
    asked = question(room, seed)
    answer = answered(asked.scenario())
    if answer is None:
        return
    name = room.__name__
    approximate = answer.method != "exact"
    sane(name, asked, answer)
    same_in_every_unit(asked, answer)
    if name not in ("renewal", "modulated", "batching") and not (name == "patience" and approximate):
        same_of_two_halves(asked, answer)
    if name in GROWS and asked.load < 0.99:
        grows_with_traffic(asked, answer)
    if name in NO_WAIT and not (name == "threshold" and "above 0" in asked.says):
        service_alone(asked, answer)
    if name in LEAST:
        no_shorter_than_srpt(asked, answer)
    if asked.room in ("fcfs", "lcfs", "random", "np-priority", "accumulating"):
        conserved(asked, answer)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_answer(room):
    for seed in range(1 if room.__name__ == "patience" else 2):
        held_to_all(room, seed)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_some_are_answered(room):
    """What is refused holds all of this: no room is a room of refusals."""
    assert any(answered(question(room, seed).scenario()) is not None for seed in range(100, 150))


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_answer_of_many(room):
    for seed in range(100, 150):
        held_to_all(room, seed)


PERCENTILES = (5.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


def percentiles_agree(room, seed):
    """They increase, attainment is their inverse, and the mean lies between the sums of their steps."""
    asked = question(room, seed)
    answer = answered(asked.scenario(), PERCENTILES)
    if answer is None:
        return
    for part in answer.classes[1:]:
        found = [part.metrics.get(f"p{p:g}_response_s") for p in PERCENTILES]
        if None in found or part.mean_response_s is None:
            continue
        assert (np.diff(found) >= -1e-9 * np.array(found[1:])).all(), (asked, found)
        steps = np.diff([0.0, *PERCENTILES]) / 100.0
        at_least = float(steps[1:] @ np.array(found[:-1]))
        assert at_least <= part.mean_response_s * (1 + 1e-4), asked
        spread = part.metrics.get("std_response_s")
        if spread is not None:
            beyond = math.sqrt(1e-3 * (spread**2 + part.mean_response_s**2))
            assert float(steps @ np.array(found)) + beyond >= part.mean_response_s * (1 - 1e-4), asked


@pytest.mark.parametrize("room", [ROOMS[0], ROOMS[10]], ids=lambda room: room.__name__)
def test_percentiles(room):
    percentiles_agree(room, 3)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_percentiles_of_many(room):
    for seed in range(200, 206):
        percentiles_agree(room, seed)


def test_attainment_is_the_inverse_of_a_percentile():
    asked = question(ROOMS[0], 8)
    answer = answered(asked.scenario(), (90.0,))
    limit = answer.classes[1].metrics["p90_response_s"]
    scenario = asked.scenario()
    classes = [replace(scenario.classes[0], slo={"response_p90_s": limit}), *scenario.classes[1:]]
    again = answered(replace(scenario, classes=classes))
    assert again.classes[1].metrics["attainment"] == pytest.approx(0.9, abs=1e-5)
