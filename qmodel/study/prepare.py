"""The stages before the first live run: profile, fit, quality, predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmodel.predict import Asking, answer_one
from qmodel.study.plan import Setting, StudyPlan
from qmodel.study.results import Results
from qmodel.study.watch import Watcher

if TYPE_CHECKING:
    from qmodel.answer import PolicyAnswer


def profile(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Time the target over its grid; resumes inside the grid."""
    from qmodel.measure import load_spec, run_profile

    summary = run_profile(load_spec(plan.profile_path), results.profile, resume=True, progress=watcher.update)
    for line in summary.lines():
        watcher.say(line)


def fit(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """ANOVA and the service-time function, with the evidence as tables beside the model."""
    from qmodel.files import write_atomically
    from qmodel.fit import fit_measurements, read_profile

    reference = plan.tables.fit.reference_pacing
    measurements = read_profile([results.profile], phase=plan.tables.fit.phase)
    found = fit_measurements(measurements, reference={"pacing": reference} if reference else None)
    found.model.save(results.model)
    results.write_table("anova", found.anova_table())
    results.write_table("candidates", found.candidates)
    write_atomically(results.folder / "fit.md", found.to_markdown())
    write_atomically(results.folder / "fit.txt", found.summary())
    for warning in found.warnings:
        watcher.say(warning)


def quality(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Quality of what the target makes at every number of steps that some setting uses."""
    from qmodel.measure.quality import quality_by_steps

    wanted = plan.tables.quality
    if wanted is None:
        return
    steps = sorted({*wanted.steps, *steps_used(plan)})
    results.write_table("quality", quality_by_steps(steps, wanted.images, wanted.seed, progress=watcher.update))


def steps_used(plan: StudyPlan) -> set[int]:
    """Step counts of the classes, in full and under every exit setting that cuts steps."""
    from qmodel.scenario_file import make_transform
    from qmodel.service.transform import FewerSteps

    full = {
        int(value)
        for request_class in plan.base_scenario().classes
        if "steps" in request_class.factors
        for value, _ in request_class.factors["steps"].atoms()
    }
    cuts = [make_transform(table) for table in plan.tables.exit if table.kind == "steps"]
    return full | {cut.steps_kept(steps) for cut in cuts if isinstance(cut, FewerSteps) for steps in full}


def predictions(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Answer every setting by theory, or by simulation where there is no result, and save them with their hash."""
    base = plan.base_scenario(results.model)
    asking = Asking(percentiles=tuple(plan.tables.percentiles))
    answers: dict[Setting, PolicyAnswer] = {}
    fingerprints: dict[Setting, str] = {}
    for i, setting in enumerate(plan.settings):
        scenario = plan.scenario(base, setting)
        answers[setting] = answer_one(scenario, asking)
        fingerprints[setting] = scenario.fingerprint
        watcher.update(i + 1, len(plan.settings), setting.label)
    digest = results.save_predictions(answers, fingerprints)
    watcher.say(f"{len(answers)} predictions saved before the first live run, sha256 {digest[:16]}")
