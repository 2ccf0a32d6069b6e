"""Dynamic batches, and early ends, of the real diffusion engine."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live import LiveServer, draw_schedule, measured_answer
from qmodel.live.engine import Work, make_engine
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.workload import Deterministic, Poisson, RequestClass

pytest.importorskip("onnxruntime")


def finished(job):
    while job.remaining:
        job.step()
    return job


def test_an_image_is_the_same_alone_and_in_a_batch():
    engine = make_engine("digits-diffusion")
    works = [Work({"steps": 6}, 0.0, seed) for seed in (3, 9, 4)]
    together = finished(engine.start_batch(works, None)).images
    alone = [finished(engine.start(work)).images[0] for work in works]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert engine.batching == ("dynamic",)


def test_images_that_no_longer_change_end_early_and_are_much_the_same():
    whole = finished(make_engine("digits-diffusion").start(Work({"steps": 40}, 0.0, 1)))
    ends = {}
    for tolerance in (1e-6, 0.05, 10.0):
        job = make_engine("digits-diffusion", tolerance=tolerance).start(Work({"steps": 40}, 0.0, 1))
        steps = 0
        while job.remaining:
            job.step()
            steps += 1
        ends[tolerance] = steps, float(np.abs(job.images - whole.images).mean())
    assert ends[1e-6] == (40, 0.0)
    assert ends[10.0][0] == 2  # two pictures are needed to see that nothing moved
    assert 2 < ends[0.05][0] < 40
    assert 0 < ends[0.05][1] < 0.8 * ends[10.0][1]
    with pytest.raises(InputError, match="tolerance"):
        make_engine("digits-diffusion", tolerance=-1.0)


@pytest.mark.slow
def test_a_live_run_in_batches(model, tmp_path):
    one = RequestClass("one", Poisson(400.0), factors={"steps": Deterministic(4), "batch_size": Deterministic(1)})
    system = System(batching="dynamic", max_batch=8, model=model, iteration_time=IterationTime(1e-3, 1e-3))
    scenario = Scenario((one,), FCFS(), system)
    schedule = draw_schedule(scenario, 1.0, seed=1)
    with LiveServer({"kind": "digits-diffusion"}) as server:
        run = server.run(scenario, schedule, log_path=tmp_path / "run.csv")
    assert (run.log.status == "ok").all()
    totals = run.meta["loop"]["totals"]
    assert totals["requests"] == len(schedule) > totals["batches"]
    sizes = run.log.groupby("started_s").size()
    assert sizes.max() <= 8
    assert len(sizes) == totals["batches"]
    assert 0 < measured_answer(run, scenario, warmup_share=0.0).utilisation <= 1.0
