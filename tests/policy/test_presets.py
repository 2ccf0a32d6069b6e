"""The presets by name: the order each gives, its structure, its options, and the user's own by module:Class."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.policy import PRESETS, SRPT, Policy, Request, make_policy

NAMES = (
    "fcfs lcfs lcfs-pr random ps dps round-robin np-priority pr-priority accumulating sjf psjf srpt las mlfq "
    "gittins spjf pspjf sprpt trail edf"
).split()
PREEMPTIVE = {"lcfs-pr", "ps", "dps", "round-robin", "pr-priority", "psjf", "srpt", "las", "mlfq", "pspjf"} | {
    "sprpt",
    "trail",
    "edf",
    "gittins",
}
DEPENDS = {
    "fcfs": {"arrival"},
    "lcfs": {"arrival"},
    "lcfs-pr": {"arrival"},
    "random": {"random"},
    "ps": set(),
    "dps": {"class"},
    "round-robin": {"turn"},
    "np-priority": {"class"},
    "pr-priority": {"class"},
    "accumulating": {"class", "time"},
    "sjf": {"size"},
    "psjf": {"size"},
    "srpt": {"size", "age"},
    "las": {"age"},
    "mlfq": {"age"},
    "gittins": {"class", "age"},
    "spjf": {"prediction"},
    "pspjf": {"prediction"},
    "sprpt": {"prediction", "age"},
    "trail": {"prediction", "age"},
    "edf": {"deadline"},
}
# one request: arrived at 7 s, size 3 s, predicted 5 s, priority 2, deadline 11 s, lottery 0.25; 1.25 s served
REQUEST = Request(7.0, 3.0, 5.0, priority=2, weight=4.0, deadline_s=11.0, lottery=0.25, class_name="chat")
RANKS = {
    "fcfs": 7.0,
    "lcfs": -7.0,
    "lcfs-pr": -7.0,
    "random": 0.25,
    "np-priority": 2.0,
    "pr-priority": 2.0,
    "sjf": 3.0,
    "psjf": 3.0,
    "srpt": 1.75,
    "las": 1.25,
    "mlfq": 1.0,
    "spjf": 5.0,
    "pspjf": 5.0,
    "sprpt": 3.75,
    "trail": 3.75,
    "edf": 11.0,
}


def test_the_list_of_presets_is_the_promised_one() -> None:
    assert list(PRESETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_structure(name: str) -> None:
    policy = make_policy(name)
    assert policy.name == name
    assert policy.preemptive == (name in PREEMPTIVE)
    assert policy.depends_on == DEPENDS[name]
    assert policy.sharing == {"ps": "equal", "dps": "weighted"}.get(name)


@pytest.mark.parametrize("name", RANKS)
def test_rank(name: str) -> None:
    assert make_policy(name).rank(REQUEST, 1.25) == RANKS[name]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"ps", "dps", "gittins", "accumulating"}))
def test_the_rank_reads_only_what_it_declares(name: str) -> None:
    """Changing a field that `depends_on` does not name must not move the rank."""
    policy = make_policy(name)
    changes = {
        "arrival": {"arrival_s": 1.0},
        "size": {"size": 9.0},
        "prediction": {"predicted_size": 9.5},
        "class": {"priority": 9, "weight": 9.0, "class_name": "other"},
        "deadline": {"deadline_s": 99.0},
        "random": {"lottery": 0.875},
        "turn": {"joined": 6.0},
    }
    fields = {field: getattr(REQUEST, field) for field in Request.__slots__}
    for read, change in changes.items():
        moved = policy.rank(Request(**{**fields, **change}), 1.25) != policy.rank(REQUEST, 1.25)
        assert moved == (read in policy.depends_on), read
    ages = {policy.rank(REQUEST, attained) for attained in (0.0, 0.5, 1.25, 2.0, 4.5)}
    assert (len(ages) > 1) == ("age" in policy.depends_on)


class TestOptions:
    def test_round_robin_takes_turns(self) -> None:
        policy = make_policy("round-robin", quantum=0.5)
        assert [policy.turns(attained) for attained in (0.0, 0.49, 0.5, 1.2)] == [0, 0, 1, 2]
        first, second = replace(REQUEST, joined=3.0), replace(REQUEST, arrival_s=1.0, joined=4.0)
        assert policy.rank(first, 0.7) < policy.rank(second, 0.0)

    def test_mlfq_levels(self) -> None:
        policy = make_policy("mlfq", thresholds=(1.0, 3.0))
        assert [policy.rank(REQUEST, attained) for attained in (0.0, 0.9, 1.0, 2.9, 3.0, 99.0)] == [
            0,
            0,
            1,
            1,
            2,
            2,
        ]

    def test_trail_stops_preempting_late(self) -> None:
        policy = make_policy("trail", limit=0.5)
        assert policy.rank(REQUEST, 2.4) == pytest.approx(2.6)
        assert policy.rank(REQUEST, 2.5) == -math.inf

    @pytest.mark.parametrize(
        ("name", "options", "line"),
        [
            ("fcfs", {"quantum": 1}, "policy 'fcfs', quantum: is no option of it; it has no options"),
            (
                "round-robin",
                {"quantam": 1},
                "policy 'round-robin', quantam: is no option of it; did you mean 'quantum'?",
            ),
            ("round-robin", {"quantum": 0}, "round-robin, quantum: 0 is not a positive number"),
            ("round-robin", {"quantum": "fast"}, "round-robin, quantum: 'fast' is not a positive number"),
            ("trail", {"limit": math.nan}, "trail, limit: nan is not a positive number"),
            ("mlfq", {"thresholds": ()}, "mlfq, thresholds: must be positive and increasing"),
            ("mlfq", {"thresholds": (2.0, 1.0)}, "mlfq, thresholds: must be positive and increasing"),
            ("mlfq", {"thresholds": (0.0, 1.0)}, "mlfq, thresholds: must be positive and increasing"),
            ("mlfq", {"thresholds": (1.0, math.nan)}, "mlfq, thresholds: must be positive and increasing"),
            ("mlfq", {"thresholds": (1.0, math.inf)}, "mlfq, thresholds: must be positive and increasing"),
            ("mlfq", {"thresholds": 3}, "mlfq, thresholds: must be positive and increasing"),
            ("mlfq", {"thresholds": ("a", "b")}, "mlfq, thresholds: must be positive and increasing"),
        ],
    )
    def test_refused(self, name: str, options: dict, line: str) -> None:
        with pytest.raises(InputError) as caught:
            make_policy(name, **options)
        assert line in str(caught.value)


OWN = """
from qmodel.policy import SRPT, Rank


class Aging(Rank):
    def __init__(self, speed=2.0):
        if speed < 0:
            raise ValueError("no way back")
        self.speed = speed

    def rank(self, request, attained):
        return request.arrival_s * self.speed


class Mine(SRPT):
    pass


class Named(Rank):
    name = "my-order"


class Pretender(Rank):
    name = "srpt"


class Open(Rank):
    def __init__(self, **options):
        self.options = options


class Stranger:
    pass


number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the working folder."""
    (tmp_path / "own_orders.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_orders"
    sys.modules.pop("own_orders", None)


class TestOwnPolicies:
    def test_found_in_the_working_folder_and_named_as_written(self, own: str) -> None:
        policy = make_policy(f"{own}:Aging")
        assert policy.name == "own_orders:Aging" and policy.rank(REQUEST, 0.0) == 14.0

    def test_options(self, own: str) -> None:
        assert make_policy(f"{own}:Aging", speed=3.0).rank(REQUEST, 0.0) == 21.0
        assert make_policy(f"{own}:Open", anything=1).options == {"anything": 1}

    def test_a_subclass_of_a_preset_does_not_pass_for_it(self, own: str) -> None:
        assert make_policy(f"{own}:Mine").name == "own_orders:Mine"
        assert make_policy(f"{own}:Pretender").name == "own_orders:Pretender"
        assert SRPT().name == "srpt"

    def test_it_may_name_itself(self, own: str) -> None:
        assert make_policy(f"{own}:Named").name == "my-order"

    def test_presets_by_their_class_keep_their_names(self, own: str) -> None:
        assert make_policy("qmodel.policy:SRPT").name == "srpt" == SRPT.name

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            (
                "own_orders:Nothing",
                "cannot be loaded: AttributeError: module 'own_orders' has no attribute 'Nothing'",
            ),
            ("no_such_module:Order", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
            (":Order", "cannot be loaded: ValueError: Empty module name; name an importable MODULE:CLASS"),
            ("own_orders:", "cannot be loaded: AttributeError"),
            (".own_orders:Aging", "cannot be loaded: TypeError"),
            ("own_orders:Stranger", "is not a policy; derive it from qmodel.policy.Rank"),
            ("own_orders:number", "is not a policy"),
        ],
    )
    def test_refused(self, own: str, name: str, line: str) -> None:
        with pytest.raises(InputError) as caught:
            make_policy(name)
        assert str(caught.value).startswith(f"policy '{name}': ") and line in str(caught.value)

    def test_wrong_options(self, own: str) -> None:
        with pytest.raises(
            InputError, match="policy 'own_orders:Aging', sped: is no option of it; did you mean 'speed'"
        ):
            make_policy(f"{own}:Aging", sped=1)
        with pytest.raises(InputError, match="cannot be made: no way back; correct its options"):
            make_policy(f"{own}:Aging", speed=-1)

    @pytest.mark.parametrize(
        ("content", "fault"),
        [("class :", "SyntaxError"), ("1/0", "ZeroDivisionError"), ("raise SystemExit(3)", "SystemExit")],
    )
    def test_a_module_that_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, fault: str
    ) -> None:
        (tmp_path / "broken_orders.py").write_text(content)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(InputError) as caught:
            make_policy("broken_orders:Order")
        assert f"cannot be loaded: {fault}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "nearest"), [("srtp", "srpt"), ("FCFS", "fcfs"), ("np_priority", "np-priority")])
def test_unknown_names_get_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError) as caught:
        make_policy(name)
    assert str(caught.value) == f"policy '{name}': is unknown; did you mean '{nearest}'?"


def test_a_name_far_from_all_gets_the_list() -> None:
    with pytest.raises(InputError, match="known: accumulating, dps, edf, fcfs"):
        make_policy("quantum-annealing")


def test_make_policy_gives_policies() -> None:
    assert all(isinstance(make_policy(name), Policy) for name in NAMES)
