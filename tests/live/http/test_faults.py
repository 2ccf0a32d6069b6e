"""Every fault by doing it: servers that die, hang, babble and refuse; full disks, signals, clocks that jump."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from aiohttp import web

from qmodel.cli import run
from qmodel.errors import InputError
from qmodel.live.load.answering import load_answer
from qmodel.live.load.plan import Wanted, draw_load
from qmodel.live.load.running import LoadStopped, run_load
from qmodel.live.log import partial_path, tokens_path
from qmodel.openai_client.server import Target

from .conftest import misbehaving, serving, well
from .test_endpoint import call, opened

QMODEL = [sys.executable, "-m", "qmodel"]


def load(plan, url, path, timeout_s=20.0, **options):
    return asyncio.run(run_load(plan, Target(url, timeout_s=timeout_s), path, **options))


@pytest.fixture
def plan(scenario):
    return draw_load(scenario, Wanted(request_rate=100.0, num_prompts=20))


def after_the_first(fault):
    """Well-behaved towards the trial request, then not."""
    calls = []

    async def answer(request):
        calls.append(1)
        if len(calls) == 1 or len(calls) % 2 == 0:
            return await well(request)
        return await fault(request)

    return answer


async def plainly(status, text="", **headers):
    return web.Response(status=status, text=text, headers=headers)


async def babbling(request):
    return await streaming(request, b"\x00\xff\xfe nonsense\n\n")


async def streaming(request, *pieces, pause_s=0.0):
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(pause_s)
    return response


async def endless(request):
    return await streaming(request, *[b'data: {"choices": [{"text": "a"}]}\n\n'] * 3000)


async def hanging(request):
    return await streaming(request, b'data: {"choices": [{"text": "a"}]}\n\n', b"data: [DO", pause_s=30.0)


async def dropping(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'data: {"choices": [{"text": "a"}]}\n\n')
    request.transport.abort()
    return response


FAULTS = [
    (lambda r: plainly(500, "boom"), "HTTP 500: boom"),
    (lambda r: plainly(429, '{"error": {"message": "full"}}', **{"Retry-After": "3"}), "HTTP 429: full"),
    (lambda r: plainly(503), "HTTP 503"),
    (lambda r: plainly(200, "<html>hello</html>\n"), "no event: <html>hello"),
    (lambda r: plainly(200), "no stream of tokens came"),
    (lambda r: plainly(200, '{"choices": [{"text": "all at once"}]}\n'), "no event"),
    (babbling, "no event"),
    (lambda r: streaming(r, b"data: {broken\n\n"), "no JSON"),
    (lambda r: streaming(r, b"data: [DONE]\n\n"), "not one token came"),
    (lambda r: streaming(r, b'data: {"choices": [{"text": "a"}]}\n\n'), "the stream ended early, after 1 of"),
    (
        lambda r: streaming(r, b'data: {"error": {"message": "out of memory"}}\n\n'),
        "the server says: out of memory",
    ),
    (lambda r: streaming(r, b"data: " + b"x" * (3 << 20)), "a line of more than"),
    (endless, "the stream does not end"),
    (dropping, "connection lost"),
    (hanging, "no end within 1 s, after 1 of"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_requests_that_fail_are_counted(plan, scenario, tmp_path, fault, said):
    begun = time.monotonic()
    with misbehaving(after_the_first(fault)) as running:
        done = load(plan, running.url, tmp_path / "log.csv", timeout_s=1.0 if fault is hanging else 20.0)
    assert time.monotonic() - begun < 20.0
    failed = done.log[done.log["status"] != "ok"]
    assert len(done.log) == 20
    assert len(failed) == 10
    assert failed["status"].str.startswith(f"failed: {said}").all(), failed["status"].tolist()
    assert failed["done_s"].isna().all()
    answer = load_answer(done, scenario, horizon_s=plan.attrs["horizon_s"], warmup_share=0.0)
    assert answer["all"].failed_share == 0.5
    assert answer["chat"].attainment <= (done.log["status"][done.log["class"] == "chat"] == "ok").mean() + 1e-12
    assert answer["all"].p99_response_s is None
    assert any("10 of 20 requests failed" in note for note in answer.results[0].notes)


def test_a_server_that_serves_nobody_is_said_before_the_run(plan, tmp_path):
    async def refuses(request):
        return web.json_response({"error": {"message": "no"}}, status=500)

    with misbehaving(refuses) as running, pytest.raises(InputError, match="does not serve a request: HTTP 500: no"):
        load(plan, running.url, tmp_path / "log.csv")
    assert list(tmp_path.glob("log*")) == []


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def test_nobody_there_and_what_is_no_url(plan, tmp_path):
    with pytest.raises(InputError, match="cannot be asked"):
        load(plan, f"http://127.0.0.1:{free_port()}", tmp_path / "log.csv")
    for url in ("localhost:8000", "http://", "http://[", "ftp://a"):
        with pytest.raises(InputError):
            load(plan, url, tmp_path / "log.csv")


def test_what_speaks_no_http(plan, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        import threading

        def answer():
            made, _ = listening.accept()
            made.recv(1000)
            made.sendall(b"220 mail.example.org ESMTP\r\n")
            made.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(InputError, match="cannot be asked"):
            load(plan, f"http://127.0.0.1:{listening.getsockname()[1]}", tmp_path / "log.csv")


def test_when_only_the_trial_comes_through_there_is_no_answer(plan, tmp_path):
    calls = []

    async def answer(request):
        calls.append(1)
        return await (well(request) if len(calls) == 1 else plainly(500, "boom"))

    path = tmp_path / "log.csv"
    with (
        misbehaving(answer) as running,
        pytest.raises(LoadStopped, match="no request came through, the first failed"),
    ):
        load(plan, running.url, path)
    assert not path.exists()
    assert len(pd.read_csv(partial_path(path))) == 20


def test_a_full_disk_ends_the_run_at_once(plan, tmp_path):
    path = tmp_path / "log.csv"
    partial_path(path).symlink_to("/dev/full")
    with misbehaving(well) as running, pytest.raises(InputError, match="No space left"):
        load(plan, running.url, path)


def test_a_disk_that_fills_up_in_mid_run(plan, tmp_path, monkeypatch):
    from qmodel.live.load.load_log import LoadLog

    add, rows = LoadLog.add, []

    def filling(self, index, *more):
        rows.append(index)
        if len(rows) > 5:
            raise InputError(str(self.path), "cannot be written: No space left on device", "make room")
        add(self, index, *more)

    monkeypatch.setattr(LoadLog, "add", filling)
    path = tmp_path / "log.csv"
    with misbehaving(well) as running, pytest.raises(LoadStopped, match=r"No space left.*5 of 20 requests"):
        load(plan, running.url, path)
    assert (pd.read_csv(partial_path(path))["status"] == "ok").sum() == 5


def test_clocks_that_jump_do_not_matter(plan, tmp_path, monkeypatch):
    """The wall clock runs backwards a day a second; times are monotonic."""
    monkeypatch.setattr(time, "time", lambda: 1e9 - 86400.0 * time.monotonic())
    with misbehaving(well) as running:
        done = load(plan, running.url, tmp_path / "log.csv")
    assert (done.log["done_s"] >= done.log["first_token_s"]).all()
    assert (done.log["sent_s"] - done.log["scheduled_s"]).between(0.0, 1.0).all()


def test_a_server_that_goes_away_ends_the_run(scenario, tmp_path):
    plan = draw_load(scenario, Wanted(seconds=60.0))
    calls = []

    async def answer(request):
        calls.append(1)
        return await well(request)

    path = tmp_path / "log.csv"
    begun = time.monotonic()
    with misbehaving(answer) as running:

        def watch(done, total, now_s):
            if len(calls) > 15:
                running._loop.call_soon_threadsafe(running._over.set)

        with pytest.raises(LoadStopped, match=r"the server is gone \(cannot connect"):
            load(plan, running.url, path, progress=watch)
    assert time.monotonic() - begun < 20.0
    log = pd.read_csv(partial_path(path))
    assert len(log) == len(plan)
    assert (log["status"] == "ok").sum() >= 10
    assert log["status"].str.startswith("failed: not sent: the server is gone").sum() > 1000


def started(*arguments):
    return subprocess.Popen([*QMODEL, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def served(scenario_path, *more):
    """A server process, and its URL once it says so."""
    process = started("serve", str(scenario_path), "--port", "0", *more)
    process.stderr.readline()
    return process, process.stderr.readline().split()[0].removesuffix("/v1")


def wait_for_rows(path, rows, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if partial_path(path).exists() and len(partial_path(path).read_text().splitlines()) > rows:
            return
        time.sleep(0.02)
    raise AssertionError("no rows came")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_load_that_is_killed_leaves_its_rows(scenario, scenario_path, tmp_path, number):
    path = tmp_path / "log.csv"
    with serving(scenario) as running:
        process = started("load", str(scenario_path), "--url", running.url, "-o", str(path), "--seconds", "60")
        wait_for_rows(path, 10)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    log = pd.read_csv(partial_path(path))
    assert not path.exists()
    assert (log["status"] == "ok").sum() >= 10
    assert len(pd.read_csv(partial_path(tokens_path(path)))) >= log["output_tokens"].sum()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert "SIGTERM, with" in said
        assert "Traceback" not in said
        assert len(log) == len(draw_load(scenario, Wanted(seconds=60.0)))
        assert log["status"].str.contains("not sent: SIGTERM").any()


def test_a_server_killed_in_mid_stream(scenario_path, scenario, tmp_path):
    process, url = served(scenario_path, "--set", "system.iteration_time.base=0.05")
    plan = draw_load(scenario, Wanted(seconds=30.0))
    path = tmp_path / "log.csv"

    def watch(done, total, now_s):
        if done > 5:
            process.kill()

    begun = time.monotonic()
    with pytest.raises(LoadStopped, match="the server is gone"):
        load(plan, url, path, progress=watch)
    process.communicate(timeout=20)
    assert time.monotonic() - begun < 25.0
    log = pd.read_csv(partial_path(path))
    assert len(log) == len(plan)
    assert (log["status"] == "ok").sum() > 5
    assert log["status"].str.contains("connection lost|ended early").any()


def test_a_server_drains_and_a_second_signal_ends_it(scenario_path):
    """What is inside on SIGTERM is served to its end, newcomers are turned away, and the exit code is 0."""
    for signals in (1, 2):
        process, url = served(scenario_path, "--set", "system.iteration_time.base=0.05", "--drain", "20")

        at = SimpleNamespace(url=url)
        inside = opened(at, max_tokens=30 if signals == 1 else 10_000)
        inside.recv(1000)
        process.send_signal(signal.SIGTERM)
        assert "draining 1 requests" in process.stderr.readline()
        if signals == 1:
            assert call(at, "POST", "/v1/completions", {"prompt": "a"})[0] == 503
            text = b""
            while more := inside.recv(1 << 16):
                text += more
                if b"[DONE]" in text:
                    break
            assert b"[DONE]" in text
        else:
            process.send_signal(signal.SIGTERM)
        inside.close()
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "stopped" in said
        assert "Traceback" not in said


def test_a_port_in_use_is_one_line_and_exit_code_2(scenario_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", str(scenario_path), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said == f"127.0.0.1:{port}: cannot be served on: address already in use; name another --port\n"


def test_a_policy_that_fails_is_told_to_the_client(tmp_path, scenario_path):
    (tmp_path / "mine.py").write_text(
        "import qmodel as qm\n"
        "class Broken(qm.policies.Rank):\n    def rank(self, request, attained):\n        return float('nan')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        [*QMODEL, "serve", str(scenario_path), "--port", "0", "--policy", "mine:Broken"],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    process.stderr.readline()
    url = process.stderr.readline().split()[0].removesuffix("/v1")

    at = SimpleNamespace(url=url)
    status, _, said = call(at, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})
    assert status == 500
    assert "gives a rank that is not a number" in said
    process.terminate()
    process.communicate(timeout=20)
