"""`qmodel serve` and `qmodel load` as a person types them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import threading
from types import SimpleNamespace

import pandas as pd
import pytest

from qmodel.cli import run
from qmodel.live.log import read_log

from .conftest import SCENARIO, misbehaving, serving, well
from .test_endpoint import call, until


def test_load_says_what_each_class_got(scenario, scenario_path, tmp_path, capsys):
    path = tmp_path / "log.csv"
    command = ["load", str(scenario_path), "-o", str(path), "--seconds", "2", "--goodput", "ttft:1500"]
    with serving(scenario) as running:
        assert run([*command, "--url", running.url]) == 0
    out, err = capsys.readouterr()
    wanted = (
        "times to first token|chat|batch|simulation|emulated run|ITL|client lag|goodput|mean queue time|prompts"
    )
    for said in ("response times in", "consistent with a Poisson process", *wanted.split("|")):
        assert said in out, said
    assert "the log is in" in err
    assert all(len(line) <= 110 for line in out.splitlines())
    log = read_log(path)
    assert (log["status"] == "ok").all()
    assert run(["import", str(path), "--answer", str(tmp_path / "answer.json")]) == 0  # its own reader takes it


def test_load_prints_an_answer_as_json(scenario, scenario_path, tmp_path, capsys):
    command = ["load", str(scenario_path), "-o", str(tmp_path / "log.csv"), "--num-prompts", "30", "--json"]
    with serving(scenario) as running:
        assert run([*command, "--url", running.url, "--percentiles", "50,90"]) == 0
    answer = json.loads(capsys.readouterr().out)
    result = answer["results"][0]
    assert answer["schema"] == "qmodel.answer/1"
    assert answer["scenario"] == scenario.fingerprint
    assert {"p50_ttft_s", "p90_tpot_s", "goodput"} <= set(result["classes"][0])
    assert result["run"]["itl"]["mean_s"] > 0.0
    assert result["run"]["card"]["policy"] == "np-priority"


def test_an_interrupted_load_has_the_signals_exit_code(scenario_path, tmp_path, capsys):
    path = tmp_path / "log.csv"
    with misbehaving(well) as running:
        threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert run(["load", str(scenario_path), "--url", running.url, "-o", str(path), "--seconds", "60"]) == 130
    assert "SIGINT, with" in capsys.readouterr().err
    assert len(pd.read_csv(f"{path}.part")) > 1000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--endpoint", "embeddings"], "--endpoint"), (["--goodput", "speed:1"], "--goodput"),
        (["--request-rate", "0"], "--request-rate"), (["--percentiles", "x"], "--percentiles"),
        (["--url", "nowhere"], "is no URL"), (["--set", "policy.preset=fsfc"], "fcfs"),
        (["-o", "/dev/null/x/log.csv"], "/dev/null"),
    ],
)  # fmt: skip
def test_bad_words_are_one_line(scenario, scenario_path, tmp_path, capsys, more, said):
    with serving(scenario) as running:
        command = [
            "load",
            str(scenario_path),
            "--url",
            running.url,
            "-o",
            str(tmp_path / "log.csv"),
            "--seconds",
            "1",
        ]
        assert run([*command, *more]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]


def test_a_warm_up_that_leaves_nothing(scenario, scenario_path, tmp_path, capsys):
    with serving(scenario) as running:
        command = [
            "load",
            str(scenario_path),
            "--url",
            running.url,
            "-o",
            str(tmp_path / "l.csv"),
            "--num-prompts",
            "3",
        ]
        assert run([*command, "--warmup", "2"]) == 2
    assert "--warmup" in capsys.readouterr().err


class Heard(io.StringIO):
    """What is said to stderr, kept: capture that is emptied while another thread writes loses lines."""

    def write(self, text):
        sys.__stderr__.write(text)
        return super().write(text)


def served_while(arguments, do, monkeypatch, end=True):
    """Runs `qmodel serve` here while `do(at)` talks to it from a thread; then SIGTERM. Returns its exit code.

    Without `end` the server is to end of itself; if it does not within 20 s, it is ended all the same. `at.heard`
    holds what it says.
    """
    failed, ended, heard = [], threading.Event(), Heard()
    monkeypatch.setattr(sys, "stderr", heard)

    def talk():
        try:
            told = until(lambda: ended.is_set() or re.search(r"(http://\S+)/v1", heard.getvalue()), 20.0)
            assert told not in (None, True), heard.getvalue()
            do(SimpleNamespace(url=told.group(1), said=heard.getvalue()))
        except BaseException as error:
            failed.append(error)
        finally:
            ended.wait(0.05 if end or failed else 20.0)
            if not ended.is_set():  # the signal is the server's, not that of the tests
                os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=talk)
    thread.start()
    code = run(["serve", *arguments, "--port", "0"])
    ended.set()
    thread.join()
    if failed:
        raise failed[0]
    return code, heard.getvalue()


def test_serve_until_sigterm(scenario_path, monkeypatch):
    def talk(at):
        assert "EMULATED" in at.said
        assert "under srpt" in at.said
        assert "warning: 0.0.0.0 can be reached by others" in at.said
        host = SimpleNamespace(url=at.url.replace("0.0.0.0", "127.0.0.1"))
        assert call(host, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 2})[0] == 200

    code, said = served_while([str(scenario_path), "--policy", "srpt", "--host", "0.0.0.0"], talk, monkeypatch)
    assert code == 0 and "stopped" in said


def test_serve_drains_while_a_request_runs(scenario_path, monkeypatch):
    from .test_endpoint import opened

    kept = []

    def talk(at):
        kept.append(opened(at, max_tokens=9_000))
        kept[0].recv(100)

    code, said = served_while([str(scenario_path), "--drain", "0.2"], talk, monkeypatch)
    assert code == 0
    assert "draining 1 requests" in said
    assert "1 requests were cut off" in said


def test_a_batching_engine_drains_while_a_stream_runs(scenario_path, monkeypatch):
    from .test_endpoint import opened

    told = []

    def talk(at):
        assert "tests.live.http.batching_engines:Waiting under fcfs" in at.said
        stream = opened(at, max_tokens=60)
        stream.recv(100)

        def rest():
            while part := stream.recv(65536):
                told.append(part.decode())

        threading.Thread(target=rest).start()

    options = ["--engine", "tests.live.http.batching_engines:Waiting", "--policy", "fcfs"]
    path = scenario_path.with_name("unbounded.toml")
    path.write_text(scenario_path.read_text().replace("kv_capacity_tokens = 20000\n", ""))
    code, said = served_while([str(path), *options], talk, monkeypatch)
    assert code == 0
    assert "draining 1 requests" in said and "cut off" not in said
    assert until(lambda: "[DONE]" in "".join(told))


def test_a_policy_that_fails_in_the_single_server_ends_it(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(
        "import qmodel as qm\n"
        "class Broken(qm.policies.Rank):\n"
        "    preemptive = True\n"
        "    def rank(self, request, attained):\n        return float('nan') if attained else 0.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "one.toml"
    path.write_text(
        '[policy]\npreset = "broken:Broken"\n[[class]]\nname = "one"\n'
        'arrivals = { process = "poisson", rate = 1.0 }\nservice = "deterministic:0.05"\n'
    )

    kept = []  # a connection that nobody holds is closed, and its request withdrawn

    def talk(at):
        from .test_endpoint import opened

        kept.append(opened(at, max_tokens=5))

    code, said = served_while([str(path)], talk, monkeypatch, end=False)
    assert code == 2 and "gives a rank that is not a number" in said


def test_without_the_library_the_extra_is_named(scenario_path, monkeypatch, capsys):
    rooms = ("qmodel.live.endpoint", "qmodel.live.load", "qmodel.openai_client")
    for name in [name for name in sys.modules if name.startswith(rooms)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for command in (["serve", str(scenario_path)], ["load", str(scenario_path), "--url", "http://127.0.0.1:1"]):
        assert run(command) == 2
        assert "pip install 'qmodel[live]'" in capsys.readouterr().err


def test_the_scenario_of_these_tests_is_what_predict_reads(scenario_path, capsys):
    assert SCENARIO
    assert run(["predict", str(scenario_path), "--json", "--requests", "20000"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["stable"]
