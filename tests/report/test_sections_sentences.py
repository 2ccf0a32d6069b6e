"""Sentences written by rule: what they say when all is inside, when not, and when there is little to say."""

import numpy as np
import pandas as pd
import pytest

from qmodel.report.inline import plain
from qmodel.report.sections import assumptions, findings, host, improvement, ladder, threats, verdict
from qmodel.report.sections.evidence import Evidence
from tests.report.study_files import compared, improvement_rows, make_study


@pytest.fixture
def study(tmp_path):
    plan, results = make_study(tmp_path / "study")
    return Evidence(plan, results, tmp_path)


def said(text):
    """Plain words with plain blanks."""
    return (text if isinstance(text, str) else plain(text)).replace("\u00a0", " ")


def with_gap(study, gap, half=0.1):
    """The same study with other measurements."""
    study.results.write_table("comparison", compared(study.plan, study.results, gap, half))
    return Evidence(study.plan, study.results, study.folder)


def only(sentences):
    (sentence,) = sentences
    return said(sentence)


def test_prediction_names_number_interval_method_and_device(study):
    sentence = only(findings.prediction(study))
    assert sentence.startswith("Under FCFS at load 0.7 the mean response time of all requests is predicted as ")
    assert "ms (exact, M/G/1 FCFS: Pollaczek-Khinchine); the live run on Pretended CPU 9000 measured" in sentence
    assert "95 % interval by batch means" in sentence
    assert "off by +8.0 %" in sentence
    assert sentence.endswith(
        "in all 6 settings that can be judged the predicted mean lies inside the 95 % interval of the live run."
    )


def test_some_outside_are_counted(study):
    rows = study.results.read_table("comparison")
    hit = (rows.policy == "fcfs") & (rows.exit == "none") & (rows["class"] == "all")
    rows.loc[hit, "inside"] = False
    study.results.write_table("comparison", rows)
    sentence = only(findings.prediction(study))
    assert sentence.endswith(
        "in 4 of 6 settings that can be judged the predicted mean lies inside the 95 % interval of the live run."
    )


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ([True], "in the one setting that can be judged the predicted mean lies inside"),
        ([True, True], "in both settings that can be judged"),
        ([True, True, True], "in all 3 settings that can be judged"),
        ([True, False], "in 1 of 2 settings that can be judged"),
        ([False], "in 0 of 1 setting that can be judged"),
        ([None, None], "no live run is long enough"),
    ],
)
def test_counts_and_nouns_agree(inside, words):
    rows = pd.DataFrame({"inside": pd.Series(inside, dtype=object), "rejected": False})
    assert findings.inside_words(rows).startswith(words)


def test_a_run_without_an_interval_says_so(study):
    rows = study.results.read_table("comparison").assign(high=np.inf, inside=np.nan)
    study.results.write_table("comparison", rows)
    sentence = only(findings.prediction(study))
    assert "(no 95 % interval: the run is too short)" in sentence
    assert sentence.endswith("no live run is long enough for an interval to hold its prediction against.")
    assert "**No verdict" not in said(verdict.verdict(study).content)
    assert verdict.verdict(study).kind == "warning"
    assert "No verdict is possible" in said(verdict.verdict(study).content)


def test_the_verdict_goes_no_further_than_the_intervals(study):
    assert verdict.verdict(study).kind == "finding"
    assert "All 18 predicted means lie inside" in said(verdict.verdict(study).content)
    bad = with_gap(study, 1.4)
    told = verdict.verdict(bad)
    text = said(told.content)
    assert told.kind == "warning"
    assert "do not bear the predictions out everywhere: 0 of 18" in text
    assert "about 17 would be expected" in text
    assert "The largest miss is +40.0 %" in text


def test_a_verdict_with_one_miss_names_it_and_the_strategies_without(study):
    rows = study.results.read_table("comparison")
    hit = (rows.policy == "fcfs") & (rows.exit == "none") & (rows["class"] == "all") & (rows.load == 0.7)
    rows.loc[hit, "inside"] = False
    study.results.write_table("comparison", rows)
    text = said(verdict.verdict(study).content)
    assert "17 of 18 predicted means lie inside their 95 % intervals, about as many as chance alone allows" in text
    assert "for all requests under FCFS at load 0.7" in text
    assert "No prediction lies outside under non-preemptive priority and FCFS with fewer steps." in text


def test_improvement_names_the_best_and_the_best_without_early_exit(study):
    sentence = only(findings.improvement(study))
    assert sentence.startswith(
        "At load 0.7 the largest gain over FCFS in the mean response time of all requests is"
    )
    assert "paired live runs on Pretended CPU 9000), under FCFS with fewer steps" in sentence
    assert "at a Fréchet distance of 0.60 against 0.50" in sentence
    assert "; without early exit it is" in sentence
    assert sentence.endswith("under non-preemptive priority.")


def test_no_significant_improvement_is_no_improvement(study):
    rows = improvement_rows(study.plan, study.results.read_table("comparison"), half=300.0)
    study.results.write_table("improvement", rows)
    sentence = only(findings.improvement(study))
    assert "no strategy lowers the mean response time of all requests against FCFS beyond chance" in sentence
    assert "FCFS with fewer steps, the most favourable" in sentence
    text = said(improvement.class_verdict(study, "all"))
    assert "no strategy is better than FCFS beyond chance; no strategy makes it worse beyond chance" in text


def test_endless_intervals_are_told(study):
    rows = study.results.read_table("improvement").assign(low=-np.inf, high=np.inf)
    study.results.write_table("improvement", rows)
    sentence = only(findings.improvement(study))
    assert "so that a gain can be told from chance: the most favourable, FCFS with fewer steps" in sentence
    assert "the run is too short for an interval" in sentence


def test_who_pays_is_named(study):
    text = said(improvement.class_verdict(study, "large"))
    assert "Class large: best under FCFS with fewer steps" in text
    assert "it pays under non-preemptive priority (−" in text


def test_a_single_strategy_has_no_improvement_sentence(tmp_path):
    plan, results = make_study(tmp_path / "s", policies=("fcfs",), early_exit=False, slo=False, quality=False)
    study = Evidence(plan, results, tmp_path)
    assert list(findings.improvement(study)) == []
    assert list(findings.capacity(study)) == []
    first, second, third = findings.sentences(study)
    assert first.startswith("Under FCFS at load 0.7")
    assert "is off by" in second
    assert "95th percentile" in third
    assert len({first, second, third}) == 3
    (_, words, author) = improvement.blocks(study)
    assert "nothing to compare" in said(words.content)
    assert author.kind == "author"


def test_a_single_policy_with_an_slo_has_a_capacity(tmp_path):
    plan, results = make_study(tmp_path / "s", policies=("fcfs",), early_exit=False, quality=False, live=False)
    sentence = only(findings.capacity(Evidence(plan, results, tmp_path)))
    assert sentence.startswith("Within the SLOs the server is predicted to take 241 requests/s under FCFS (")
    assert "raises" not in sentence


def test_no_policy_that_raises_the_capacity(study):
    table = study.results.read_table("capacity").assign(rate=100.0, metric="p95_response_s")
    table["class"] = "small"
    study.results.write_table("capacity", table)
    sentence = only(findings.capacity(study))
    assert (
        "100 requests/s under FCFS and no other policy raises that (exact by theory, limited by the 95th"
        in sentence
    )
    assert "early exit" not in sentence


def test_predicted_improvements_have_no_interval(tmp_path):
    plan, results = make_study(tmp_path / "s", live=False, quality=False)
    study = Evidence(plan, results, tmp_path)
    sentence = only(findings.improvement(study))
    assert "(predicted, no interval), under non-preemptive priority with fewer steps; without" in sentence
    answers = {(s.policy, s.exit): a for s, a in study.predicted.items() if s.load == 0.7}
    means = {key: answer["all"].mean_response_s for key, answer in answers.items()}
    gain = 100 * (1 - means["np-priority", "none"] / means["fcfs", "none"])
    assert f"it is {gain:.1f} % (predicted" in sentence


def test_gaps_are_explained_by_their_largest_rung(study):
    bad = with_gap(study, 1.3)
    from tests.report.study_files import ladder_rows

    study.results.write_table("ladder", ladder_rows(bad.results.read_table("comparison")))
    (item,) = ladder.explanations(ladder.shown_gaps(bad))
    text = said(item)
    assert text.startswith("Service times: the work in these runs took less time than the fitted function says.")
    assert "under FCFS at load 0.5 (+21.0 % of +30.0 %)" in text


def test_small_gaps_need_no_explanation(study):
    words = [said(block.content) for block in ladder.blocks(study) if type(block).__name__ == "Paragraph"]
    assert words[-1] == "No setting shown has a gap above 10 %."


def test_assumptions_are_tested_or_untested(study, tmp_path):
    rows = {said(name): said(outcome) for name, _, outcome in assumptions.assumption_rows(study)}
    assert rows["Arrivals are a Poisson process"] == "holds: 6 of 6 streams pass"
    assert rows["Service times are independent of one another"].startswith("holds: 0 of 6 runs speak against it")
    assert rows["Service times have the fitted mean"].startswith("holds: 18 of 18 inside their interval")
    assert rows["The queue is in steady state"].startswith("untested")
    plan, results = make_study(tmp_path / "unlived", live=False, policies=("fcfs", "pr-priority"))
    without = list(assumptions.assumption_rows(Evidence(plan, results, tmp_path)))
    assert len(without) == 7
    assert {said(outcome) for *_, outcome in without} == {"untested"}


def test_assumptions_fail_where_tests_say_so(study):
    services = study.results.read_table("services").assign(lag1_p=1e-6, lag1=0.4)
    study.results.write_table("services", services)
    arrivals = study.results.read_table("arrivals")
    arrivals["poisson"] = [False] + [True] * (len(arrivals) - 1)
    arrivals["p_gaps"] = [1e-9] + [0.5] * (len(arrivals) - 1)
    study.results.write_table("arrivals", arrivals)
    rows = {said(name): said(outcome) for name, _, outcome in assumptions.assumption_rows(study)}
    assert rows["Arrivals are a Poisson process"] == "not everywhere: 5 of 6 streams pass"
    assert rows["Service times are independent of one another"].startswith("fails: 6 of 6 runs speak against it")
    told = [said(line) for find in threats.FINDERS for line in find(study)]
    assert any(line.startswith("Service times that go together. In 6 runs of 6") for line in told)
    assert any(line.startswith("Arrivals. 1 stream was not told Poisson") for line in told)
    from qmodel.report.sections.arrivals import verdict

    assert "refused: load 0.5, all: gaps are not exponential" in said(verdict(study.arrivals).content)


def test_threats_name_what_lies_outside_the_grid(study):
    told = [said(line) for line in threats.fitting(study)]
    assert not any(line.startswith("Extrapolation") for line in told)


def with_host(study, before, after):
    """The same study with the host's speed looked at around each run; what was predicted for it in the table."""
    runs = study.results.read_table("runs")
    runs = runs.assign(host_before=np.resize(before, len(runs)), host_after=np.resize(after, len(runs)))
    study.results.write_table("runs", runs)
    comparison = study.results.read_table("comparison")
    slower = comparison.assign(as_profiled=comparison.predicted, predicted=1.1 * comparison.predicted)
    study.results.write_table("comparison", slower)
    return Evidence(study.plan, study.results, study.folder)


def test_a_host_at_another_speed_is_told_and_predicted_for(study):
    before = study.measured_comparison.predicted
    again = with_host(study, [1.0, 1.1, 1.3], [1.01, 1.1, 1.37])
    (paragraph,) = host.host_speed(again)
    text = said(paragraph.content)
    assert "they took between 100 % and 130 % of their time in the profile, 110 % in the median" in text
    assert text.endswith("changed by 1.0 % in the median and by 5.4 % at most.")
    assert again.measured_comparison.predicted.to_numpy() == pytest.approx(1.1 * before.to_numpy())
    threat = only(host.unsteady(again))
    assert "In 2 runs of 6 the host's times changed by more than 5.0 % between start and end" in threat


def test_a_steady_host_is_no_threat(study):
    again = with_host(study, [0.99, 1.01], [1.0, 1.01])
    (paragraph,) = host.host_speed(again)
    assert "99.0 % to 101 % of their time in the profile: the host was steady" in said(paragraph.content)
    assert list(host.unsteady(again)) == []


def test_a_host_not_looked_at_is_not_spoken_of(study):
    assert list(host.host_speed(study)) == list(host.unsteady(study)) == []


def test_a_busy_machine_is_told_first(study):
    from qmodel.report.sections.front import blocks

    assert [block.kind for block in blocks(study)] == ["scope"]
    runs = study.results.read_table("runs").assign(load_average_after=5.0)
    study.results.write_table("runs", runs)
    busy = Evidence(study.plan, study.results, study.folder)
    assert [block.kind for block in blocks(busy)] == ["scope", "warning"]
    assert "load average reached 5.00 on 2 cores" in said(list(blocks(busy))[1].content)
