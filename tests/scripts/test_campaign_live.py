"""Live runs of the campaign: predictions on paper against theory, the loop, and the log."""

import csv
import tomllib
from statistics import fmean

import numpy as np
import pytest
from campaign import livequeue
from campaign.livequeue import (
    CLASSES,
    RULES,
    Arrival,
    Prediction,
    ServiceTime,
    digest,
    draw,
    predict_all,
    responses_on_paper,
    theory_mean_s,
)

SERVICE = ServiceTime(0.2, 2.5)
BY_NAME = {rule.name: rule for rule in RULES}


def test_poisson_arrivals_of_the_stated_shares():
    arrivals = draw(50.0, 400.0, 7)
    gaps = np.diff([0.0, *(a.scheduled_s for a in arrivals)])
    n = len(arrivals)
    assert abs(n - 20_000) < 4 * 20_000**0.5
    assert abs(gaps.std() / gaps.mean() - 1) < 4 / n**0.5
    share = fmean(a.traffic.name == "interactive" for a in arrivals)
    assert abs(share - 0.7) < 4 * (0.21 / n) ** 0.5
    for traffic in CLASSES:
        steps = [a.steps for a in arrivals if a.traffic == traffic]
        assert abs(fmean(steps) - fmean(traffic.steps)) < 4 * np.std(traffic.steps) / len(steps) ** 0.5
    assert draw(50.0, 400.0, 7) == arrivals
    assert draw(50.0, 400.0, 8) != arrivals


def test_mean_service_time():
    assert SERVICE.mean() == pytest.approx(0.2 + 2.5 * (0.7 * 2 + 0.3 * 8))


def test_service_times_are_recovered_from_their_medians():
    found = ServiceTime.fitted({n: 0.4 + 0.3 * n for n in (1, 2, 5, 10)}, {n: 0.5 + 0.3 * n for n in (1, 2, 5, 10)})
    assert (found.start_s, found.per_step_s, found.after_idle_s) == pytest.approx((0.4, 0.3, 0.1))
    through_origin = ServiceTime.fitted({1: 1.0, 2: 2.4})
    assert through_origin.start_s == 0
    assert through_origin.per_step_s == pytest.approx((1.0 + 2 / 2.4) / (1.0 + 4 / 2.4**2))


@pytest.mark.parametrize("name", ["fcfs", "priority"])
def test_on_paper_long_runs_are_what_theory_says(name):
    """M/G/1 by Pollaczek-Khinchine and Cobham; 40 batches of 3000 requests give the error of the mean."""
    rate = 0.7 / SERVICE.mean()
    responses = responses_on_paper(draw(rate, 120_000 / rate, 3), BY_NAME[name], SERVICE)
    batches = np.array(responses[: 40 * (len(responses) // 40)]).reshape(40, -1).mean(axis=1)
    error = batches.std(ddof=1) / 40**0.5
    theory = theory_mean_s(BY_NAME[name], rate, SERVICE)
    assert error < 0.03 * theory
    assert abs(fmean(responses) - theory) < 4 * error


def test_theory_by_hand():
    """FCFS: E[T] = E[S] + rate E[S^2] / (2 (1 - load)); PS: E[S] / (1 - load)."""
    rate = 0.6 / SERVICE.mean()
    second = sum(c.share * fmean(SERVICE(n) ** 2 for n in c.steps) for c in CLASSES)
    assert theory_mean_s(BY_NAME["fcfs"], rate, SERVICE) == pytest.approx(SERVICE.mean() + rate * second / 0.8)
    assert theory_mean_s(BY_NAME["ps"], rate, SERVICE) == pytest.approx(SERVICE.mean() / 0.4)
    assert theory_mean_s(BY_NAME["early-exit"], rate, SERVICE) is None


def test_runs_are_predicted_without_theory_where_it_fails(monkeypatch):
    import qmodel.theory

    def broken(*arguments, **options):
        raise AttributeError("no attribute")

    monkeypatch.setattr(qmodel.theory, "analyse", broken)
    found = predict_all((0.5,), (1,), 20.0, SERVICE)
    assert [p.theory_mean_s for p in found] == [None] * 5
    assert all(p.same_arrivals_mean_s > 0 for p in found)


INTERACTIVE, BATCH = CLASSES
CASE = [Arrival(0.5, BATCH, 4), Arrival(1.0, BATCH, 2), Arrival(1.2, INTERACTIVE, 1), Arrival(20.0, BATCH, 1)]


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("fcfs", [4.5, 6.5, 7.5, 21.0]),
        ("priority", [4.5, 7.5, 5.5, 21.0]),
        ("srpt", [7.5, 4.5, 2.5, 21.0]),
    ],
)
def test_order_of_service_by_hand(name, ends):
    """Steps of one second: at 1.5 the long one has three left, the others two and one."""
    responses = responses_on_paper(CASE, BY_NAME[name], ServiceTime(0.0, 1.0))
    assert [r + a.scheduled_s for r, a in zip(responses, CASE, strict=True)] == pytest.approx(ends)


def test_sharing_ends_short_requests_before_long_ones():
    ends = np.add(responses_on_paper(CASE, BY_NAME["ps"], ServiceTime(0.0, 1.0)), [a.scheduled_s for a in CASE])
    assert ends[2] < ends[1] < ends[0] == pytest.approx(7.5)


def test_early_exit_halves_the_steps_when_many_are_there():
    arrivals = [Arrival(0.001 * i, BATCH, 10) for i in range(8)]
    rule = BY_NAME["early-exit"]
    responses = responses_on_paper(arrivals, rule, ServiceTime(0.0, 1.0))
    # service starts with 1, 7, 6, 5, 4, 3, 2, 1 present; more than 4 means 5 steps
    assert np.diff([0.0, *np.add(responses, [a.scheduled_s for a in arrivals])]) == pytest.approx(
        [10, 5, 5, 5, 10, 10, 10, 10]
    )


def test_measured_steps_replace_profiled_ones():
    arrivals = [Arrival(0.0, BATCH, 2), Arrival(0.1, BATCH, 3)]
    responses = responses_on_paper(arrivals, BY_NAME["fcfs"], ServiceTime(9.0, 9.0, 9.0), [1.0, 2.0])
    assert responses == pytest.approx([2.0, 7.9])


def test_predictions_cover_every_run_and_have_a_digest():
    predictions = predict_all((0.3, 0.8), (1, 2), 30.0, SERVICE)
    assert len({(p.policy, p.load, p.seed) for p in predictions}) == len(predictions) == 5 * 2 * 2
    assert [p.seed for p in predictions] == [1] * 10 + [2] * 10
    assert all(p.rate == pytest.approx(p.load / SERVICE.mean()) for p in predictions)
    assert digest(predictions) == digest(predict_all((0.3, 0.8), (1, 2), 30.0, SERVICE))
    assert digest(predictions) != digest(predictions[1:])


@pytest.fixture
def out(smoke):
    """A folder with the tiny runs."""
    return smoke[0]


@pytest.mark.torch
class TestRuns:
    """Runs on the tiny network."""

    @staticmethod
    def run(folder, budget_s=100.0, **settings):
        pytest.importorskip("torch")
        from campaign.clock import Clock
        from campaign.livestage import measure_live, smoke_live
        from campaign.session import Settings

        return measure_live(smoke_live(), Settings(folder, device="cpu", **settings), Clock(budget_s))

    @staticmethod
    def rows(folder):
        with (folder / "live.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @staticmethod
    def meta(folder):
        return tomllib.loads((folder / "live.meta.toml").read_text())

    def test_every_request_has_a_row_and_times_in_order(self, out):
        rows, meta = self.rows(out), self.meta(out)
        assert meta["complete"] is True
        assert len(rows) == sum(p["requests"] for p in meta["prediction"])
        for row in rows:
            assert row["status"] == "ok"
            scheduled, started, done = (float(row[name]) for name in ("scheduled_s", "started_s", "done_s"))
            assert scheduled <= started < done
            assert float(row["service_s"]) <= done - started + 1e-6
            assert (row["reduced"] == "1") <= (row["policy"] == "early-exit")

    def test_all_policies_see_the_same_requests(self, out):
        seen = {}
        for row in self.rows(out):
            if row["policy"] != "early-exit":
                request = (row["request_id"], row["class"], row["scheduled_s"], row["steps"])
                seen.setdefault((row["load"], row["policy"]), set()).add(request)
        for load in ("0.3", "0.6"):
            assert len({frozenset(seen[load, name]) for name in ("fcfs", "priority", "srpt", "ps")}) == 1

    def test_fcfs_serves_in_order_of_arrival(self, out):
        rows = [row for row in self.rows(out) if row["policy"] == "fcfs" and row["load"] == "0.6"]
        rows.sort(key=lambda row: int(row["request_id"]))
        started = [float(row["started_s"]) for row in rows]
        assert started == sorted(started)

    def test_predictions_are_those_of_the_profile_and_were_saved_before(self, out):
        meta = self.meta(out)
        service = ServiceTime(**meta["service"])
        plan = meta["plan"]
        again = predict_all(plan["loads"], plan["seeds"], plan["horizon_s"], service)
        saved = [Prediction(**{"theory_mean_s": None, **p}) for p in meta["prediction"]]
        assert digest(saved) == meta["predictions_sha256"]
        assert [p.same_arrivals_mean_s for p in again] == [p["same_arrivals_mean_s"] for p in meta["prediction"]]
        assert meta["begun_at"] < min(run["at"] for run in meta["run"])
        runs = {(run["policy"], run["load"], run["seed"]): run for run in meta["run"]}
        assert len(runs) == 10
        for p in again:
            assert runs[p.policy, p.load, p.seed]["predicted_mean_s"] == p.same_arrivals_mean_s

    def test_measured_means_are_those_of_the_log(self, out):
        rows = self.rows(out)
        for run in self.meta(out)["run"]:
            mine = [r for r in rows if (r["policy"], r["load"]) == (run["policy"], str(run["load"]))]
            mean = fmean(float(r["done_s"]) - float(r["scheduled_s"]) for r in mine)
            assert run["measured_mean_s"] == pytest.approx(mean, rel=1e-5)
            assert run["finished"] == len(mine)

    def test_a_run_that_was_cut_is_made_again_and_whole_ones_stay(self, out, tmp_path):
        for path in out.glob("live*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        log = tmp_path / "live.csv"
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[:-3]) + "live-torn,")
        meta = tmp_path / "live.meta.toml"
        meta.write_text(meta.read_text().replace("complete = true", "complete = false"))
        outcome = self.run(tmp_path, resume=True)
        assert outcome.complete == outcome.runs == 10
        cut = {(r["policy"], r["load"]) for r in self.rows(out)[-1:]}
        whole = [r for r in self.rows(out) if (r["policy"], r["load"]) not in cut]
        assert self.rows(tmp_path)[: len(whole)] == whole
        assert len(self.rows(tmp_path)) == len(self.rows(out))
        assert self.meta(tmp_path)["predictions_sha256"] == self.meta(out)["predictions_sha256"]
        assert len(self.meta(tmp_path)["run"]) == 10
        assert self.run(tmp_path, resume=True) is None

    def test_without_time_for_a_run_the_predictions_stand_alone(self, tmp_path):
        outcome = self.run(tmp_path, budget_s=2.0)
        assert (outcome.complete, outcome.runs) == (0, 10)
        assert "about" in outcome.line
        assert len(self.meta(tmp_path)["prediction"]) == 10
        assert self.rows(tmp_path) == []

    def test_the_profile_is_a_measurement_like_any_other(self, out):
        pytest.importorskip("pandas")
        from qmodel.fit import read_profile

        found = read_profile(out / "live-profile.csv")
        assert found.factors == ("steps", "pacing")
        assert sorted(found.frame["steps"].unique()) == [1, 2, 3, 4, 5, 6, 8, 10]
        assert len(found.frame) == 2 * 2 * 8


@pytest.mark.torch
def test_requests_that_are_not_finished_in_time_are_counted():
    pytest.importorskip("torch")
    from campaign.live import LivePlan, row_of, serve

    class Job:
        def __init__(self, steps):
            self.remaining, self.tokens = steps, 0

        def step(self):
            import time

            time.sleep(0.05)
            self.remaining -= 1

    class Slow:
        emulated = True

        def start(self, work):
            return Job(work.levels["steps"])

    arrivals = [Arrival(0.0, INTERACTIVE, 1), Arrival(0.01, BATCH, 10), Arrival(0.02, BATCH, 10)]
    kept = []
    plan = LivePlan(horizon_s=0.05, drain_s=0.25)
    records, tally = serve(Slow(), arrivals, BY_NAME["fcfs"], ServiceTime(0.0, 0.05), plan, kept.extend)
    assert set(records) == {0}
    assert [record.index for record in kept] == [0]
    assert tally["steps"] < 12
    rows = [row_of(a, i, records.get(i), SERVICE) for i, a in enumerate(arrivals)]
    assert [row["status"] for row in rows] == ["ok"] + ["failed: the run's time was over"] * 2


@pytest.mark.torch
def test_a_step_that_raises_fails_its_request_alone():
    pytest.importorskip("torch")
    from campaign.live import LivePlan, row_of, serve

    class Job:
        def __init__(self, steps):
            self.remaining, self.tokens, self.steps = steps, 0, steps

        def step(self):
            if self.steps == 6:
                raise RuntimeError("device lost")
            self.remaining -= 1

    class Frail:
        emulated = True

        def start(self, work):
            return Job(work.levels["steps"])

    arrivals = [Arrival(0.0, BATCH, 6), Arrival(0.0, INTERACTIVE, 2)]
    records, _ = serve(Frail(), arrivals, livequeue.RULES[0], SERVICE, LivePlan(horizon_s=0.01), lambda kept: None)
    statuses = [row_of(a, i, records.get(i), SERVICE)["status"] for i, a in enumerate(arrivals)]
    assert statuses == ["failed: RuntimeError: device lost", "ok"]
