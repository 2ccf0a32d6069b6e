"""Mutated scenario files and option values: exit code 0 or 2, at most one line on stderr, never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmodel.cli import run
from qmodel.workload.grammar import LAWS, PROCESSES

pytestmark = pytest.mark.filterwarnings("error")  # a warning would be a second line on stderr
WHOLE = """
name = "fuzz"
[system]
servers = 1
batching = "none"
[policy]
preset = "np-priority"
options = {}
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 0.2 }
service = { distribution = "lognormal", mean = 1.0, scv = 2.0 }
priority = 0
weight = 1.0
predicted_size = { error = "lognormal", scv = 0.5 }
slo = { response_p95_s = 8.0 }
[[class]]
name = "batch"
arrivals = "poisson:0.1"
service = { distribution = "discrete", values = [1, 2], probabilities = [0.5, 0.5] }
[[class]]
name = "mixed"
arrivals = { process = "poisson", rate = 0.01 }
service = { distribution = "mixture", probabilities = [0.5, 0.5], laws = ["exponential:1", 2.0] }
[[transform]]
kind = "early-exit"
fractions = [0.5, 1.0]
probabilities = [0.25, 0.75]
delivery = "stop"
[[transform]]
kind = "cache"
hit_ratio = 0.5
saved_fraction = 0.5
lookup_s = 0.01
"""
HOSTILE = [
    *("0", "-1", "1e308", "-1e308", "1e-308", "nan", "inf", "-inf", "true", "''", "'fast'", "[]", "{}", "[[]]"),
    *("9" * 400, "0x" + "f" * 5000, "[1, 'a']", "[nan]", "{ a = 1 }", "'poisson:0'", "'exponential:1e300'"),
    *("1979-05-27", "07:32:00", "'\\u0000'", "'é'", "'all'", "'trace:nowhere.csv'", "[{ distribution = 'x' }]"),
    *("'continuous'", "'fcfs'", "'ps'", "'math:pi'", "0.5", "2", "1e50", "1e-50", "'geometric:1e40'"),
    "{ distribution = 'empirical', file = '.', column = 'a' }",
    "{ distribution = ['a'], mean = 1 }",
]
KEYS = ["rate", "mean", "scv", "name", "kind", "class", "servce", "above_queue", "laws", "law", "factor", "process"]
LINES = WHOLE.strip().splitlines()
NUMBERED = [i for i, line in enumerate(LINES) if "=" in line]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The whole file with one to three lines dropped, doubled, renamed, torn or given another value."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.sampled_from(NUMBERED))
        key, _, value = lines[i].partition("=") if "=" in lines[i] else (lines[i], "", "")
        change = draw(st.sampled_from(["drop", "double", "rename", "tear", "value", "inside", "header"]))
        if change == "drop":
            lines[i] = ""
        elif change == "double":
            lines[i] = lines[i] + "\n" + lines[i]
        elif change == "rename":
            lines[i] = f"{draw(st.sampled_from(KEYS))} ={value}"
        elif change == "tear":
            lines[i] = lines[i][: draw(st.integers(0, len(lines[i])))]
        elif change == "value":
            lines[i] = f"{key}= {draw(st.sampled_from(HOSTILE))}"
        elif change == "inside":
            words = value.replace(",", " , ").split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(HOSTILE + KEYS))
            lines[i] = f"{key}= {' '.join(words)}"
        else:
            lines[i] = draw(
                st.sampled_from(["[class]", "[[class]]", "[[system]]", "[transform.x]", "[", "[[transform]]"])
            )
    return "\n".join(lines)


def asked(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(words))
    return code, out.getvalue(), err.getvalue()


def sound(code: int, out: str, err: str) -> None:
    assert code in (0, 2), err
    assert "Traceback" not in err and "internal fault" not in err
    if code == 2:
        assert err.count("\n") == 1 and ": " in err, err
    if out:
        answer: Any = json.loads(
            out, parse_constant=lambda constant: (_ for _ in ()).throw(AssertionError(constant))
        )
        assert answer["schema"] == "qmodel.answer/1"


def try_scenario(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q.toml"
        path.write_text(text)
        words = ("predict", str(path), "--policy", "fcfs", "--method", "theory", "--json", "--percentiles", "95")
        sound(*asked(*words))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_mutated_scenarios(text: str) -> None:
    try_scenario(text)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_many_mutated_scenarios(text: str) -> None:
    try_scenario(text)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q.toml"
        path.write_bytes(content)
        code, out, err = asked("predict", str(path))
        assert (code, out) == (2, "") and err.startswith(f"{path}: ") and err.count("\n") == 1


VALUES = "0 1 2 0.5 3.5 50 0.01 1e60 1e-60 -1 nan inf x".split()
SPELLINGS = {kind: len(names) for kind, (_, names) in (LAWS | PROCESSES).items()}


@st.composite
def spelled(draw: st.DrawFn, kinds: list[str]) -> str:
    """A law or a process with hostile parameters, now and then a word too many or too few."""
    kind = draw(st.sampled_from(kinds))
    count = SPELLINGS[kind] + draw(st.sampled_from([0, 0, 0, 0, 0, 1, -1]))
    return f"{kind}:{','.join(draw(st.sampled_from(VALUES)) for _ in range(count))}"


ARRIVALS = st.one_of(
    spelled(list(PROCESSES)), st.sampled_from(["poisson:0.1", "poisson:1e-6"]), st.text(max_size=20)
)
SERVICES = st.one_of(spelled(list(LAWS)), spelled(list(LAWS)), st.text(max_size=20))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARRIVALS, SERVICES)
def test_inline_queues(arrivals: str, service: str) -> None:
    words = (f"--arrivals={arrivals}", f"--service={service}", "--method=theory", "--percentiles=95", "--json")
    sound(*asked("predict", *words))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["--policy", "--rate", "--percentiles", "--method", "--seed", "--requests", "--set", "--csv"]),
    st.one_of(st.text(max_size=20), st.sampled_from(HOSTILE)),
)
def test_any_option_value(option: str, value: str) -> None:
    if option == "--csv" and "\0" not in value:
        value = f"/proc/nowhere/{value}"  # a place that nobody can write to
    words = ("--arrivals", "poisson:0.5", "--service", "deterministic:1", "--json", f"{option}={value}")
    sound(*asked("predict", *words))


@pytest.mark.parametrize("service", ["exponential", "deterministic", "geometric"])
@pytest.mark.parametrize("mean", ["1e40", "7e9", "3e-9", "1e-40"])
@pytest.mark.parametrize("rate", ["0.1", "3e-9", "1e-40"])
def test_any_scale(service: str, mean: str, rate: str) -> None:
    words = (
        f"--arrivals=poisson:{rate}",
        f"--service={service}:{mean}",
        "--method=theory",
        "--percentiles=95",
        "--json",
    )
    sound(*asked("predict", *words))
