"""Parts of sections on facts that a quiet study does not have."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from qmodel.fit.assumptions import Check
from qmodel.measure.drift import Drift
from qmodel.measure.summary import CellSummary
from qmodel.report.document import Formula
from qmodel.report.inline import plain
from qmodel.report.sections import (
    anova,
    arrivals,
    assumptions,
    design,
    ladder,
    model,
    quality,
    service,
    system,
    threats,
)
from qmodel.report.sections.evidence import Evidence
from qmodel.service.model import ServiceModel
from qmodel.study.plan import Setting, SettingTable
from qmodel.workload.continuous import Exponential
from tests.report.study_files import make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    plan, results = make_study(folder / "study")
    return Evidence(plan, results, folder)


@pytest.fixture
def another(study):
    """The same study, free to be changed."""
    return Evidence(study.plan, study.results, study.folder)


def said(text):
    return (text if isinstance(text, str) else plain(text)).replace("\u00a0", " ")


def test_settings_say_when_and_what():
    threshold = SettingTable(name="x", kind="steps", fraction=0.5, above_queue=4, below_queue=2)
    assert system.setting_words(threshold) == (
        "50 % of the steps while more than 4 requests are in the system as a service starts, itself included, "
        "until fewer than 2 are there"
    )
    single = SettingTable(name="x", kind="model-swap", service_factor=0.4, above_queue=1)
    assert system.setting_words(single).startswith(
        "a smaller model, 0.4 times the service time while more than 1 request is"
    )
    assert (
        system.setting_words(SettingTable(name="x", kind="cache", hit_ratio=0.5)) == "cache (hit ratio 0.5), always"
    )


def test_work_left_is_told_in_time_where_no_steps_are_cut(another):
    table = SettingTable(name="swap", kind="model-swap", service_factor=0.5)
    another.plan.tables.exit.append(table)
    try:
        told = said(system.cut_words(another, table))
    finally:
        another.plan.tables.exit.remove(table)
    means = [s.size.mean / 2 for s in another.base.served]
    assert told.startswith(f"small: {1e3 * means[0]:.2f} ms mean service; large: ")


def test_other_laws_and_policies_are_described():
    assert system.law_words(Exponential(mean=12.0)) == "of mean 12"
    assert system.described("srpt").startswith("shortest remaining processing time first")


def test_cells_that_failed_drift_and_scatter(another):
    cell = another.profile.cells[0]
    cells = [replace(cell, iqr_over_median=0.3 + 0.01 * i) for i in range(6)]
    failed = CellSummary("denoise", {"batch_size": "64"}, "idle-gaps", 0, None, None, None, None, "out_of_memory")
    another.__dict__["profile"] = replace(another.profile, cells=[*cells, failed], drift=Drift(0.05, 1e-4, 18))
    lines = [said(line) for line in design.stillness(another)]
    assert "+5.0 % (seasonal Kendall test over 18 visits, x" not in lines[1]
    assert "so the machine changed while it was measured" in lines[1]
    assert "6 cells of 7 are flagged as scattered" in lines[2]
    assert "the worst: batch size 1, steps 4, back to back: 35.0 %" in lines[2]
    assert lines[3] == "Failures: 1 cell out of memory; those cells are left out."
    told = [said(line) for line in threats.cells(another)]
    assert [line.split(".")[0] for line in told] == ["Scattered cells", "Missing cells", "Drift"]
    another.__dict__["profile"] = replace(another.profile, drift=None)
    assert "not testable" in said(design.drift_line(another))


def test_a_system_without_a_load_average_and_with_a_gpu(another):
    another.__dict__["meta"] = another.meta | {"session": []}
    another.__dict__["runs"] = another.runs.assign(load_average_before=np.nan, load_average_after=np.nan)
    another.__dict__["machine"] = another.machine | {
        "gpus": [{"gpu": "H200", "driver": "1"}],
        "container": "docker",
    }
    assert "tells no load average" in said(design.load_line(another))
    assert ("GPU", "gpu H200, driver 1") in list(design.machine_rows(another))
    assert any(said(line).startswith("A shared host.") for line in threats.machine(another))


def fake_anova(**changes):
    table = pd.DataFrame({"share": [0.004, 0.996], "PR(>F)": [0.3, np.nan]}, index=["steps", "Residual"])
    base = {
        "table": table,
        "effects": lambda: table.iloc[:1],
        "transform": "none",
        "sound": False,
        "notes": ["on few rows"],
    }
    return SimpleNamespace(**{**base, **changes})


def test_nothing_beyond_chance_and_failed_checks():
    assert anova.drivers(None, fake_anova()) == "No factor explains more than 1 % of the variation beyond chance."
    failed = (
        "Failed: normality, equal variance. Done again by robust (HC3) and aligned ranks it finds the same effects."
    )
    told = anova.remedy_words(fake_anova(conclusion=lambda: failed))
    assert told.startswith(
        "Normality and equal variance fail, so the analysis was made again: by robust standard errors (HC3)"
    )
    assert told.endswith("does not hang on the failed assumption. On few rows.")


def test_residuals_that_fail_are_a_threat(another):
    fit = another.fits["denoise"]
    checks = (Check("normality", "t", 1.0, 0.001, False, "Not normal."),)
    wrong = {"median": 0.1, "p95": 0.3, "max": 0.4}
    statistics = {**fit.model.statistics, "cross_validated": wrong}
    changed = replace(fit, anova=replace(fit.anova, checks=checks), model=replace(fit.model, statistics=statistics))
    another.__dict__["fits"] = {"denoise": changed}
    told = [said(line) for line in threats.fitting(another)]
    assert told[0].startswith("Residuals of denoise. Normality fails:")
    assert "reaches 30.0 % in 95 of 100 cells" in told[1]


def test_lack_of_fit_and_unknown_errors_are_told(study):
    fit = study.fits["denoise"]
    lost = SimpleNamespace(p=1e-6, spread=0.05)
    bad = replace(fit, uncertainty=replace(fit.uncertainty, lack_of_fit=lost), warnings=("batch_size: odd: 1.",))
    text = said(service.accuracy(bad).content)
    assert "The cell means lie 5.0 % off it beyond noise (lack-of-fit F test, p < 0.001)" in text
    none = replace(fit, uncertainty=replace(fit.uncertainty, lack_of_fit=None))
    assert "Lack of fit cannot be tested" in said(service.accuracy(none).content)
    assert service.plain_warning(bad.warnings[0], bad) == "batch size: odd: the constant."


def test_long_functions_take_several_lines():
    terms = [
        "1",
        "steps",
        "batch_size",
        "batch_size:steps",
        "context_tokens:batch_size",
        "exit_layer:context_tokens",
    ]
    made = ServiceModel.affine(dict.fromkeys(terms, 0.001))
    formula = service.formula(made, "decode")
    assert isinstance(formula, Formula)
    assert formula.latex.startswith(r"\begin{aligned} \mathrm{latency} = {} & 1\,\mathrm{ms} + ")
    assert formula.latex.count(r"\\") == formula.typst.count("\\") >= 1
    assert '"batch size"' in formula.typst
    short = service.formula(ServiceModel.affine({"1": 0.001}), "x")
    assert "aligned" not in short.latex
    assert plain(short.source) == "fitted here"


def test_one_pacing_has_no_ratio(another):
    another.__dict__["profile"] = replace(another.profile, pacing=None)
    assert "with one pacing only. The predictions use" in said(service.pacing_paragraph(another).content)


def test_policies_without_a_printed_formula_and_those_by_size():
    (words,) = model.policy_blocks("lcfs")
    assert "LCFS. No closed form is used" in said(words.content)
    _, formula = model.policy_blocks("srpt")
    assert plain(formula.source) == "Schrage & Miller 1966"
    labels = [
        block.label
        for block in model.priority_percentiles(["np-priority", "pr-priority"])
        if isinstance(block, Formula)
    ]
    assert labels == ["eq:busy", "eq:cobham-transform", "eq:preemptive-transform"]
    assert list(model.priority_percentiles(["fcfs"])) == []


def test_simulations_say_how_long_and_why(another):
    answer = another.predicted[Setting("fcfs", "none", 0.5)]
    longer = replace(answer, method="simulation", run={"requests": 1000, "seed": 2},
                     notes=["not analysable: no result for policy 'ps'; nearest: fcfs"])  # fmt: skip
    shorter = replace(longer, run={"requests": 900, "seed": 1}, stable=False)
    another.__dict__["predicted"] = {Setting("fcfs", "none", 0.5): longer, Setting("fcfs", "none", 0.7): shorter}
    first, second = model.simulation_notes(another)
    assert first.startswith("Simulations: 900 to 1,000 requests each, seed 1 and 2")
    assert second == "Simulated: no result for policy 'ps'."
    assert model.methods_of([longer, shorter], ["mean_response_s"]) == "simulated and unstable at some loads"
    assert model.results_of([longer]) == ["discrete-event simulation"]


def test_arrivals_that_were_not_tested(another):
    table = another.arrivals.assign(tested=False)
    assert said(arrivals.verdict(table).content) == "No stream had enough arrivals to be tested."
    assert {row[-1] for row in arrivals.arrival_table(table).rows} == {"not tested"}
    assert len(arrivals.arrival_table(table).notes) == 1
    odd = table.iloc[0].copy()
    odd["p_gaps"] = 0.5
    assert arrivals.fault_words(odd) == "not Poisson"
    another.__dict__["arrivals"] = table
    assert said(assumptions.arrivals_row(another)[2]) == "untested"


def test_steps_of_shared_and_interrupted_service_are_assumptions(another):
    runs = another.runs.assign(policy="ps")
    another.__dict__["runs"] = runs
    another.__dict__["ladder"] = another.ladder.assign(policy="ps")
    assert "nearly: 10.0 µs a step" in said(assumptions.preemption_row(another)[2])
    assert "of the live mean" in said(assumptions.sharing_row(another)[2])
    assert "Steps. The live server preempts" in said(threats.stepwise(another))
    another.__dict__["runs"] = runs.assign(policy="fcfs", overhead_per_step_s=np.nan)
    assert said(assumptions.preemption_row(another)[2]) == "untested"
    assert said(assumptions.sharing_row(another)[2]) == "untested"


def test_a_ladder_without_a_rung_is_left_out_and_gaps_inside_the_interval_are_told(study):
    rows = study.ladder[study.ladder["class"] == "all"]
    setting = Setting("fcfs", "none", 0.5)
    part = rows[(rows.policy == "fcfs") & (rows.exit == "none") & (rows.load == 0.5)]
    assert ladder.gap_of(setting, part[part.rung != "theory"]) is None
    wide = part.assign(low=0.0, high=1.0)
    assert ladder.gap_words(ladder.gap_of(setting, wide)).endswith("inside the interval of the live run)")
    endless = part.assign(high=np.inf)
    assert not ladder.gap_of(setting, endless).certain


def test_quality_that_does_not_change_or_is_not_cut(study):
    row = study.quality.iloc[0]
    assert "leave the agreement at 80.0 %" in said(quality.change_words(row, row))
    assert said(quality.change_words(row, study.quality.iloc[-1])).endswith("to 97.5 %")
    assert said(quality.change_words(row, study.quality.iloc[1])).endswith("(the intervals overlap)")
