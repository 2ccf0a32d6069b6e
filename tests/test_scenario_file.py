"""Scenario files: everything they may say, what they may not, and the way back to tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, MLFQ, PRESETS, RoundRobin, make_policy
from qmodel.scenario import Scenario, System
from qmodel.scenario_file import TransformTable, from_tables, make_transform, read_scenario
from qmodel.scenario_tables import to_tables
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.transform import Cache, EarlyExit, FewerSteps, ModelSwap, QueueCondition, Transform
from qmodel.workload import (
    Deterministic,
    Empirical,
    Exponential,
    Geometric,
    Lognormal,
    Poisson,
    PredictedSize,
    Renewal,
    RequestClass,
    Trace,
)

WHOLE = """
name = "two kinds"

[system]
servers = 2
batching = "continuous"
max_batch = 64
kv_capacity_tokens = 400000

[system.iteration_time]
base = 0.010
per_sequence = 0.0002
per_context_token = 2e-7
per_prefill_token = 2e-5

[policy]
preset = "mlfq"
preemption_cost_s = 0.0
options = { thresholds = [0.5, 1.0] }

[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 0.5 }
service  = { distribution = "lognormal", mean = 1.0, scv = 4.0 }
priority = 0
weight   = 1.5
predicted_size = { error = "lognormal", scv = 0.5 }
slo = { response_p99_s = 10.0 }

[[class]]
name = "batch"
arrivals = "renewal:0.1,3"
service  = "erlang:4,2"
priority = 1

[[class]]
name = "replay"
arrivals = { process = "trace", file = "data/log.csv" }
service = { distribution = "empirical", file = "data/sizes.csv", column = "seconds" }

[[transform]]
kind = "model-swap"
above_queue = 4
below_queue = 2
service_factor = 0.4
swap_time_s = 0.1
quality = 0.93

[[transform]]
kind = "early-exit"
fractions = [0.5, 1.0]
probabilities = [0.25, 0.75]
delivery = "release"

[[transform]]
kind = "steps"
fraction = 0.5

[[transform]]
kind = "cache"
hit_ratio = 0.3
lookup_s = 0.01
"""
SIMPLE = """
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 0.5 }
service  = { distribution = "exponential", mean = 1.0 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.csv").write_text("arrival_s\n0\n1\n4\n")
    (tmp_path / "data" / "sizes.csv").write_text("seconds\n0.5\n1.5\n")
    (tmp_path / "whole.toml").write_text(WHOLE)
    (tmp_path / "simple.toml").write_text(SIMPLE)
    return tmp_path


class TestRead:
    def test_everything(self, folder: Path) -> None:
        assert read_scenario(folder / "whole.toml") == Scenario(
            name="two kinds",
            system=System(2, "continuous", 64, 400_000, iteration_time=IterationTime(0.01, 0.0002, 2e-7, 2e-5)),
            policy=MLFQ((0.5, 1.0)),
            classes=(
                RequestClass(
                    "chat",
                    Poisson(0.5),
                    Lognormal(1.0, 4.0),
                    weight=1.5,
                    predicted_size=PredictedSize("lognormal", 0.5),
                    slo={"response_p99_s": 10.0},
                ),
                RequestClass(
                    "batch", Renewal(0.1, 3.0), read_scenario(folder / "whole.toml").classes[1].service, priority=1
                ),
                RequestClass("replay", Trace((0.0, 1.0, 4.0)), Empirical([0.5, 1.5])),
            ),
            transforms=(
                ModelSwap(QueueCondition(4, 2, 0.1), service_factor=0.4, quality=0.93),
                EarlyExit(None, (0.5, 1.0), (0.25, 0.75), "release"),
                FewerSteps(None, 0.5),
                Cache(None, 0.3, 1.0, 0.01),
            ),
        )

    def test_queries_times_keys_are_there_where_they_are_given(self, folder: Path) -> None:
        """A term of 0 is no term: the question, its printing and its fingerprint are those without it."""
        given, last = "per_prefill_token = 2e-5", "per_prefill_token = 2e-5\nper_query_key = "
        plain = read_scenario(folder / "whole.toml")
        for name, pair_s in (("zero", "0.0"), ("packed", "5e-8")):
            (folder / f"{name}.toml").write_text(WHOLE.replace(given, last + pair_s))
        assert read_scenario(folder / "zero.toml").fingerprint == plain.fingerprint
        assert "per_query_key" not in to_tables(plain)["system"]["iteration_time"]
        found = read_scenario(folder / "packed.toml")
        assert found.system.iteration_time == IterationTime(0.01, 0.0002, 2e-7, 2e-5, 5e-8)
        assert found.fingerprint != plain.fingerprint
        assert from_tables(to_tables(found), "again", folder).system == found.system

    def test_defaults(self, folder: Path) -> None:
        scenario = read_scenario(folder / "simple.toml")
        assert scenario == Scenario(
            classes=(RequestClass("chat", Poisson(0.5), Exponential(1.0)),), name="simple", policy=FCFS()
        )

    def test_token_laws_are_factors(self, folder: Path) -> None:
        text = SIMPLE.replace("service  =", "input_tokens = 1024\noutput_tokens = 'geometric:180'\n# ")
        (folder / "tokens.toml").write_text(text)
        factors = read_scenario(folder / "tokens.toml").classes[0].factors
        assert factors == {"input_tokens": Deterministic(1024), "output_tokens": Geometric(180.0)}

    def test_a_fitted_model_beside_the_file(self, folder: Path) -> None:
        model = ServiceModel.affine({"1": 0.001, "steps": 0.002}, domain={"steps": (1, 50)})
        model.save(folder / "data" / "model.json")
        text = "[system]\nservice = 'data/model.json'\n" + SIMPLE.replace(
            "service  =", "factors = { steps = 10 }\n# "
        )
        (folder / "fitted.toml").write_text(text)
        assert read_scenario(folder / "fitted.toml").served[0].size.mean == pytest.approx(0.021)

    def test_prefill_and_decode_models(self, folder: Path) -> None:
        domain = {"input_tokens": (1, 4096), "context_tokens": (1, 4096)}
        ServiceModel.affine({"1": 0.002, "input_tokens": 1e-5}, domain=domain).save(folder / "p.json")
        ServiceModel.affine({"1": 0.001, "context_tokens": 1e-7}, domain=domain).save(folder / "d.json")
        classes = SIMPLE.replace("service  =", "input_tokens = 100\noutput_tokens = 11\n# ")
        (folder / "lm.toml").write_text("[system]\nservice = { prefill = 'p.json', decode = 'd.json' }\n" + classes)
        assert read_scenario(folder / "lm.toml").served[0].size.mean == pytest.approx(0.0131055, rel=1e-9)
        (folder / "lm.toml").write_text("[system]\nservice = { prefill = 'p.json' }\n" + classes)
        with pytest.raises(InputError, match=r"lm.toml: system.service.decode: is missing"):
            read_scenario(folder / "lm.toml")

    @pytest.mark.parametrize("name", PRESETS)
    def test_every_preset(self, folder: Path, name: str) -> None:
        (folder / "p.toml").write_text(f"[policy]\npreset = '{name}'\n" + SIMPLE)
        assert read_scenario(folder / "p.toml").policy == make_policy(name)

    def test_an_own_policy_beside_the_file(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "beside_orders.py").write_text("from qmodel.policy import Rank\nclass Own(Rank):\n    pass\n")
        (folder / "p.toml").write_text("[policy]\npreset = 'beside_orders:Own'\n" + SIMPLE)
        monkeypatch.setattr(sys, "path", list(sys.path))
        assert read_scenario(folder / "p.toml").policy.name == "beside_orders:Own"


class TestSettings:
    @pytest.mark.parametrize(
        ("path", "value", "read"),
        [
            ("class.chat.arrivals.rate", "0.7", lambda s: s.classes[0].rate == 0.7),
            ("class.0.arrivals.rate", "0.7", lambda s: s.classes[0].rate == 0.7),
            ("class.chat.arrivals", "renewal:1,2", lambda s: s.classes[0].arrivals == Renewal(1.0, 2.0)),
            ("class.chat.service", "lognormal:1,4", lambda s: s.classes[0].service == Lognormal(1.0, 4.0)),
            ("class.chat.service", "0.25", lambda s: s.classes[0].service == Deterministic(0.25)),
            ("class.chat.name", "talk", lambda s: s.classes[0].name == "talk"),
            ("class.chat.slo.response_p95_s", "2", lambda s: s.classes[0].slo == {"response_p95_s": 2}),
            ("policy.preset", "round-robin", lambda s: s.policy == RoundRobin()),
            ("system.servers", "3", lambda s: s.system.servers == 3),
            ("system", "{ batching = 'dynamic', max_batch = 8 }", lambda s: s.system == System(1, "dynamic", 8)),
            (
                "transform",
                "[{ kind = 'steps', fraction = 0.5 }]",
                lambda s: s.transforms == (FewerSteps(None, 0.5),),
            ),
        ],
    )
    def test_any_field(self, folder: Path, path: str, value: str, read) -> None:
        assert read(read_scenario(folder / "simple.toml", {path: value}))

    @pytest.mark.parametrize(
        ("path", "value", "line"),
        [
            ("class.chat.arivals.rate", "1", "class.chat.arivals: is not known; did you mean 'arrivals'?"),
            ("class.chta.priority", "1", "--set class.chta.priority: there is no 'chta'; did you mean 'chat'?"),
            ("class.chat.priority", "high", "class.chat.priority: 'high' is not a whole number"),
            ("clas.chat.priority", "1", "clas: is not known; did you mean 'class'?"),
            ("class.chat.arrivals.rate", "fast", "class.chat.arrivals.rate: 'fast' is not a number"),
            ("", "1", "is not known"),
        ],
    )
    def test_bad(self, folder: Path, path: str, value: str, line: str) -> None:
        with pytest.raises(InputError) as caught:
            read_scenario(folder / "simple.toml", {path: value})
        assert line in str(caught.value)


def change(old: str, new: str) -> str:
    assert old in SIMPLE
    return SIMPLE.replace(old, new)


BAD = {
    "empty": ("", "class: is missing; add a [[class]]"),
    "no class": ("class = []", "class: is empty; add a [[class]]"),
    "a single table": (
        change("[[class]]", "[class]"),
        "is no list; write [[ ]] for tables",
    ),
    "two of a name": (SIMPLE + SIMPLE, "class 'chat': is there twice; give each class its own name"),
    "no arrivals": (
        change("arrivals =", "# "),
        "class.chat.arrivals: is missing; e.g. arrivals = { process = 'poisson', rate = 0.5 }",
    ),
    "no name": (change("name =", "# "), "class.0.name: is missing; add it"),
    "no size": (change("service  =", "# "), "class 'chat': has no size; give service, or factors"),
    "unknown key": (change("arrivals", "arivals"), "class.chat.arivals: is not known; did you mean 'arrivals'?"),
    "unknown table": ("[sytem]\nservers = 1\n" + SIMPLE, "sytem: is not known; did you mean 'system'?"),
    "unknown key nested": (
        "[system.iteration_time]\nbase = 1.0\nper_sequnce = 1.0\n" + SIMPLE,
        "system.iteration_time.per_sequnce: is not known; did you mean 'per_sequence'?",
    ),
    "unknown law key": (change("mean", "maen"), "class.chat.service.maen: is not known; did you mean 'mean'?"),
    "unknown slo": (
        SIMPLE + "slo = { respons_p99_s = 1 }",
        "slo, respons_p99_s: is unknown; did you mean 'response_p99_s'?",
    ),
    "unknown law": (
        change("exponential", "exponental"),
        "service.distribution: 'exponental' is unknown; did you mean",
    ),
    "unknown process": (
        change("poisson", "poison"),
        "arrivals.process: 'poison' is unknown; did you mean 'poisson'?",
    ),
    "unknown policy": ("[policy]\npreset = 'srtp'\n" + SIMPLE, "policy 'srtp': is unknown; did you mean 'srpt'?"),
    "unknown option": (
        "[policy]\npreset = 'round-robin'\noptions = { quantam = 1 }\n" + SIMPLE,
        "policy 'round-robin', quantam: is no option of it; did you mean 'quantum'?",
    ),
    "bad option": (
        "[policy]\npreset = 'round-robin'\noptions = { quantum = -1 }\n" + SIMPLE,
        "round-robin, quantum: -1 is not a positive number",
    ),
    "unknown batching": (
        "[system]\nbatching = 'dynamik'\n" + SIMPLE,
        "system.batching: 'dynamik' is unknown; did you mean 'dynamic'?",
    ),
    "negative cost": (
        "[policy]\npreemption_cost_s = -0.1\n" + SIMPLE,
        "policy.preemption_cost_s: -0.1 is not greater than or equal to 0",
    ),
    "text": (change("rate = 0.5", "rate = 'fast'"), "class.chat.arrivals.rate: 'fast' is not a number"),
    "nan": (change("rate = 0.5", "rate = nan"), "class.chat.arrivals.rate: nan is not a positive number"),
    "negative": (change("rate = 0.5", "rate = -0.5"), "class.chat.arrivals.rate: -0.5 is not a positive number"),
    "zero": (change("mean = 1.0", "mean = 0"), "class.chat.service.mean: 0 is not a positive number"),
    "huge": (change("mean = 1.0", "mean = 1e999"), "class.chat.service.mean: is too large"),
    "huge whole": (change("mean = 1.0", "mean = " + "9" * 400), "class.chat.service.mean: is too large"),
    "shares": (
        change(
            '{ distribution = "exponential", mean = 1.0 }',
            "{ distribution = 'discrete', values = [1, 2], probabilities = [0.5, 0.6] }",
        ),
        "class.chat.service.probabilities: must be >= 0 and sum to 1; rescale them",
    ),
    "weight": (SIMPLE + "weight = 0.0", "class 'chat', weight: 0.0 is not a positive number"),
    "priority": (SIMPLE + "priority = 'high'", "class.chat.priority: 'high' is not a whole number"),
    "half a priority": (SIMPLE + "priority = 0.5", "class.chat.priority: 0.5 is not a whole number"),
    "prediction": (
        SIMPLE + "predicted_size = { error = 'exponental' }",
        "class.chat.predicted_size.error: 'exponental' is unknown; did you mean 'exponential'?",
    ),
    "prediction scv": (
        SIMPLE + "predicted_size = { error = 'lognormal' }",
        "predicted_size, scv: 0.0 is not a positive number",
    ),
    "servers": ("[system]\nservers = 0\n" + SIMPLE, "system, servers: 0 is below 1"),
    "servers as text": ("[system]\nservers = '2'\n" + SIMPLE, "system.servers: '2' is not a whole number"),
    "no model": ("[system]\nservice = 'nowhere.json'\n" + SIMPLE, "nowhere.json"),
    "no file": (
        change('{ process = "poisson", rate = 0.5 }', "'trace:nowhere.csv'"),
        "nowhere.csv: No such file or directory; check the path",
    ),
    "iteration": (
        "[system.iteration_time]\nbase = -1.0\n" + SIMPLE,
        "iteration_time, base: -1.0 is no time; give seconds >= 0",
    ),
    "transform kind": (
        SIMPLE + "[[transform]]\nkind = 'step'\n",
        "transform.step.kind: 'step' is unknown; did you mean 'steps'?",
    ),
    "transform key of another kind": (
        SIMPLE + "[[transform]]\nkind = 'steps'\nhit_ratio = 0.5\n",
        "transform steps, hit_ratio: does not belong to it; it has fraction, quality",
    ),
    "transform key of none": (
        SIMPLE + "[[transform]]\nkind = 'steps'\nfractoin = 0.5\n",
        "transform.steps.fractoin: is not known; did you mean 'fraction'?",
    ),
    "transform of no effect": (
        SIMPLE + "[[transform]]\nkind = 'steps'\nabove_queue = 3\n",
        "transform steps, fraction: is missing; without it nothing changes",
    ),
    "half a condition": (
        SIMPLE + "[[transform]]\nkind = 'steps'\nfraction = 0.5\nbelow_queue = 3\n",
        "transform steps, above_queue: is missing; the other queue keys need it",
    ),
    "two conditions": (
        SIMPLE
        + "[[transform]]\nkind = 'steps'\nfraction = 0.5\nabove_queue = 3\n" * 1
        + "[[transform]]\nkind = 'model-swap'\nservice_factor = 0.5\nabove_queue = 4\n",
        "transform: two different queue conditions",
    ),
    "exit shares": (
        SIMPLE + "[[transform]]\nkind = 'early-exit'\nfractions = [0.5, 1.0]\nprobabilities = [0.5, 0.4]\n",
        "transform early-exit, probabilities: must be >= 0 and sum to 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_on_one_line_that_names_file_and_place(folder: Path, name: str) -> None:
    text, line = BAD[name]
    (folder / "q.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_scenario(folder / "q.toml").served  # noqa: B018
    assert str(caught.value).startswith(str(folder / "q.toml") + ": "), str(caught.value)
    assert line in str(caught.value) and "\n" not in str(caught.value)


class TestRoundTrip:
    def test_the_whole_file(self, folder: Path) -> None:
        scenario = read_scenario(folder / "whole.toml")
        again = from_tables(to_tables(scenario), "tables", folder)
        assert again.fingerprint == scenario.fingerprint and to_tables(again) == to_tables(scenario)
        assert (again.transforms, again.system, again.policy) == (
            scenario.transforms,
            scenario.system,
            scenario.policy,
        )

    @pytest.mark.parametrize("name", PRESETS)
    def test_every_preset(self, folder: Path, name: str) -> None:
        scenario = read_scenario(folder / "simple.toml").with_policy(make_policy(name))
        assert from_tables(to_tables(scenario), "tables", folder).policy == scenario.policy

    @pytest.mark.parametrize(
        "transform",
        [
            ModelSwap(QueueCondition(4), 0.4, 0.9, 0.3),
            ModelSwap(QueueCondition(4, 2, 0.5), 0.4),
            FewerSteps(None, 0.5, 0.9),
            EarlyExit(None, (0.5, 1.0), (0.25, 0.75), "release", 0.8),
            Cache(QueueCondition(0), 0.3, 0.5, 0.1),
        ],
        ids=lambda transform: type(transform).__name__,
    )
    def test_every_transform(self, folder: Path, transform: Transform) -> None:
        scenario = read_scenario(folder / "simple.toml").with_transforms(transform)
        again = from_tables(to_tables(scenario), "tables", folder)
        assert again.transforms == (transform,) and again.fingerprint == scenario.fingerprint

    def test_a_fitted_model_is_spelled_by_its_content(self) -> None:
        models = [ServiceModel.affine({"1": 0.001, "steps": slope}) for slope in (0.002, 0.002, 0.003)]
        one = RequestClass("draw", Poisson(1.0), factors={"steps": Deterministic(5)})
        spelled = [to_tables(Scenario(classes=[one], system=System(model=model))) for model in models]
        assert spelled[0] == spelled[1] != spelled[2]

    def test_a_transform_of_the_user_has_no_spelling(self, folder: Path) -> None:
        class Own(Transform):
            pass

        with pytest.raises(InputError, match="transform Own: has no spelling in a scenario file"):
            to_tables(read_scenario(folder / "simple.toml").with_transforms(Own()))


def test_make_transform_alone() -> None:
    assert make_transform(TransformTable(kind="steps", fraction=0.5)) == FewerSteps(None, 0.5)
