"""Numbers in the tables are those of the result files."""

import numpy as np
import pytest

from qmodel.report.sections import appendix, arrivals, improvement, ladder, model, quality, verdict
from qmodel.report.sections.comparison import class_table, validation_table
from qmodel.report.sections.evidence import Evidence
from qmodel.study.plan import Setting
from tests.report.study_files import GAP, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    plan, results = make_study(folder / "study")
    return Evidence(plan, results, folder)


def test_every_number_of_the_validation_table_is_in_the_csv(study):
    comparison = study.results.read_table("comparison")
    means = comparison[(comparison.metric == "mean_response_s") & (comparison["class"] == "all")]
    rows = validation_table(study).rows
    assert len(rows) == len(means) == len(study.plan.live_settings)
    names = {"FCFS": "fcfs", "non-preemptive priority": "np-priority"}
    for policy, setting, load, predicted, method, measured, error, inside in rows:
        here = means[
            (means.policy == names[policy]) & (means.exit == setting.replace(" ", "-")) & (means.load == load)
        ]
        row = here.iloc[0]
        assert (predicted, measured.value, measured.low, measured.high) == (
            row.predicted,
            row.measured,
            row.low,
            row.high,
        )
        assert (method, error) == (row.predicted_method, row.relative_error)
        assert inside == ("inside" if row.inside else "outside")


def test_the_class_table_has_every_class_once_a_setting(study):
    rows = class_table(study).rows
    assert len(rows) == 2 * len(study.plan.live_settings)
    assert {row[2] for row in rows} == {"small", "large"}
    comparison = study.results.read_table("comparison")
    found = comparison[(comparison.metric == "mean_response_s") & (comparison["class"] != "all")]
    assert sorted(row[4] for row in rows) == pytest.approx(sorted(found.predicted))


def test_the_score_counts_intervals(study):
    table = verdict.score_table(study)
    comparison = study.results.read_table("comparison")
    fcfs = comparison[(comparison.policy == "fcfs") & (comparison.exit == "none")]
    means = fcfs[fcfs.metric == "mean_response_s"]
    assert table.rows[0][0] == "FCFS"
    assert table.rows[0][1].replace("\u00a0", " ") == f"{means.inside.sum()} of {len(means)} (8.0 %)"
    assert table.rows[-1][0] == "all strategies"


def test_improvements_and_their_intervals_are_those_of_the_csv(study):
    table = study.results.read_table("improvement")
    rows = improvement.improvement_table(study).rows
    assert len(rows) == 4
    for policy, setting, load, *cells in rows:
        key = {"FCFS": "fcfs", "non-preemptive priority": "np-priority"}[policy]
        for name, cell in zip(("all", "small", "large"), cells, strict=False):
            here = table[
                (table.policy == key) & (table.exit == setting.replace(" ", "-")) & (table["class"] == name)
            ]
            row = here[(here.load == float(load)) & (here.metric == "mean_response_s")].iloc[0]
            assert (cell.value, cell.low, cell.high) == (row.improvement_percent, row.low, row.high)
        assert cells[3] == ("0.500 (0.500)" if setting == "none" else "0.600 (0.500)")


def test_capacities_are_those_of_the_csv_best_first(study):
    table = study.results.read_table("capacity")
    rows = improvement.capacity_table(study, "FCFS").rows
    assert [row[2] for row in rows[:2]] == sorted(table.rate[table.exit == "none"], reverse=True)
    assert sorted(row[2] for row in rows) == sorted(table.rate)
    assert all(row[5] == "stability" or row[5].startswith("p95 of") for row in rows)


def test_the_rungs_add_up_to_the_gap(study):
    found = ladder.gaps(study)
    assert len(found) == len(study.plan.live_settings)
    for gap in found:
        assert sum(gap.steps.values()) == pytest.approx(gap.total)
        assert gap.total == pytest.approx(GAP - 1)
        assert gap.dominant == "fitted services"
        assert gap.steps["fitted services"] == pytest.approx(0.7 * (GAP - 1))
        assert not gap.live.low <= gap.live.value * GAP <= gap.live.high
        assert gap.certain


def test_the_ladder_averages_seeds(study):
    one = study.results.read_table("ladder")
    live = one[(one.rung == "live") & (one["class"] == "all")].iloc[0]
    half = 0.5 * (live.high - live.low)
    doubled = np.hypot(half, half) / 2
    from qmodel.report.sections.evidence import WHERE, averaged

    two = averaged(
        type(one)(np.repeat(one.to_numpy(), 2, axis=0), columns=one.columns).infer_objects(),
        [*WHERE, "class", "rung"],
    )
    assert two.iloc[0].mean_response_s == pytest.approx(live.mean_response_s)
    assert two.iloc[0].high - two.iloc[0].mean_response_s == pytest.approx(doubled)


def test_quality_rows_are_those_of_the_csv_with_real_images_last(study):
    table = study.quality
    rows = quality.quality_table(table, quality.steps_in_use(study)).rows
    assert [row[0] for row in rows] == [2, 4, 8, 16, "real images"]
    assert [row[3] for row in rows[:-1]] == list(table.frechet_distance)
    assert rows[1][1] == "small, cut"
    assert rows[2][1] == "small and large, cut"
    assert rows[-1][3] == 0.35


def test_arrival_rows_are_those_of_the_csv(study):
    rows = arrivals.arrival_table(study.arrivals).rows
    assert len(rows) == 6
    assert rows[0][:4] == (0.5, "all", 400, 20.0)
    assert rows[0][-1] == "yes"


def test_methods_are_those_of_the_predictions(study):
    rows = {(row[0], row[1]): row for row in model.method_table(study).rows}
    assert rows["FCFS", "none and fewer steps"][2:4] == ("exact", "exact")
    answer = study.predicted[Setting("fcfs", "none", 0.5)]
    assert answer.method_of("all", "p95_response_s") == "exact"


def test_the_glossary_leaves_tokens_to_studies_that_have_them(study):
    titles = [row[0] for row in appendix.glossary(study).rows]
    assert "mean response time" in titles
    assert "mean time to first token" not in titles
