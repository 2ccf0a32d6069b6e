"""Ways through the models that common questions do not take."""

from __future__ import annotations

from qmodel.answer import NotAnalysable
from qmodel.scenario import Scenario, System
from qmodel.service.model import ServiceModel
from qmodel.theory import analyse
from qmodel.theory.one_server.sharing_law import SharingLaw
from qmodel.theory.rank.sample import _by_free_capacity
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass


def test_point_masses_need_no_cells():
    assert _by_free_capacity(Deterministic(1.0), 0.5, 8, 1e-6) == []


def test_sharing_laws_of_two_queues_are_not_put_together():
    size = Exponential(1.0)
    one, other = SharingLaw(size, 0.5, size), SharingLaw(size, 0.6, size)
    assert one.together([0.5, 0.5], [one, other]) is None
    assert one.together([0.5, 0.5], [one, one]) is not None


def test_a_batching_engine_whose_iterations_are_not_linear():
    bent = {"1": 0.01, "batch_size": 1e-4, "over(batch_size,32)": 2e-4, "prefill_tokens": 2e-5}
    model = ServiceModel.affine(bent, domain={"batch_size": (1.0, 64.0), "prefill_tokens": (1.0, 4096.0)})
    tokens = {"input_tokens": Deterministic(500.0), "output_tokens": Deterministic(20.0)}
    system = System(batching="continuous", max_batch=64, model=model)
    refusal = analyse(Scenario([RequestClass("a", Poisson(1.0), factors=tokens)], system=system))
    assert isinstance(refusal, NotAnalysable) and refusal.nearest == "system.iteration_time"
