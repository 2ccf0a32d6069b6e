"""A row on another system: settings, a fitted model, a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmodel.catalogue import find
from qmodel.catalogue.case import Case, value
from qmodel.catalogue.own_system import _dealt
from qmodel.catalogue.row import Setting, Tuned
from qmodel.catalogue.running import metric_of, run
from qmodel.catalogue.tuned import HOPELESS, objective, resolved
from qmodel.errors import InputError
from qmodel.workload import Trace

MODEL = Path(__file__).parents[2] / "measurements" / "amd-epyc-2-cores" / "digits-diffusion.model.json"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace as Azure publishes them, one request a second."""
    path = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:{m:02d}:{s:02d}.0000000,{100 + s},{10 + s % 7}" for m in range(5) for s in range(60)]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines) + "\n")
    return path


def test_settings_move_the_answers_and_leave_the_acceptance_unjudged() -> None:
    case = Case(find("cdmpp"), {"class.jobs.arrivals.rate": "0.5"})
    ran = run(case)
    assert not case.is_own and not ran.checks and ran.to_dict()["accepted"] is None
    assert value(ran.answers[-1], "mean_wait_s") == pytest.approx(1.0)


def test_a_fitted_model_takes_the_place_of_the_services_at_the_same_load() -> None:
    case = Case(find("cdmpp"), model=MODEL)
    plain = {"transform": []}
    scenario = case.scenario(plain)
    assert scenario.utilisation == pytest.approx(0.8)
    assert set(scenario.classes[0].factors) == {"steps", "batch_size"}
    assert scenario.size.mean < 0.1
    assert case.mean(plain, metric="wait") > 0


def test_with_a_model_all_times_of_a_row_follow_and_what_the_user_set_does_not() -> None:
    own, case = Case(find("seallm")), Case(find("seallm"), model=MODEL)
    factor = case.time_factor
    assert factor == pytest.approx(case.scenario().size.mean / own.scenario().size.mean)
    assert case.scenario().utilisation == pytest.approx(own.scenario().utilisation)
    thresholds = own.scenario().policy.thresholds
    assert case.scenario().policy.thresholds == pytest.approx([factor * each for each in thresholds])
    yours = Case(find("cdmpp"), {"class.jobs.arrivals.rate": "3.0"}, model=MODEL)
    assert yours.scenario().rate == 3.0
    assert yours.scenario({"class.jobs.arrivals": {"process": "poisson", "rate": 1.0}}).rate != 3.0


def test_times_that_are_laws_follow_too() -> None:
    channel = Case(find("wireless"), model=MODEL)
    own = Case(find("wireless")).scenario().system.environment
    made = channel.scenario().system.environment
    assert made.generator[0][1] * channel.time_factor == pytest.approx(own.generator[0][1])
    patient = Case(find("jitserve"), model=MODEL)
    wait = patient.scenario().classes[0].patience.mean
    assert wait == pytest.approx(2.5 * patient.time_factor)
    moved = Case(find("llumnix"), model=MODEL)
    assert moved.scenario().system.migration_s == pytest.approx(0.05 * moved.time_factor)


def test_a_horizon_follows() -> None:
    case = Case(find("drift"), model=MODEL)
    answer = case.ask(Setting("", horizon_s=100.0, replications=3))
    assert answer.run["horizon_s"] == pytest.approx(100.0 * case.time_factor)


def test_users_who_come_back_have_no_trace(trace: Path) -> None:
    with pytest.raises(InputError, match="users who come back"):
        Case(find("scalellm"), trace=trace).scenario()


def test_a_model_has_no_place_in_an_engine_of_iterations() -> None:
    with pytest.raises(InputError, match="has an iteration time"):
        Case(find("vllm"), model=MODEL).scenario()
    with pytest.raises(InputError, match="services at stations"):
        Case(find("velo"), model=MODEL).scenario()


def test_a_trace_takes_the_place_of_arrivals_and_lengths(trace: Path) -> None:
    scenario = Case(find("fastswitch"), trace=trace).scenario()
    own = Case(find("fastswitch")).scenario()
    assert scenario.rate == pytest.approx(own.rate, rel=0.02)
    shares = [each.rate / scenario.rate for each in scenario.classes]
    assert shares == pytest.approx([2.0 / 3.5, 1.5 / 3.5], rel=0.02)
    assert all(isinstance(each.arrivals, Trace) for each in scenario.classes)
    assert scenario.classes[0].factors["input_tokens"].mean == pytest.approx(129.5, rel=0.02)


def test_a_trace_without_lengths_to_use(trace: Path) -> None:
    scenario = Case(find("cdmpp"), trace=trace).scenario()
    assert scenario.rate == pytest.approx(0.8) and not scenario.classes[0].factors


def test_a_file_that_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError):
        Case(find("cdmpp"), trace=path).scenario()


def test_dealing_keeps_shares_in_every_stretch() -> None:
    owner = _dealt(3000, [0.5, 0.3, 0.2])
    for part in np.split(owner, 10):
        assert np.bincount(part, minlength=3) / 300 == pytest.approx([0.5, 0.3, 0.2], abs=0.02)


def test_theory_that_there_is_not_and_metrics_that_there_are_not() -> None:
    case = Case(find("niyama"))
    with pytest.raises(InputError, match="not analysable"):
        case.theory()
    answer = Case(find("cdmpp")).theory()
    assert metric_of(answer, "nobody:mean_wait_s") is None
    with pytest.raises(InputError, match="is not known"):
        value(answer, "mean_qoe")


def test_a_horizon_is_replicated() -> None:
    answer = Case(find("drift")).ask(Setting("", horizon_s=100.0, replications=3))
    assert answer.run["replications"] == 3


def test_a_tuner_sees_the_first_half_of_a_trace_and_is_judged_on_the_second(trace: Path) -> None:
    case = Case(find("learned-os"), trace=trace)
    first, second = (case.scenario(half=half).classes[0].arrivals for half in (0, 1))
    assert isinstance(first, Trace) and isinstance(second, Trace)
    assert len(first.recorded_s) == len(second.recorded_s) == 150
    assert case.scenario().classes[0].arrivals == second


def test_what_a_tuner_found_is_told_and_kept() -> None:
    case, how = Case(find("learned-os")), Tuned(("policy.options.quantum=0.2..20.0",), "p95_response_s", budget=5)
    setting = Setting("few", tuned=replace(how, requests=2_000))
    found = resolved(case, setting)
    quantum = found.changes["policy.options.quantum"]
    assert found.tuned is None and found.label == f"few: quantum {quantum:.3g}"
    assert objective(case, setting, setting.tuned, (quantum,)) <= objective(case, setting, setting.tuned, (5.0,))
    assert resolved(case, found) is found


def test_unstable_tries_count_as_hopeless_and_words_are_not_tuned() -> None:
    case = Case(find("learned-os"), {"class.jobs.arrivals.rates": "[1.5, 1.6]"})
    how = Tuned(("policy.options.quantum=0.2..20.0",), "p95_response_s", requests=2_000)
    assert objective(case, Setting("over"), how, (1.0,)) == HOPELESS
    with pytest.raises(InputError, match="no number to tune"):
        resolved(case, Setting("words", tuned=replace(how, knobs=("policy.preset=1..2",))))
