"""The stages before the first live run: profile, fit, quality, predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmodel.predict import Asking, answer_one
from qmodel.study.plan import Setting, StudyPlan
from qmodel.study.results import Results
from qmodel.study.watch import Watcher

if TYPE_CHECKING:
    from qmodel.answer import PolicyAnswer
    from qmodel.fit import FitResult
    from qmodel.fit.iteration_times import IterationFit
    from qmodel.scenario import Scenario


def profile(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Time the target over its grid; resumes inside the grid."""
    from qmodel.measure import run_profile

    if plan.profile_spec is None:
        return
    summary = run_profile(plan.profile_spec, results.profile, resume=True, progress=watcher.update)
    for line in summary.lines():
        watcher.say(line)


def fit(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """ANOVA and the service-time function of each phase, with the evidence as text beside the model."""
    from qmodel.files import write_atomically

    if plan.tables.fit and plan.tables.fit.iteration_time:
        _fit_iterations(plan, results, watcher)
    for i, phase in enumerate(plan.phases):
        found = fit_phase(plan, results, phase)
        found.model.save(results.model(phase))
        write_atomically(results.folder / f"fit-{phase}.txt", found.summary())
        for warning in found.warnings:
            watcher.say(warning)
        watcher.say(found.model.describe())
        watcher.update(i + 1, len(plan.phases), phase)


def _fit_iterations(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """The iteration time of a batching system, from whole iterations or whole batches."""
    import json

    from qmodel.files import write_atomically

    found = iteration_fit(plan, results)
    errors = {"median_relative_error": found.median_error, "worst_relative_error": found.worst_error}
    write_atomically(results.iteration_time, json.dumps({"coefficients": found.coefficients, **errors}, indent=1))
    write_atomically(results.folder / "fit-iteration-time.txt", found.summary())
    watcher.say(found.describe())


def iteration_fit(plan: StudyPlan, results: Results) -> IterationFit:
    """The fit of the iteration time to the measured rows; the same rows give the same fit."""
    from qmodel.fit.iteration_times import fit_iteration_time, read_iterations
    from qmodel.study.batching import alike

    wanted = plan.tables.fit
    assert wanted is not None
    rows = alike(read_iterations(results.profile, wanted.phases, wanted.reference_pacing), plan.base_scenario())
    return fit_iteration_time(rows)


def fit_phase(plan: StudyPlan, results: Results, phase: str) -> FitResult:
    """The fit of one phase to the measured rows; the same rows give the same fit."""
    from qmodel.fit import fit_measurements, read_profile

    reference = plan.tables.fit.reference_pacing if plan.tables.fit else None
    measurements = read_profile([results.profile], phase=phase)
    return fit_measurements(measurements, reference={"pacing": reference} if reference else None)


def fitted_scenario(plan: StudyPlan, results: Results) -> Scenario:
    """The study's scenario with the models fitted in it, or with the model that it names itself."""
    from qmodel.study.batching import settings_of

    fit = plan.tables.fit
    settings = settings_of(results.iteration_time) if fit and fit.iteration_time else None
    return plan.base_scenario({phase: results.model(phase) for phase in plan.phases}, settings)


def quality(plan: StudyPlan, results: Results, watcher: Watcher) -> None:
    """Quality of what the target makes at every number of steps that some setting uses."""
    from qmodel.measure.quality import quality_by_steps

    wanted = plan.tables.quality
    if wanted is None:
        return
    steps = sorted({*wanted.steps, *steps_used(plan)})
    results.write_table("quality", quality_by_steps(steps, wanted.images, wanted.seed, progress=watcher.update))


def quality_seconds(plan: StudyPlan) -> float:
    """About how long the judging takes: 0.2 ms for each image and step."""
    wanted = plan.tables.quality
    return 2e-4 * wanted.images * sum({*wanted.steps, *steps_used(plan)}) if wanted else 0.0


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
    """Answer every setting by theory, or by simulation where there is no result, and save them with their hash.

    Overload has no steady state: it is simulated over its finite horizon, from empty, as it will be run.
    """
    from qmodel.study.leaving import asked

    base = fitted_scenario(plan, results)
    answers: dict[Setting, PolicyAnswer] = {}
    fingerprints: dict[Setting, str] = {}
    settings = [*plan.settings, *plan.overloads]
    for i, setting in enumerate(settings):
        scenario = asked(plan, results, base, setting)
        answers[setting] = predicted(plan, setting, scenario)
        fingerprints[setting] = scenario.fingerprint
        watcher.update(i + 1, len(settings), setting.label)
    digest = results.save_predictions(answers, fingerprints)
    watcher.say(f"{len(answers)} predictions saved before the first live run, sha256 {digest[:16]}")


def predicted(
    plan: StudyPlan, setting: Setting, scenario: Scenario, horizon_s: float | None = None
) -> PolicyAnswer:
    """The answer to one setting, asked as this scenario: by theory, or by simulation.

    Overload is simulated over `horizon_s`, its own seconds if none are given.
    """
    horizon_s = (horizon_s or plan.horizon_s(setting, scenario)) if setting in plan.overloads else None
    return answer_one(scenario, Asking(percentiles=tuple(plan.tables.percentiles), horizon_s=horizon_s))
