"""How answers move, against closed forms and brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel import sensitivity as exported
from qmodel.errors import InputError
from qmodel.policy import FCFS, Rank
from qmodel.predict import Asking
from qmodel.scenario import Scenario, System
from qmodel.sensitivity import sensitivity, stretched
from qmodel.service.coefficient_spread import spread_of
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.station import Station
from qmodel.service.token_service import TokenService
from qmodel.theory import analyse
from qmodel.workload import Closed, Deterministic, Exponential, Geometric, Lognormal, Poisson, RequestClass

MEANS = Asking(percentiles=())


def m_m_1(rate=0.5, **options):
    return Scenario([RequestClass("a", Poisson(rate), service=Exponential(1.0), **options)])


def fitted(covariance, coefficients=(0.1, 0.01), rate=2.0):
    model = ServiceModel.affine(dict(zip(("1", "output_tokens"), coefficients, strict=True)))
    model = replace(model, covariance=np.array(covariance))
    classes = [
        RequestClass("short", Poisson(rate), factors={"output_tokens": Deterministic(5.0)}),
        RequestClass("long", Poisson(0.25 * rate), factors={"output_tokens": Deterministic(60.0)}),
    ]
    return Scenario(classes, system=System(model=model))


class TestWithoutAModel:
    def test_m_m_1(self):
        """T = s / (1 - s/2) at s = 1 -+ 0.196; elasticities 1 / (1 - rho) and rho / (1 - rho)."""
        found = sensitivity(m_m_1(), service_error=0.1)
        row = found["a", "mean_response_s"]
        assert row.low == pytest.approx(0.804 / (1 - 0.402), rel=5e-3)
        assert row.high == pytest.approx(1.196 / (1 - 0.598), rel=5e-3)
        assert (row.by_rate, row.by_service) == (pytest.approx(1.0, rel=1e-5), pytest.approx(2.0, rel=1e-5))
        tail = found["a", "p95_response_s"]
        assert tail.high == pytest.approx(math.log(20) * row.high, rel=1e-6)
        assert found.unstable_share == 0.0 and found.first_missed is None and "10%" in found.source

    def test_confidence(self):
        narrow, wide = (
            sensitivity(m_m_1(), asking=MEANS, confidence=c)["a", "mean_response_s"] for c in (0.5, 0.99)
        )
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high

    def test_near_saturation_the_upper_end_is_infinite(self):
        found = sensitivity(m_m_1(0.95), service_error=0.1, asking=MEANS)
        row = found["a", "mean_response_s"]
        assert row.high == math.inf and row.low < row.value
        # unstable where s > 1 / 0.95, 0.526 standard errors up
        assert found.unstable_share == pytest.approx(0.2993, abs=0.012)
        assert found.to_dict()["moved"][0]["high"] is None

    def test_the_first_missed_slo(self):
        found = sensitivity(m_m_1(slo={"response_s": 4.0}), asking=MEANS)
        assert found.first_missed.rate == pytest.approx(0.75, rel=3e-3)
        assert found.first_missed.limited_by == ("a", "mean_response_s")
        assert found.to_dict()["first_missed_slo"] == ["a", "mean_response_s"]

    def test_closed_populations_have_no_rate_to_move(self):
        users = Scenario([RequestClass("u", Closed(5, 2.0), service=Exponential(1.0), slo={"response_s": 9.0})])
        found = sensitivity(users, asking=MEANS)
        row = found["u", "mean_response_s"]
        assert row.by_rate is None and row.by_service > 1.0 and found.first_missed is None

    def test_what_theory_cannot_is_simulated(self):
        class Own(Rank):
            name = "own"
            preemptive = True

            def rank(self, request, attained):
                return request.arrival_s + request.deadline_s

        scenario = replace(m_m_1(), policy=Own())
        found = sensitivity(scenario, asking=Asking(percentiles=(), requests=4000))
        assert found["a", "mean_response_s"].by_service > 1.0
        simulated = sensitivity(m_m_1(), asking=Asking("simulation", (), 4000))
        assert simulated["a", "mean_response_s"].low < 2.0

    def test_theory_that_ends_nearby_is_simulated_as_a_whole(self):
        """The approximation of continuous batching has been checked at this rate, not where services are longer."""
        lengths = {"input_tokens": Lognormal(500.0, 1.0), "output_tokens": Geometric(200.0)}
        chat = RequestClass("chat", Poisson(6.0), factors=lengths)
        time = IterationTime(base=0.010, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)
        engine = System(batching="continuous", max_batch=64, iteration_time=time)
        scenario = Scenario([chat], system=engine)
        asking = Asking(percentiles=(), requests=4000)
        assert analyse(scenario, percentiles=()).method == "approximation"
        found = sensitivity(scenario, asking=asking)
        assert (
            found["chat", "mean_response_s"]
            == sensitivity(scenario, asking=replace(asking, method="simulation"))["chat", "mean_response_s"]
        )
        with pytest.raises(InputError, match="outside the range where the approximation was checked"):
            sensitivity(scenario, asking=replace(asking, method="theory"))

    def test_stretched(self):
        made = (Station("s"),)
        line = Scenario([RequestClass("a", Poisson(0.5), services={"s": Exponential(1.0)})], stations=made)
        assert stretched(line, 1.5).classes[0].services["s"].mean == 1.5
        batched = replace(m_m_1(), system=System(batching="dynamic", iteration_time=IterationTime(base=0.1)))
        assert stretched(batched, 2.0).system.iteration_time.base == 0.2
        packed = IterationTime(0.1, per_prefill_token=1e-3, per_query_key=1e-6)
        longer = stretched(replace(batched, system=replace(batched.system, iteration_time=packed)), 2.0)
        assert longer.system.iteration_time == packed.times(2.0)
        odd = replace(batched, system=replace(batched.system, iteration_time=object()))
        with pytest.raises(InputError, match="cannot be stretched"):
            stretched(odd, 2.0)
        model = fitted([[0.0, 0.0], [0.0, 0.0]])
        assert stretched(model, 2.0).served[0].size.mean == pytest.approx(0.3)


class TestFittedModel:
    COVARIANCE = ((4e-4, -1e-6), (-1e-6, 1e-6))

    def test_against_brute_force(self):
        scenario = fitted(self.COVARIANCE, rate=1.5)
        found = sensitivity(scenario, asking=MEANS)
        assert found.source == "coefficients of the fitted model"
        rng, root = np.random.default_rng(3), np.linalg.cholesky(np.array(self.COVARIANCE))
        drawn = {"short": [], "long": []}
        for z in rng.standard_normal((3000, 2)):
            vector = np.array([0.1, 0.01]) + root @ z
            if (vector < 0).any():
                continue
            model = replace(scenario.system.model, form=scenario.system.model.form.with_coefficients(vector))
            answer = analyse(replace(scenario, system=System(model=model)), percentiles=())
            for name, values in drawn.items():
                values.append(answer[name].mean_response_s)
        for name, values in drawn.items():
            low, high = np.quantile(values, (0.025, 0.975))
            row = found[name, "mean_response_s"]
            assert row.low == pytest.approx(low, rel=0.03) and row.high == pytest.approx(high, rel=0.03)

    def test_percentiles_along_the_first_direction(self):
        """One direction: two classes of one size, so the ratio is that of the node itself."""
        model = replace(ServiceModel.affine({"1": 0.5}), covariance=np.array([[0.0025]]))
        one = RequestClass("a", Poisson(1.0), factors={"output_tokens": Deterministic(1.0)})
        scenario = Scenario([one], policy=FCFS(), system=System(model=replace(model, residual=model.residual)))
        found = sensitivity(scenario, asking=Asking(percentiles=(95.0,)))["a", "p95_response_s"]
        for end, seconds in ((found.low, 0.5 - 1.96 * 0.05), (found.high, 0.5 + 1.96 * 0.05)):
            exact = Scenario([RequestClass("a", Poisson(1.0), service=Deterministic(seconds))])
            assert end == pytest.approx(analyse(exact, percentiles=(95.0,))["a"].p95_response_s, rel=0.02)

    def test_truncated_to_times(self):
        """A coefficient as uncertain as it is large: no draw below 0."""
        scenario = fitted(((0.01, 0.0), (0.0, 1e-10)), rate=0.5)
        row = sensitivity(scenario, asking=MEANS)["short", "mean_response_s"]
        assert row.low > 0.05  # what remains of the service without the constant
        # one up is the other down, a thousand times as far as either is large
        hopeless = fitted(((100.0, -100.0), (-100.0, 100.0)), rate=1e-3)
        with pytest.raises(InputError, match="too uncertain to be times"):
            sensitivity(hopeless, asking=MEANS)

    def test_models_that_say_nothing_of_their_error(self):
        assert spread_of(None) is None and spread_of(ServiceModel.affine({"1": 0.1})) is None
        phases = TokenService(
            ServiceModel.affine({"1": 0.002, "input_tokens": 1e-5}), ServiceModel.affine({"1": 0.001})
        )
        assert spread_of(phases) is None
        assert "standard error" in sensitivity(fitted(((0.0, 0.0), (0.0, 0.0))), asking=MEANS).source

    def test_both_phases(self):
        prefill = ServiceModel.affine({"1": 0.002, "input_tokens": 1e-5})
        prefill = replace(prefill, covariance=np.diag([1e-8, 0.0]))
        phases = TokenService(prefill, ServiceModel.affine({"1": 0.001}))
        spread = spread_of(phases)
        assert spread.values.tolist() == [0.002, 1e-5, 0.001] and spread.root[0, 0] == pytest.approx(1e-4)
        levels = {"input_tokens": 100, "output_tokens": 11}
        longer = spread.rebuilt(spread.values + np.array([0.001, 0.0, 0.001]))
        assert longer.predict(levels) - phases.predict(levels) == pytest.approx(0.001 + 10 * 0.001)

    def test_errors_of_both_phases_stay_apart(self):
        """Two coefficients each, whose errors go together: the square of the root has both blocks and no other."""
        prefill = ServiceModel.affine({"1": 0.002, "input_tokens": 1e-5})
        decode = ServiceModel.affine({"1": 0.001, "context_tokens": 1e-7})
        first, second = np.array([[4.0, 1.0], [1.0, 3.0]]) * 1e-10, np.array([[2.0, -1.0], [-1.0, 5.0]]) * 1e-12
        phases = TokenService(replace(prefill, covariance=first), replace(decode, covariance=second))
        spread = spread_of(phases)
        expected = np.zeros((4, 4))
        expected[:2, :2], expected[2:, 2:] = first, second
        np.testing.assert_allclose(spread.root @ spread.root.T, expected, rtol=1e-12, atol=1e-24)
        one_token = {"input_tokens": 100, "output_tokens": 2}
        longer = spread.rebuilt(spread.values + np.array([0.0, 0.0, 0.0, 1e-7]))
        assert longer.predict(one_token) - phases.predict(one_token) == pytest.approx(101e-7, rel=1e-9)

    def test_ratios_are_coefficients_too(self):
        model = ServiceModel.affine({"1": 0.1})
        model = replace(
            model,
            ratios={"precision": {"fp32": 1.0, "int8": 0.5}},
            reference={"precision": "fp32"},
            covariance=np.diag([1e-4, 4e-4]),
        )
        spread = spread_of(model)
        assert spread.values.tolist() == [0.1, 0.5]
        rebuilt = spread.rebuilt(np.array([0.2, 0.6]))
        assert rebuilt.predict({"precision": "int8"}) == pytest.approx(0.12)


def test_refused():
    with pytest.raises(InputError, match="unstable as it is"):
        sensitivity(m_m_1(1.2))
    for wrong in ({"confidence": 1.0}, {"service_error": 0.0}):
        with pytest.raises(InputError, match="are shares"):
            sensitivity(m_m_1(), **wrong)


def test_exported():
    assert exported is sensitivity
