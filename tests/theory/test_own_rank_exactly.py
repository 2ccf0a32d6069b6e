"""A user's rank that equals a preset has the preset's mean, next to saturation too, and says how near it is."""

from __future__ import annotations

import re

import pytest

from qmodel.policy import PSJF, SRPT, Rank
from qmodel.theory import analyse
from qmodel.workload import BoundedPareto, Exponential, Hyperexponential, Lognormal

from .scenarios import one


class Remaining(Rank):
    preemptive = True

    def rank(self, request, attained):
        return request.size - attained


class Size(Rank):
    preemptive = True

    def rank(self, request, attained):
        return request.size


@pytest.mark.parametrize("load", [0.8, 0.97])
@pytest.mark.parametrize(("own", "preset"), [(Remaining(), SRPT()), (Size(), PSJF())], ids=["srpt", "psjf"])
@pytest.mark.parametrize(
    ("law", "near"),
    [
        (Hyperexponential(1.0, 4.0), 5e-6),
        (Exponential(1.0), 5e-6),
        (Lognormal(1.0, 4.0), 5e-5),
        (BoundedPareto(0.2, 60.0, 1.5), 2e-4),
    ],
    ids=["hyperexponential", "exponential", "lognormal", "bounded-pareto"],
)
def test_own_rank_has_the_mean_of_the_preset(law, near, own, preset, load):
    rate = load / law.mean
    answer = analyse(one(rate, law, own), percentiles=())
    exact = analyse(one(rate, law, preset), percentiles=())["all"].mean_response_s
    off = abs(answer["all"].mean_response_s / exact - 1.0)
    stated = float(re.search(r"relative error (\S+)", answer.notes[0])[1])
    assert off < near
    assert off < 2.0 * stated < 1e-3
