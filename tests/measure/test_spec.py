"""The profile spec: what it accepts, and the one line for everything else."""

from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.measure import ProfileSpec, load_spec

GOOD = """
name = "digits"
[target]
kind = "callable"
callable = "time:sleep"
[factors]
batch_size = [1, 2, 4]
width = [0.5, 1.5]
[design]
seed = 3
[measurement]
cell_budget_s = 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "profile.toml"
    path.write_text(text)
    return path


def test_reads_a_spec_with_its_defaults(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, GOOD))
    assert spec.target.kind == "callable"
    assert spec.target.options == {"callable": "time:sleep"}
    assert spec.phases(("call",)) == {"call": {"batch_size": [1, 2, 4], "width": [0.5, 1.5]}}
    assert (spec.design.kind, spec.design.blocks, spec.design.seed) == ("full", 3, 3)
    assert (spec.measurement.warmup_s, spec.measurement.cell_budget_s) == (0.2, 2.0)
    assert spec.folder == tmp_path
    assert spec.warnings() == []


def test_phases_have_their_own_factors(tmp_path: Path) -> None:
    text = """
name = "lm"
[target]
kind = "language-model"
[[phase]]
name = "prefill"
factors = { input_tokens = [16, 64] }
[[phase]]
name = "decode"
[phase.factors]
context_tokens = [32, 128]
"""
    spec = load_spec(write(tmp_path, text))
    assert list(spec.phases(("prefill", "decode"))) == ["prefill", "decode"]


def test_factors_alone_need_a_target_with_one_phase() -> None:
    spec = ProfileSpec.of({"name": "x", "target": {"kind": "lm"}, "factors": {"steps": [1, 2]}})
    with pytest.raises(InputError, match=r"phases prefill, decode; write \[\[phase\]\]"):
        spec.phases(("prefill", "decode"))


def test_single_level_is_a_warning(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, GOOD.replace("[1, 2, 4]", "[4]")))
    assert spec.warnings() == [
        f"{tmp_path}/profile.toml: factor batch_size has a single level; a fit cannot use it"
    ]


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    first = load_spec(write(tmp_path, GOOD))
    assert load_spec(write(tmp_path, GOOD + "# a remark\n")).fingerprint() == first.fingerprint()
    assert load_spec(write(tmp_path, GOOD.replace("seed = 3", "seed = 4"))).fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "cell_budget_s = 2",
            "cell_budgets_s = 2",
            "measurement, cell_budgets_s: is an unknown key; did you mean 'cell_budget_s'?",
        ),
        (
            "cell_budget_s = 2",
            "cell_budget_ms = 2000",
            "cell_budget_ms: has a wrong unit suffix; write cell_budget_s, in seconds",
        ),
        ("cell_budget_s = 2", "warmup_ms = 200", "warmup_ms: has a wrong unit suffix; write warmup_s, in seconds"),
        (
            "cell_budget_s = 2",
            'cell_budget_s = "200 ms"',
            'is the text "200 ms" where a number should be; write seconds, without quotes: 0.2',
        ),
        (
            "cell_budget_s = 2",
            'cell_budget_s = "2"',
            'is the text "2" where a number should be; write 2 without quotes',
        ),
        (
            "cell_budget_s = 2",
            'cell_budget_s = "long"',
            'is the text "long" where a number should be; write a number, without quotes',
        ),
        ("cell_budget_s = 2", 'cell_budget_s = "1.2.3s"', "write a number, without quotes"),
        ("cell_budget_s = 2", "cell_budget_s = nan", "measurement, cell_budget_s: is NaN; use a finite number"),
        ("cell_budget_s = 2", "cell_budget_s = inf", "cell_budget_s: is inf; use a finite number"),
        ("cell_budget_s = 2", "cell_budget_s = 0", "cell_budget_s: is 0; use a number above 0"),
        ("cell_budget_s = 2", "warmup_s = -1", "warmup_s: is -1; use a number from 0"),
        ("cell_budget_s = 2", "relative_precision = 1", "relative_precision: is 1; use a number below 1"),
        ("cell_budget_s = 2", "threads = 1.5", "threads: is 1.5; use a whole number"),
        ("cell_budget_s = 2", "threads = true", "threads: is True; use a whole number"),
        ("cell_budget_s = 2", "max_replicates = 3", "max_replicates: is below min_replicates; write at least 5"),
        ("seed = 3", 'kind = "ful"', "design, kind: is 'ful'; use one of 'full', 'fractional' or '2kr'"),
        ("seed = 3", "blocks = 0", "design, blocks: is 0; use a number from 1"),
        ("seed = 3", 'pacing = ["idle"]', "design, pacing 1: is 'idle'; use one of 'back-to-back' or 'idle-gaps'"),
        ("seed = 3", "pacing = []", "design, pacing: is []; use at least one item"),
        ("seed = 3", 'pacing = ["idle-gaps", "idle-gaps"]', "pacing: names a pacing twice; name each once"),
        ("seed = 3", 'kind = "fractional"', "fractional: needs either generators or a fraction"),
        ("seed = 3", "fraction = 0.5", 'full: takes neither generators nor fraction; write kind = "fractional"'),
        ("seed = 3", 'kind = "fractional"\nfraction = 1.5', "fraction: is 1.5; use a number up to 1"),
        ("seed = 3", 'kind = "fractional"\nfraction = 0.1', "profile.toml, design fraction: leaves 1 of 6 cells"),
        ("seed = 3", 'kind = "fractional"\ngenerators = ["C=AB"]', "factor batch_size: has 3 levels; a two-level"),
        ("seed = 3", 'kind = "2kr"', "2kr: needs replicates"),
        ("seed = 3", 'kind = "2kr"\nreplicates = 3', "profile.toml, factor batch_size: has 3 levels; a two-level"),
        ("seed = 3", "replicates = 2", "replicates: fewer than the 3 blocks"),
        (
            "[1, 2, 4]",
            '[1, "x"]',
            'factor batch_size: has the text "x" where a number should be; use whole numbers from 1',
        ),
        ("[1, 2, 4]", '["1", "2"]', 'has the text "1" where a number should be; write 1 without quotes'),
        ("[1, 2, 4]", "[1, 2.5]", "factor batch_size: has the level 2.5; use whole numbers from 1"),
        ("[1, 2, 4]", "[0, 1]", "factor batch_size: has the level 0; use whole numbers from 1"),
        ("[1, 2, 4]", "[1, 1]", "factor batch_size: has the level 1 twice; name each level once"),
        ("[1, 2, 4]", "[]", "factor batch_size: has no levels"),
        ("[1, 2, 4]", "8", "factor batch_size: is 8, not a list of levels; write batch_size = [8]"),
        ("[0.5, 1.5]", "[0.5, nan]", "factor width: has the level nan; use finite numbers"),
        ("[0.5, 1.5]", "[0.5, -1.5]", "factor width: has the negative level -1.5; use numbers from 0"),
        ("[0.5, 1.5]", '[0.5, "wide"]', "factor width: mixes text and numbers"),
        ("[0.5, 1.5]", '["0.5", "wide"]', 'has the text "0.5" where a number should be; write 0.5 without quotes'),
        ("[0.5, 1.5]", '["a", "b\\nc"]', "factor width: has the level 'b\\nc'; use text that can be read"),
        ("[0.5, 1.5]", "[true, false]", "factor width: has the level True; use numbers or text"),
        ("width", "latency_s", "factor latency_s: is the name of a column"),
        ("width", '"a b"', "factor a b: is not a name"),
        ("[factors]\nbatch_size = [1, 2, 4]\nwidth = [0.5, 1.5]", "", "profile.toml: names no factors"),
        (
            "[design]",
            '[[phase]]\nname = "call"\nfactors = { a = [1] }\n[design]',
            r"has both [factors] and [[phase]]",
        ),
        (
            "[factors]",
            '[[phase]]\nname = "a"\n[phase.factors]\na = [1]\n[[phase]]\nname = "a"\n[phase.factors]',
            "names a phase twice",
        ),
        (
            "[factors]",
            '[[phase]]\nname = "a"\nfactor = 1\n[phase.factors]',
            "phase a, factor: is an unknown key; did you mean 'factors'?",
        ),
        ("[factors]", "[[phase]]\nname = 3\n[phase.factors]", "phase 1, name: is 3; use text"),
        (
            "[factors]",
            '[[phase]]\nname = "call"\n[phase.factors]\nsteps = [0]',
            "phase call, factor steps: has the level 0",
        ),
        ('name = "digits"', "", "profile.toml: name is missing; add it"),
        ('name = "digits"', 'nme = "digits"', "profile.toml, nme: is an unknown key; did you mean 'name'?"),
        ('name = "digits"', 'name = "a/b"', "name: is 'a/b'; use letters, digits"),
        ('kind = "callable"', "", "profile.toml, target: kind is missing; add it"),
        ('kind = "callable"', "kind = 5", "target, kind: is 5; use text"),
        (GOOD, "", "profile.toml: is empty"),
        (GOOD, "# nothing\n", "profile.toml: is empty"),
        (GOOD, "name = ", "profile.toml: is not TOML"),
        (GOOD, 'name = "x"\nfactors = 3\n[target]\nkind = "x"', "factors: is 3; use a table"),
        (GOOD, 'name = "x"\nphase = 3\n[target]\nkind = "x"', "phase: is 3; use a list"),
        (GOOD, 'name = "x"\nphase = [3]\n[target]\nkind = "x"', "phase 1: is 3; use a table"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.toml: does not exist; check the path"):
        load_spec(tmp_path / "missing.toml")
    with pytest.raises(InputError, match=r"cannot be read .Is a directory."):
        load_spec(tmp_path)
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match=r"cannot be read .Too many levels of symbolic links."):
        load_spec(loop)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not text; save it as UTF-8"):
        load_spec(binary)


def test_shipped_profile_is_valid() -> None:
    path = Path(__file__).parents[2] / "experiments" / "digits-diffusion" / "profile.toml"
    spec = load_spec(path)
    assert spec.phases(("denoise",))["denoise"] == {"batch_size": [1, 2, 4, 8, 16], "steps": [5, 10, 20, 40]}
    assert spec.design.pacing == ["back-to-back", "idle-gaps"]


def test_generator_that_names_no_factor(tmp_path: Path) -> None:
    text = GOOD.replace("[1, 2, 4]", "[1, 2]").replace("seed = 3", 'kind = "fractional"\ngenerators = ["C=AB"]')
    with pytest.raises(InputError, match="design generator 'C=AB': names C, which is no factor here"):
        load_spec(write(tmp_path, text))
