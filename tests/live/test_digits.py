"""The real engine under the real loop: denoising steps on ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.live import LiveServer, draw_schedule, measured_answer
from qmodel.live.engine import Work, make_engine
from qmodel.policy import PS, SRPT
from qmodel.scenario import Scenario, System
from qmodel.service.model import ServiceModel
from qmodel.service.transform import FewerSteps, QueueCondition
from qmodel.workload import Deterministic, Poisson, RequestClass

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def scenario():
    model = ServiceModel.affine({"steps": 2e-4, "steps:batch_size": 2e-4})
    classes = (
        RequestClass("preview", Poisson(30.0), factors={"batch_size": Deterministic(1), "steps": Deterministic(4)}),
        RequestClass("full", Poisson(10.0), factors={"batch_size": Deterministic(4), "steps": Deterministic(8)}),
    )
    return Scenario(classes, system=System(model=model))


def test_a_job_is_stepped_to_its_end():
    engine = make_engine("digits-diffusion")
    assert engine.factors == ("batch_size", "steps")
    assert not engine.emulated
    assert "onnxruntime" in engine.versions()
    job = engine.start(Work({"batch_size": 2, "steps": 3}, 0.0, seed=7))
    left = [job.remaining]
    while job.remaining:
        job.step()
        left.append(job.remaining)
    assert left == [3, 2, 1, 0]
    assert job.tokens == 0
    assert engine.start(Work({}, 0.0)).remaining == 16
    engine.close()


def test_images_do_not_depend_on_who_is_served_in_between():
    engine = make_engine("digits-diffusion")
    alone, first, second = (engine.start(Work({"steps": 3}, 0.0, seed=s)) for s in (1, 1, 2))
    for _ in range(3):
        first.step()
        second.step()
    for _ in range(3):
        alone.step()
    assert np.array_equal(alone.images, first.images)
    assert not np.array_equal(first.images, second.images)


def test_policies_run_on_real_denoising(scenario, tmp_path):
    """All requests come back, each with the steps that it asked for, under every kind of scheduling."""
    condition = FewerSteps(fraction=0.5, when=QueueCondition(1))
    with LiveServer({"kind": "digits-diffusion"}) as server:
        for question in (scenario, scenario.with_policy(SRPT()), scenario.with_policy(PS())):
            for transforms in ((), (condition,)):
                asked = question.with_transforms(*transforms)
                schedule = draw_schedule(asked, 0.5, seed=1)
                run = server.run(asked, schedule, log_path=tmp_path / "run.csv")
                log = run.log
                assert (log["status"] == "ok").all()
                full = np.where(log["reduced"], np.maximum(1, schedule["steps"] // 2), schedule["steps"])
                assert log["steps"].tolist() == full.tolist()
                assert run.meta["loop"]["steps"] == full.sum()
                answer = measured_answer(run, asked)
                assert answer.method == "measured"
                assert answer["all"].mean_response_s >= answer["all"].mean_service_s > 0
