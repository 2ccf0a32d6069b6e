"""The whole report of studies that never ran: its files, its numbers, and what it must not say."""

import hashlib
import re

import pandas as pd
import pytest

from qmodel.errors import InputError, MissingExtra
from qmodel.report import write as writing
from qmodel.report.document import Section, Table
from qmodel.report.numbering import number
from qmodel.report.sections.evidence import Evidence
from qmodel.report.study_report import study_document, write_study_report
from qmodel.study.plan import StudyPlan, StudyTables
from qmodel.study.results import Results
from tests.report.study_files import make_study, run_rows


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    plan, results = study
    folder = tmp_path_factory.mktemp("report")
    return write_study_report(plan, results, folder), folder


def text_of(folder):
    return (folder / "report.md").read_text(encoding="utf-8")


def test_all_files_are_there_and_named(written):
    report, folder = written
    assert [path.name for path in report.files] == ["report.md", "report.tex", "report.pdf", "figures"]
    assert all(path.exists() for path in report.files)
    drawn = sorted(path.name for path in (folder / "figures").glob("*.png"))
    assert drawn == [
        "agreement.png",
        "arrivals.png",
        "distribution.png",
        "effects-denoise.png",
        "improvement.png",
        "ladder.png",
        "latency.png",
        "policies.png",
        "quality.png",
        "service-denoise.png",
    ]
    assert not list(folder.rglob(".*"))


def test_sections_stand_in_the_order_of_a_grader(written):
    _, folder = written
    headings = re.findall(r"^## \d+ (.*)$", text_of(folder), re.MULTILINE)
    assert headings == [
        "Question",
        "System",
        "Experiment design",
        "Analysis of variance",
        "Service-time function",
        "Quality of fewer steps",
        "Arrival tests",
        "Queueing model",
        "Validation: predictions against live runs",
        "The gap ladder",
        "Improvement",
        "Threats to validity",
        "How to reproduce",
        "References",
        "Appendix: tables in full",
        "Appendix: glossary of metrics",
    ]


def test_three_sentences_open_the_report(written):
    report, folder = written
    abstract = next(line for line in text_of(folder).splitlines() if line.startswith("**Abstract.**"))
    plain = abstract.replace("\u00a0", " ")
    assert len(report.sentences) == 3
    assert all(sentence in plain for sentence in report.sentences)
    assert all("\u00a0" not in sentence for sentence in report.sentences)


def test_the_report_never_says_validated(written):
    _, folder = written
    assert not re.search(r"\bvalidated\b", text_of(folder), re.IGNORECASE)


def test_the_date_is_that_of_the_last_stage(written):
    _, folder = written
    assert "5 March 2026" in text_of(folder)


def test_the_same_results_give_the_same_bytes_and_stay_as_they_are(study, written, tmp_path):
    plan, results = study
    _, first = written
    before = {path: path.read_bytes() for path in results.folder.rglob("*") if path.is_file()}
    write_study_report(plan, results, tmp_path)
    assert before == {path: path.read_bytes() for path in results.folder.rglob("*") if path.is_file()}
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (first / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_hashes_are_those_of_the_files(study, written):
    _, results = study
    _, folder = written
    for path in (results.profile, results.predictions, results.model("denoise")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text_of(folder)


@pytest.fixture
def undrawn(monkeypatch):
    """Documents without figures on disk."""
    from qmodel.report.document import Figure

    def picture(self, name, drawing, caption, alt):
        return Figure(f"fig:{name}", f"figures/{name}.png", caption, alt)

    monkeypatch.setattr(Evidence, "picture", picture)


def document(plan, results, tmp_path):
    made = study_document(Evidence(plan, results, tmp_path))
    number(made)  # every reference names something
    return made


def table(made, label):
    return next(block for block in made.blocks if isinstance(block, Table) and block.label == label)


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"live": False}, {"tab:validation", "tab:score", "tab:ladder", "tab:arrivals"}),
        ({"quality": False}, {"tab:quality"}),
        ({"slo": False}, {"tab:capacity"}),
        ({"policies": ("fcfs",), "early_exit": False}, {"tab:improvement", "tab:exits"}),
        (
            {"live": False, "quality": False, "slo": False, "policies": ("fcfs",), "early_exit": False},
            {"tab:score"},
        ),
    ],
)
def test_smaller_studies_have_smaller_reports(options, gone, tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study", **options)
    made = document(plan, results, tmp_path)
    labels = {block.label for block in made.blocks if isinstance(block, Table)}
    assert not labels & gone
    assert {"tab:classes", "tab:design", "tab:anova-denoise", "tab:methods", "tab:assumptions"} <= labels


def test_without_live_runs_and_typst_the_report_says_so(tmp_path, monkeypatch):
    def missing(*_):
        raise MissingExtra("typst", "pdf")

    monkeypatch.setattr(writing, "write_pdf", missing)
    plan, results = make_study(tmp_path / "study", live=False, quality=False)
    report = write_study_report(plan, results, tmp_path / "report")
    assert [path.name for path in report.files[:3]] == ["report.md", "report.tex", "figures"]
    assert report.files[3] == "no PDF: typst: is not installed; pip install 'qmodel[pdf]'"
    text = text_of(tmp_path / "report")
    assert text.count("Nothing was run live") == 3
    assert "measured in live runs" not in text
    assert "Quality of fewer steps" not in text
    assert "(predicted, no interval)" in text


def test_two_phases_have_evidence_of_their_own(tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study", live=False, quality=False)
    evidence = Evidence(plan, results, tmp_path)
    evidence.__dict__["fits"] = {"prefill": evidence.fits["denoise"], "decode": evidence.fits["denoise"]}
    made = study_document(evidence)
    titles = [block.title for block in made.blocks if isinstance(block, Section) and block.level == 2]
    assert titles.count("Phase prefill") == titles.count("Phase decode") == 2
    assert table(made, "tab:errors-decode").rows == table(made, "tab:errors-prefill").rows


SERVICE = """
[[class]]
name = "one"
arrivals = { process = "poisson", rate = 1.0 }
service = { distribution = "exponential", mean = 0.5 }
"""


def test_a_scenario_that_brings_its_service_times_needs_no_profile(tmp_path, undrawn):
    from qmodel.study.evaluate import capacities
    from qmodel.study.prepare import predictions
    from qmodel.study.watch import Watcher
    from tests.report.study_files import Measured

    (tmp_path / "scenario.toml").write_text(SERVICE)
    tables = StudyTables(
        name="given", title="Given", scenario="scenario.toml", policies=["fcfs"], loads=[0.5], baseline="fcfs",
        exit=[{"name": "as in the scenario", "own": True}],
    )  # fmt: skip
    plan, results = StudyPlan(tables, tmp_path), Results(tmp_path / "results")
    results.folder.mkdir()
    predictions(plan, results, Watcher())
    results.write_state({"stages": {"predictions": "2026-03-04T05:07:00+0000"}})
    results.write_table("capacity", capacities(Measured(plan, results)))
    made = document(plan, results, tmp_path)
    assert table(made, "tab:classes").rows[0][3] == pytest.approx(0.5)
    assert "tab:design" not in {block.label for block in made.blocks if isinstance(block, Table)}


TABLES = ["runs", "comparison", "ladder", "improvement", "arrivals", "services", "capacity", "quality"]


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_table_is_named(name, tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study")
    results.table(name).unlink()
    with pytest.raises(InputError, match=rf"{name}.csv: is not there; run the study first"):
        document(plan, results, tmp_path)


def test_missing_metadata_and_predictions_are_named(tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study")
    meta = results.profile.with_suffix(".meta.toml")
    kept = meta.read_text()
    meta.write_text("no toml")
    with pytest.raises(InputError, match=r"profile.meta.toml: is not the metadata of a profile"):
        document(plan, results, tmp_path)
    meta.write_text(kept)
    results.predictions.unlink()
    with pytest.raises(InputError, match=r"predictions.json: is not there"):
        document(plan, results, tmp_path)


def test_results_without_a_finished_stage_have_no_report(tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study", live=False)
    plan = StudyPlan(plan.tables.model_copy(update={"profile": None, "fit": None}), plan.folder)
    results.write_state({})
    with pytest.raises(InputError, match=r"state.json: names no finished stage"):
        _ = Evidence(plan, results, tmp_path).finished


def test_a_comparison_with_other_predictions_is_refused(tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study")
    comparison = results.read_table("comparison")
    comparison.loc[3, "predicted"] *= 1.5
    results.write_table("comparison", comparison)
    with pytest.raises(InputError, match=r"comparison.csv: was made with other predictions"):
        document(plan, results, tmp_path)


def test_rejected_runs_are_listed_shown_and_not_counted(tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study")
    runs = run_rows(plan, results).astype({"rejected": object})
    runs.loc[0, "rejected"] = "the client's lag is too long"
    results.write_table("runs", runs)
    made = document(plan, results, tmp_path)
    assert table(made, "tab:rejected").rows == (("FCFS at load 0.5", "the client's lag is too long"),)
    verdicts = [row[-1] for row in table(made, "tab:validation").rows]
    assert verdicts.count("run rejected") == 1
    assert "2 of 3" not in str(table(made, "tab:score").rows[0][1])
    assert str(table(made, "tab:score").rows[0][1]).startswith("3 of 3")
    assert pd.isna(results.read_table("runs").rejected).sum() == len(runs) - 1


def test_all_loads_of_the_improvement_stand_in_the_appendix(tmp_path, undrawn):
    plan, results = make_study(tmp_path / "study", live=False, percentiles="50", loads="0.2, 0.5, 0.7")
    made = document(plan, results, tmp_path)
    assert {row[2] for row in table(made, "tab:improvement").rows} == {"0.5", "0.7"}
    assert {row[2] for row in table(made, "tab:improvement-all").rows} == {"0.2", "0.5", "0.7"}
    assert "tab:improvement-tail" not in {block.label for block in made.blocks if isinstance(block, Table)}
