"""Rows on an engine: the same loads in another time, predictions before runs, and one line where there is none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from qmodel.catalogue import all_rows, find, live
from qmodel.catalogue.case import Case
from qmodel.catalogue.live import calibrating, on_engine, running
from qmodel.catalogue.live.on_engine import Steps, Tokens, on_its_clock, whole
from qmodel.catalogue.live.readers import add_qoe
from qmodel.catalogue.time_scale import arrivals_in_time, in_time
from qmodel.cli import catalogue_live
from qmodel.errors import InputError
from qmodel.live import LiveRun
from qmodel.study.watch import Watcher
from qmodel.workload import Exponential

LIVE = {
    "slo-classes", "best-effort", "diffusion-server", "apparate", "nirvana", "model-swap", "qlm", "predictions",
    "annealing", "seallm", "qllm", "scls", "learning-to-rank", "rps-serve", "drift", "andes", "vllm",
    "smooth-goodput", "fastswitch", "infercept",
}  # fmt: skip
STEP_S = 2e-4
TIMES = {"base": 0.003, "per_sequence": 3e-4, "per_context_token": 1e-6, "per_prefill_token": 1e-4}
SWAPPED = 2e5
DIFFUSION = {"name": "digits-diffusion", "batching": ("none", "dynamic"), "factors": ("batch_size", "steps")}
DECODER = {"name": "transformers", "batching": ("continuous",), "factors": ("input_tokens", "output_tokens")}


class Introduced:
    """A server that is asked for nothing but its engine's introduction."""

    def __init__(self, target: dict[str, object]) -> None:
        self._told = DECODER if target["kind"] == "transformers" else DIFFUSION

    def engine(self) -> dict[str, object]:
        return {**self._told, "emulated": False}


@pytest.fixture(autouse=True)
def timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines whose times are known: 0.2 ms a denoising step, iterations by a formula."""
    rng = np.random.default_rng(1)
    rows = [f"{n},denoise,{n * STEP_S * rng.normal(1, 0.01):.9f},ok" for n in (2, 12, 60, 320) for _ in range(8)]
    path = tmp_path / "profile.csv"
    path.write_text("steps,phase,latency_s,status\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr(calibrating, "measured", lambda engine, folder, watcher: path)
    monkeypatch.setattr(running, "iteration_time", lambda engine, folder, watcher: TIMES)
    monkeypatch.setattr(running, "swap_tokens_per_s", lambda block_tokens, watcher: SWAPPED)


def asked_of(name: str, tmp_path: Path) -> list[running.Asked]:
    """Idea and baseline of a row as its engine would run them."""
    case = Case(find(name))
    running.refuse_others(case)
    made = running.machine(case, tmp_path, Watcher())
    return running.chosen(case, made, Introduced(made.target))[0]


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_a_row_runs_live_or_says_why_not(row, tmp_path: Path) -> None:
    if row.name in LIVE:
        asked = asked_of(row.name, tmp_path)
        assert len(asked) == len(row.live or (1, 2)) and all(one.horizon_s <= 60 for one in asked)
        return
    with pytest.raises(InputError) as refused:
        asked_of(row.name, tmp_path)
    assert "--live" in str(refused.value) and "\n" not in str(refused.value)


def test_loads_stay_and_time_runs_faster(tmp_path: Path) -> None:
    own = Case(find("seallm")).scenario()
    here = asked_of("seallm", tmp_path)[0].scenario
    assert here.utilisation == pytest.approx(own.utilisation, rel=0.01)
    factor = here.size.mean / own.size.mean
    assert factor == pytest.approx(16 * STEP_S, rel=0.05)
    assert here.policy.thresholds == pytest.approx([factor * each for each in own.policy.thresholds], rel=1e-6)
    assert here.size.scv == pytest.approx(own.size.scv, rel=0.15)  # 320 steps at most


def test_a_smaller_model_is_fewer_steps_and_ramps_cost_nothing(tmp_path: Path) -> None:
    swap = asked_of("model-swap", tmp_path)[0].scenario
    assert swap.transforms[0].fraction == 0.4 and swap.condition.above == 4
    release = asked_of("apparate", tmp_path)[0].scenario
    assert [type(each).__name__ for each in release.transforms] == ["EarlyExit"]


def test_horizons_are_in_the_time_of_the_engine(tmp_path: Path) -> None:
    asked = asked_of("drift", tmp_path)[0]
    assert asked.whole and asked.horizon_s == pytest.approx(900 * 16 * STEP_S, rel=0.1)
    assert asked.scenario.classes[0].arrivals.period_s == pytest.approx(asked.horizon_s, rel=1e-6)
    assert asked_of("andes", tmp_path)[0].horizon_s * asked_of("andes", tmp_path)[0].scenario.rate <= 250.1


def test_memory_shrinks_with_lengths_and_batch_and_is_left_out_beside_preemption(tmp_path: Path) -> None:
    case = Case(find("vllm"))
    made = Tokens(1.0, TIMES, 512 / 40)
    plain, short = (running._scenario(case, made, one.changes).system for one in case.row.settings[:2])
    assert plain.kv_capacity_tokens is None
    assert short.kv_capacity_tokens == round(14_000 / (512 / 40) * 8 / 48)
    assert all(one.scenario.system.kv_capacity_tokens is None for one in asked_of("andes", tmp_path))


def test_a_switch_costs_the_cache_computed_anew(tmp_path: Path) -> None:
    kept, dropped = asked_of("fastswitch", tmp_path)
    assert kept.scenario.system.kv_capacity_tokens is None
    assert dropped.scenario.system.kv_capacity_tokens == 8 * (2 * 400 + 4)
    assert not dropped.scenario.system.engine.prefix_caching
    assert kept.scenario.preemption.cost_s == dropped.scenario.preemption.cost_s == 0.0
    free, dear = (one.predict(seed=1) for one in (kept, dropped))
    assert dear["batch"].mean_response_s > 1.1 * free["batch"].mean_response_s


def test_pauses_are_in_the_time_of_the_engine_and_swaps_at_its_speed(tmp_path: Path) -> None:
    mixed, kept, dropped = asked_of("infercept", tmp_path)
    assert mixed.whole and mixed.scenario.system.engine.swap_tokens_per_s == SWAPPED
    assert kept.scenario.system.engine.swap_tokens_per_s is None
    assert mixed.scenario.system.kv_capacity_tokens == 1600
    factor = mixed.horizon_s / 10.0
    person = mixed.scenario.classes[1].pause
    assert person.kv == "swap" and person.duration.mean == pytest.approx(2.0 * factor)
    means = [one.predict(seed=1)["all"].mean_response_s for one in (mixed, kept, dropped)]
    assert means[0] < min(means[1:])


def test_a_shared_prompt_is_a_share_of_the_same_tokens(tmp_path: Path) -> None:
    found, anew = (one.scenario for one in asked_of("vllm", tmp_path))
    assert found.classes[0].factors == anew.classes[0].factors and found.rate == anew.rate
    assert anew.classes[0].factors["input_tokens"].mean == 2560 / (512 / 40)
    assert (found.classes[0].prefix_hit, anew.classes[0].prefix_hit) == (0.8, 0.0)
    row = Case(find("vllm")).scenario(find("vllm").live[-1].changes)
    from qmodel.study.batching import capacity

    assert anew.rate / capacity(anew) == pytest.approx(row.rate / capacity(row), rel=0.02)


def test_time_of_arrivals_and_policies() -> None:
    piecewise = {"process": "piecewise", "times_s": [0, 10], "rates": [1, 2], "period_s": 20}
    assert arrivals_in_time(piecewise, 0.5) == {
        "process": "piecewise", "times_s": [0.0, 5.0], "rates": [2.0, 4.0], "period_s": 10.0,
    }  # fmt: skip
    own = {
        "policy": {"preset": "round-robin", "options": {"quantum": 2.0}, "preemption_cost_s": 0.1, "grain_s": 0.1},
        "class": [{"arrivals": {"process": "poisson", "rate": 1.0}, "slo": {"response_p95_s": 4.0}}],
        "transform": [{"kind": "steps", "fraction": 0.5, "swap_time_s": 0.1}, {"kind": "cache", "lookup_s": 0.4}],
    }
    made = on_its_clock(own, 0.25)
    assert made["policy"] == {"preset": "round-robin", "options": {"quantum": 0.5}}
    assert made["class"][0]["slo"] == {"response_p95_s": 1.0} and "swap_time_s" not in made["transform"][0]
    assert made["transform"][1]["lookup_s"] == 0.1 and own["policy"]["options"]["quantum"] == 2.0
    kept = in_time(own, 0.25)
    assert kept["policy"]["preemption_cost_s"] == kept["policy"]["grain_s"] == 0.025
    assert kept["transform"][0]["swap_time_s"] == 0.025


def test_sizes_in_whole_units_keep_their_moments() -> None:
    table = whole(Exponential(mean=1.0), 0.01, 10_000)
    values, p = np.array(table["values"]), np.array(table["probabilities"])
    assert values @ p == pytest.approx(100, rel=0.01)
    assert (values**2) @ p == pytest.approx(2e4, rel=0.02)


def test_what_has_no_live_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="measures its own engine"):
        running.refuse_others(Case(find("seallm"), model=tmp_path / "model.json"))
    made = Tokens(1.0, TIMES, 2.0)
    assert made.target["kind"] == "transformers" and Steps(1.0, tmp_path, 1.0).target["kind"] == "digits-diffusion"
    with pytest.raises(InputError, match="no service time in seconds"):
        case = Case(find("vllm"))
        Steps(1.0, tmp_path, 1.0).tables(case.tables, case.scenario())


def test_a_row_predicted_then_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(on_engine.Steps, "target", property(lambda self: {"kind": "emulated"}))
    ran: list[running.LiveRan] = []
    monkeypatch.setattr(live, "run_row", lambda *given: ran.append(running.run_row(*given)) or ran[0])
    case = Case(find("nirvana"), requests=200)
    assert catalogue_live.run(case, tmp_path / "out", as_json=False) == 0
    text = capsys.readouterr().out
    assert "hit profile of K" in text and "mean response" in text and "% predicted" in text
    assert "not run: LRU cache, one K" not in text  # timed waits can stand for a cache
    predictions = (tmp_path / "out" / "predictions.json").read_bytes()
    runs = [LiveRun.read(tmp_path / "out" / f"live-{i}.csv") for i in (1, 2)]
    digest = hashlib.sha256(predictions).hexdigest()
    assert {run.meta["about"]["predictions_sha256"] for run in runs} == {digest}
    labels = [entry["setting"] for entry in json.loads(predictions)["predictions"]]
    assert labels == [run.meta["about"]["setting"] for run in runs] == ["hit profile of K", "no cache"]
    assert "mean response from live to theory: live " in text
    data = ran[0].to_dict()
    assert list(data["settings"][0]["ladder"])[:3] == ["live", "measured services", "fitted services"]
    assert data["name"] == "nirvana" and len(data["settings"]) == 2
    assert "mean response: -" in text and "% live" in text


def test_quality_of_readers_by_hand(tmp_path: Path) -> None:
    """Two requests of two tokens: one on time, one 1 s late throughout."""
    import pandas as pd

    from qmodel.answer import ClassAnswer, PolicyAnswer

    scenario = Case(find("smooth-goodput")).scenario()
    log = pd.DataFrame({"request_id": [0, 1], "class": "readers", "scheduled_s": [0.0, 1.0], "status": "ok"})
    run = LiveRun(log, {"horizon_s": 10.0}, tmp_path / "live.csv")
    answer = PolicyAnswer("fcfs", 1.0, "measured", "", 0.5, [ClassAnswer("all", 1.0, {})])
    add_qoe(answer, run, scenario, 0.0)
    assert "mean_qoe" not in answer["all"].metrics
    lines = ["request_id,index,t_s", "0,0,0.5", "0,1,0.6", "1,0,3.0", "1,1,3.125"]
    (tmp_path / "live.tokens.csv").write_text("\n".join(lines) + "\n")
    add_qoe(answer, run, scenario, 0.0)
    late = 1 - (1.0 + 1.0) / (2 * 2.125 - 1.0 - 1.125)
    assert answer["all"].metrics["mean_qoe"] == pytest.approx((1.0 + late) / 2)


def test_batches_predicted_then_run_with_the_rungs_of_the_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(on_engine.Tokens, "target", property(lambda self: {"kind": "emulated"}))
    monkeypatch.setenv("COLUMNS", "80")
    case = Case(find("vllm"), requests=40)
    assert catalogue_live.run(case, tmp_path / "out", as_json=False) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "shared prompt found\n" in text and "  mean TTFT" in text and "gap" in text
    plain = " ".join(text.split())
    assert "mean response from live to theory: live " in plain and "measured services " in plain
    assert "mean response: -" in text
