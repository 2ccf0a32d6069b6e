"""Predicted sizes where sums are hard: densities with steps, no second moment, components far apart."""

import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import PSPJF, SPJF, SPRPT, SRPT, TRAIL
from qmodel.scenario import Scenario
from qmodel.theory import analyse
from qmodel.workload import BoundedPareto, Exponential, Gamma, Lognormal, Pareto, PredictedSize, Uniform
from tests.theory.scenarios import means, one, request_class

FACTOR = PredictedSize("exponential")
LIGHT = 1e-9
STEPPED = [Pareto(1.0, 1.5), Pareto(1.0, 2.5), BoundedPareto(0.1, 100.0, 1.2), Uniform(0.5, 1.5)]
HEAVY = Pareto(1.0, 1.5)


@pytest.mark.parametrize("law", STEPPED, ids=str)
@pytest.mark.parametrize("error", [FACTOR, PredictedSize("lognormal", scv=0.01)], ids=lambda error: error.error)
def test_a_request_alone_is_served_at_once_though_its_density_has_a_step(law, error):
    (mean,) = means(one(LIGHT / law.mean, law, PSPJF(), predicted_size=error))
    assert mean == pytest.approx(law.mean, rel=3e-9)


def test_trail_bends_where_the_support_ends():
    guess = PredictedSize("correlated", correlation=0.0)
    (mean,) = means(one(LIGHT, Uniform(0.5, 1.5), TRAIL(), predicted_size=guess))
    assert mean == pytest.approx(1.0, rel=5e-6)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (SPJF(), FACTOR),
        (SPRPT(), FACTOR),
        (TRAIL(), FACTOR),
        (TRAIL(), PredictedSize("exact")),
        (SPRPT(), PredictedSize("correlated", correlation=0.8)),
    ],
    ids=lambda each: getattr(each, "name", None) or each.error,
)
def test_a_mean_is_infinite_where_what_stays_before_others_has_no_second_moment(policy, error):
    answer = analyse(one(0.5, HEAVY, policy, predicted_size=error), percentiles=())
    assert answer["all"].mean_response_s is None and "infinite" in answer.notes[0]


def test_the_exact_one_of_two_classes_may_have_no_second_moment():
    classes = [
        request_class("heavy", 0.3, HEAVY),
        request_class("guessed", 0.3, Exponential(1.0), predicted_size=PredictedSize("lognormal", scv=1e-4)),
    ]
    assert means(Scenario(classes, policy=SPRPT())) == pytest.approx(
        means(Scenario(classes, policy=SRPT())), rel=2e-3
    )


def test_correlated_sizes_without_a_second_moment_are_refused():
    guess = PredictedSize("correlated", correlation=0.8)
    found = analyse(one(0.5, HEAVY, PSPJF(), predicted_size=guess), percentiles=())
    assert isinstance(found, NotAnalysable) and "no second moment" in found.reason


@pytest.mark.parametrize("policy", [SPJF(), PSPJF(), SPRPT(), TRAIL()], ids=lambda policy: policy.name)
def test_a_component_adds_nothing_beyond_its_own_predictions(policy):
    """Panels of one class reach far beyond those of the other, whose sums are looked up."""
    small = request_class("small", 0.4, Gamma(1.0, 0.5), predicted_size=FACTOR)
    large = request_class("large", 1e-18, Lognormal(1e12, 4.0), predicted_size=FACTOR)
    alone, beside = (means(Scenario(classes, policy=policy))[0] for classes in ([small], [small, large]))
    if policy.preemptive:
        assert beside == pytest.approx(alone, rel=2e-5)
    else:
        assert beside > alone
