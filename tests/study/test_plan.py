"""The plan of a study: what it accepts, what it refuses, what it asks."""

from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.study.plan import Setting, load_plan

HERE = Path(__file__).parents[2]
STUDY = HERE / "experiments" / "digits-diffusion" / "study.toml"
MODEL = HERE / "measurements" / "amd-epyc-2-cores" / "digits-diffusion.model.json"


@pytest.fixture
def copied(tmp_path):
    """A copy of the shipped study, to be damaged."""
    for file in STUDY.parent.glob("*.toml"):
        (tmp_path / file.name).write_text(file.read_text())
    return tmp_path / "study.toml"


def test_the_shipped_study_is_sound():
    plan = load_plan(STUDY)
    assert len(plan.settings) == 4 * 3 * 4
    assert set(plan.live_settings) <= set(plan.settings)
    assert Setting("fcfs", "none", 0.85) in plan.live_settings


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('baseline = "fcfs"', 'baseline = "srpt"', "baseline 'srpt' is not among the policies"),
        (
            "loads = [0.3, 0.5, 0.7, 0.85]\nbaseline",
            "loads = [0.3, 0.5, 0.7, 1.2]\nbaseline",
            "load 0.85 is not predicted",
        ),
        (
            'baseline = "fcfs"',
            'baseline = "fcfs"\noptions = { mlfq = {} }',
            "options of policy 'mlfq', which is not among",
        ),
        (
            'baseline = "fcfs"',
            'baseline = "fcfs"\noptions = { ps = { x = 1 } }',
            "policy 'ps', x: is no option of it",
        ),
        ('"ps"]\nloads', '"ps", "srptt"]\nloads', "policy 'srptt': is unknown; did you mean 'srpt'?"),
        ('title = "', 'titel = "', "titel: is not known; did you mean 'title'?"),
        ('profile = "profile.toml"', 'profile = "prof.toml"', "prof.toml, which is not there"),
        ('exit = "fewer-steps"', 'exit = "fewer-stepps"', "did you mean 'fewer-steps'?"),
        ("seconds = 14", "seconds = -1", "live.seconds"),
        ("warmup_share = 0.1", "warmup_share = nan", "live.warmup_share"),
        ('name = "none"', 'name = "none"\nrequests = 20', "requests belong to a target's own exits"),
        ("fraction = 0.5", "target = { tolerance = 0.1 }", "a target's own exits go without kind and own"),
        ("loads = [1.3]", "loads = [0.9]", "live.overload: loads must be 1 or more"),
        ("loads = [1.3]", "loads = [1.3, 1.3]", "live.overload: ('fcfs', 'none', 1.3) is asked for twice"),
        ("loads = [1.3]\nseconds = 8", "loads = [1.3]", "live.overload: give seconds or requests, one of them"),
        ("seconds = 8\nseeds = [1, 2]", "seconds = 8\nseeds = [1]", "live.overload.0.seeds"),
        ("seconds = 8\nseeds = [1, 2]", "seconds = 8\nseeds = [1, 1]", "a seed stands there twice"),
    ],
)
def test_a_damaged_study_is_one_clear_line(copied, old, new, line):
    text = copied.read_text()
    assert old in text
    copied.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_plan(copied)
    assert line in str(caught.value)
    assert str(copied) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_reach_the_policy(copied):
    more = '"ps", "mlfq"]\noptions = { mlfq = { thresholds = [0.5] } }\nloads'
    copied.write_text(copied.read_text().replace('"ps"]\nloads', more, 1))
    plan = load_plan(copied)
    setting = Setting("mlfq", "none", 0.5)
    base = plan.base_scenario({"denoise": MODEL})
    assert plan.scenario(base, setting).policy.thresholds == [0.5]


def test_overload_is_planned_over_a_horizon(copied):
    """A run for each of two seeds, beside the steady ones."""
    plan = load_plan(copied)
    overload = Setting("fcfs", "none", 1.3)
    assert [seed for setting, seed in plan.live_runs if setting == overload] == [1, 2]
    assert overload not in plan.settings
    assert plan.horizon_s(plan.live_settings[0], plan.base_scenario()) is None
    assert plan.horizon_s(overload, plan.base_scenario()) == 8.0
    copied.write_text(copied.read_text().replace("loads = [1.3]\nseconds = 8", "loads = [1.3]\nrequests = 280"))
    assert load_plan(copied).horizon_s(overload, plan.base_scenario()) == 280 / 140


def test_the_fingerprint_sees_every_file(copied):
    before = load_plan(copied).fingerprint
    assert load_plan(STUDY).fingerprint == before
    scenario = copied.parent / "scenario.toml"
    scenario.write_text(scenario.read_text().replace("steps = 10", "steps = 11"))
    assert load_plan(copied).fingerprint != before


def test_comments_do_not_change_the_fingerprint(copied):
    before = load_plan(copied).fingerprint
    copied.write_text("# another remark\n" + copied.read_text())
    assert load_plan(copied).fingerprint == before


def test_validate_plans_overload_beside_the_loads():
    """`qmodel validate --overload 1.3 --seconds 5`: two seeds where one was named, else those named."""
    from qmodel.cli.validate import the_plan

    scenario = STUDY.parent / "scenario.toml"
    one = the_plan(scenario, "digits-diffusion", [], "0.5", 5.0, "1", 1, "1.3")
    overload = Setting("fcfs", "as in the scenario", 1.3)
    assert [seed for setting, seed in one.live_runs if setting == overload] == [1, 2]
    assert one.horizon_s(overload, one.base_scenario()) == 5.0
    three = the_plan(scenario, "digits-diffusion", [], "0.5", 5.0, "4,5,6", 1, "1.3")
    assert [seed for setting, seed in three.live_runs if setting == overload] == [4, 5, 6]
    assert the_plan(scenario, "digits-diffusion", [], "0.5", 5.0, "1", 1).overloads == {}
