"""Profile and live runs of a server that is known by its URL alone."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.ladder_batches import ladder_of_batches
from qmodel.live import LiveRun, LiveServer, RemoteServer, draw_schedule, measured_answer, server_of
from qmodel.live.log import tokens_path
from qmodel.live.remote import raw_path
from qmodel.live.run import RunFailed
from qmodel.measure.failure import TrialFailed
from qmodel.measure.targets import make_target
from qmodel.measure.targets.openai_server import GROWTH, together, whole_gaps, with_prompts
from qmodel.predict import Asking, answer_one

from .conftest import misbehaving, serving, well

PAUSE_S = 0.02


class Counting:
    """A server that streams a token every `PAUSE_S`, as many as asked for, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict] = []

    async def __call__(self, request):
        self.asked.append(await request.json())
        return await well(request, tokens=self.asked[-1]["max_tokens"], pause_s=PAUSE_S)


class TestTarget:
    def test_a_burst_gives_many_iterations(self):
        counting = Counting()
        with misbehaving(counting) as running:
            target = make_target("openai-server", url=running.url, max_batch=4, max_batched_tokens=64)
            trial = target.prepare("decode", {"batch_size": 3, "context_tokens": 64})
            gaps = [trial()]
            asked = counting.asked[-3:]
            gaps += [trial() for _ in range(GROWTH // 2)]
            assert counting.asked[-3:] == asked  # no second burst
            assert [each["max_tokens"] for each in asked] == [GROWTH] * 3
            words = [len(each["prompt"].split()) for each in asked]
            assert words == [64 - GROWTH // 2] * 3
            assert statistics.mean(gaps) > 0.5 * PAUSE_S
            target.close()

    def test_prompts_are_read_beside_them(self):
        counting = Counting()
        with misbehaving(counting) as running:
            target = make_target("openai-server", url=running.url, max_batch=4, max_batched_tokens=64)
            levels = {"batch_size": 2, "context_tokens": 64, "prefill_tokens": 48}
            trial = target.prepare("mixed", levels)
            assert 0 < trial() < 60.0
            prompts = [each for each in counting.asked if each["max_tokens"] == 1]
            assert len(prompts) > 1
            assert {len(each["prompt"].split()) for each in prompts} == {48}
            with pytest.raises(InputError, match="prefill_tokens"):
                target.prepare("mixed", levels | {"prefill_tokens": 63})

    def test_how_gaps_are_told(self):
        begins_last, first = [3.0, 4.0, 5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0, 5.1]
        np.testing.assert_array_equal(together([first, begins_last]), [3.0, 4.0, 5.0])
        lumps = [3.0, 5.0, 7.0]
        np.testing.assert_array_equal(together([lumps, first, [2.0, 3.0, 4.0, 5.0]]), [3.0, 4.0, 5.0])
        ends = np.array([0.0, 1.0, 2.0, 5.0, 6.0])
        assert with_prompts([5.1, 4.9, 2.2], ends) == [1, 2]
        assert with_prompts([9.0], ends) == with_prompts([1.0], ends[:1]) == []
        np.testing.assert_array_equal(whole_gaps(np.array([0.0, 1.0, 3.0, 3.0, 4.0])), [1.0, np.nan, np.nan, 1.0])
        assert not whole_gaps(ends[:1]).size

    def test_what_cannot_be_timed(self):
        with pytest.raises(InputError, match="url"):
            make_target("openai-server")
        with misbehaving(lambda request: well(request, tokens=1)) as running:
            target = make_target("openai-server", url=running.url)
            assert target.peak_memory_bytes() is None
            with pytest.raises(TrialFailed, match="no iteration"):
                target.prepare("decode", {"batch_size": 2})()
            with pytest.raises(InputError, match="batch_size"):
                target.prepare("decode", {"batch_size": 256})

    def test_a_failing_server_fails_the_trial(self):
        from aiohttp import web

        seen = []

        async def answer(request):
            seen.append(request)
            if len(seen) > 4:
                return web.json_response({"error": {"message": "full"}}, status=500)
            return await well(request)

        with misbehaving(answer) as running:
            target = make_target("openai-server", url=running.url)
            with pytest.raises(TrialFailed, match="full"):
                target.prepare("decode", {"batch_size": 4})()
            assert target.versions()["server"]


class TestRun:
    def test_the_log_is_a_live_runs(self, scenario, tmp_path):
        schedule = draw_schedule(scenario, 2.0, seed=1)
        path = tmp_path / "fcfs.csv"
        with serving(scenario) as running, server_of({"kind": "openai-server", "url": running.url}) as server:
            assert isinstance(server, RemoteServer)
            run = server.run(scenario, schedule, log_path=path, about={"load": 0.5})
        again = LiveRun.read(path)
        assert again.meta["about"] == {"load": 0.5}
        assert again.emulated
        assert len(again.log) == len(schedule) == run.meta["requests"]["finished"]
        assert (again.log["output_tokens"].to_numpy() == schedule["output_tokens"].to_numpy()).all()
        assert tokens_path(path).exists()
        assert not raw_path(path).exists()
        answer = measured_answer(again, scenario, warmup_share=0.0)
        assert answer.utilisation is None
        assert answer["all"].metrics["mean_service_s"] is None
        assert answer["all"].metrics["mean_response_s"] == pytest.approx(
            (again.log["done_s"] - again.log["scheduled_s"]).mean()
        )
        assert "openai-server" not in str(answer.source)  # the server says what it is
        rungs = ladder_of_batches(scenario, again.log, again.meta["loop"], answer_one(scenario, Asking()))
        assert "measured services" not in {each.rung for each in rungs}
        assert {"live", "fitted services", "theory"} <= {each.rung for each in rungs}

    def test_what_cannot_be_run(self, scenario, tmp_path):
        with pytest.raises(InputError, match="url"):
            RemoteServer({"kind": "openai-server"})
        with pytest.raises(InputError, match="colour"):
            RemoteServer({"kind": "openai-server", "url": "http://x", "colour": 1})
        schedule = draw_schedule(scenario, 1.0, seed=1)
        with pytest.raises(InputError, match="cannot be asked"):
            RemoteServer({"url": "http://127.0.0.1:9"}).run(scenario, schedule, log_path=tmp_path / "a.csv")
        with pytest.raises(InputError, match="no input_tokens"):
            bare = schedule.drop(columns=["input_tokens"])
            RemoteServer({"url": "http://127.0.0.1:9"}).run(scenario, bare, log_path=tmp_path / "a.csv")
        assert isinstance(server_of({"kind": "digits-diffusion"}), LiveServer)

    def test_a_server_of_errors_leaves_the_partial_log(self, scenario, tmp_path):
        from aiohttp import web

        async def answer(request):
            if len((await request.json())["prompt"].split()) in (20, 40):  # of the classes; others try the server
                return web.json_response({"error": {"message": "full"}}, status=503)
            return await well(request)

        schedule = draw_schedule(scenario, 0.3, seed=1)
        path = tmp_path / "a.csv"
        with misbehaving(answer) as running, pytest.raises(RunFailed, match="no request came through"):
            RemoteServer({"url": running.url, "api_key": "secret"}).run(scenario, schedule, log_path=path)
        assert not path.exists()
        assert raw_path(path).with_name("a.load.csv.part").exists()
