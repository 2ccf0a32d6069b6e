"""The whole campaign in small, in a Python with torch and numpy alone; then what is made of its files."""

import csv
import json
import tomllib

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from campaign.facts import StageFile, energies, highlights, noise_of  # noqa: E402
from campaign.summarise import summarise  # noqa: E402

from qmodel.errors import InputError  # noqa: E402

GRIDS = {
    "prefill-1b": 15,
    "decode-1b": 27,
    "prefill-8b": 15,
    "decode-8b": 27,
    "exit-precision": 54,
    "diffusion": 12,
}
DESIGN_COLUMNS = (
    "run_id target device phase replicate run_order block latency_s energy_j peak_memory_bytes status started_at"
).split()


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_stage_ends_complete_without_optional_packages(smoke):
    out, done = smoke
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [*GRIDS, "live"]
    for stage in (*GRIDS, "live"):
        assert tomllib.loads((out / f"{stage}.meta.toml").read_text())["complete"] is True


def test_files_are_few_and_small(smoke):
    out, _ = smoke
    names = {path.name for path in out.iterdir()}
    stages = {f"{stage}{end}" for stage in (*GRIDS, "live") for end in (".csv", ".meta.toml")}
    assert names == stages | {"live-profile.csv"}


@pytest.mark.parametrize("stage", GRIDS)
def test_rows_are_tidy(smoke, stage):
    rows = rows_of(smoke[0] / f"{stage}.csv")
    assert len(rows) == GRIDS[stage]
    assert set(DESIGN_COLUMNS) <= set(rows[0])
    assert "wall_s" in rows[0]
    assert {row["status"] for row in rows} <= {"ok", "out_of_memory"}
    assert all(float(row["latency_s"]) > 0 for row in rows if row["status"] == "ok")


def test_absurd_cells_are_out_of_memory_untried(smoke):
    rows = [row for row in rows_of(smoke[0] / "decode-8b.csv") if row["status"] == "out_of_memory"]
    assert {row["context_tokens"] for row in rows} == {str(1 << 20)}
    assert {row["batch_size"] for row in rows} == {"1", "2", "4"}


@pytest.mark.parametrize(
    ("stage", "phase", "factors"),
    [
        ("decode-1b", "decode", ("batch_size", "context_tokens")),
        ("prefill-8b", "prefill", ("batch_size", "input_tokens")),
        ("diffusion", "denoise", ("batch_size", "steps")),
        ("exit-precision", "decode", ("batch_size", "exit_layer", "precision")),
    ],
)
def test_fit_reads_them(smoke, stage, phase, factors):
    pytest.importorskip("pandas")
    from qmodel.fit import read_profile

    found = read_profile(smoke[0] / f"{stage}.csv", phase=phase)
    assert found.factors == factors
    assert (found.y > 0).all()


def test_what_came_back_becomes_a_folder_of_measurements(smoke, tmp_path):
    pytest.importorskip("statsmodels")
    from qmodel.service.model import ServiceModel

    written = summarise(smoke[0], tmp_path)
    (folder,) = tmp_path.iterdir()
    assert str(folder) in written
    assert folder.name.endswith("-smoke-test")
    text = (folder / "README.md").read_text()
    for stage in (*GRIDS, "live"):
        assert (folder / f"{stage}.csv").read_bytes() == (smoke[0] / f"{stage}.csv").read_bytes()
        assert (folder / f"{stage}.meta.toml").exists()
    for stage in GRIDS:
        assert f"| `{stage}` |" in text
    assert "| fcfs | 0.6 |" in text
    assert text.startswith("# Smoke test on ") and "tiny models" in text  # never taken for what the names say
    assert "| `decode-8b` | decoder-tiny |" in text
    assert "- energy: not measured\n" in text
    models = sorted((folder / "models").glob("*.json"))
    assert models
    for path in models:
        assert ServiceModel.load(path).response == "latency_s"
        assert f"(models/{path.name})" in text
        assert json.loads(path.read_text())["schema"]
    assert "nan" not in text.lower().split()
    assert summarise(folder, tmp_path).startswith(str(folder))  # in place, again


def test_a_folder_without_stages_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no STAGE.csv with its .meta.toml"):
        summarise(tmp_path, tmp_path / "out")


COLUMNS = (
    "run_id,target,device,phase,batch_size,context_tokens,execution,pacing,replicate,run_order,block,"
    "latency_s,wall_s,energy_j,peak_memory_bytes,status,started_at"
)
ROWS = """
1,128,graph,back-to-back,1,1,1,0.004,0.005,2.0,1,ok,t
1,128,graph,back-to-back,2,2,2,0.0044,0.0055,,1,ok,t
1,128,graph,back-to-back,3,3,3,0.0036,0.0045,4.0,1,ok,t
64,8192,graph,back-to-back,1,4,1,0.02,0.02,8.0,1,ok,t
64,8192,eager,back-to-back,1,5,1,0.001,0.02,,1,ok,t
256,32768,graph,back-to-back,1,6,1,,,,,out_of_memory,t
"""
META = """begun_at = "2026-01-02T03:04:05Z"
[target]
name = "decoder-8b"
device = "X"
versions = {torch = "2.11"}
[[session]]
ceilings = {operations_per_s = 7.8e14, bytes_per_s = 4.3e12}
[session.gpu_watch]
looks = 5
sm_clock_mhz_lowest = 1900
sm_clock_mhz_highest = 1980
temperature_c_highest = 61
throttled_looks = 2
"""


@pytest.fixture
def by_hand(tmp_path):
    (tmp_path / "decode-8b.csv").write_text(
        COLUMNS + ROWS.replace("\n", "\nr,decoder-8b,X,decode,").rsplit("r,", 1)[0]
    )
    (tmp_path / "decode-8b.meta.toml").write_text(META)
    return StageFile.read(tmp_path / "decode-8b.csv")


def test_noise_and_host_share_by_hand(by_hand):
    noise = noise_of(by_hand)
    assert noise.middle == noise.worst == pytest.approx(0.1)
    assert noise.host_share == pytest.approx(0.2)


def test_energy_is_the_median_of_the_rows_that_have_it(by_hand):
    assert energies(by_hand) == {("decode", "1", "128", "graph"): 3.0, ("decode", "64", "8192", "graph"): 8.0}


def test_highlights_name_what_is_reached_of_the_ceilings(by_hand):
    """15.01 GB in 4 ms are 87 % of 4.3 TB/s, 83.7 GB in 20 ms are 97 %."""
    quickest, best = highlights(by_hand)
    assert (quickest.levels, quickest.seconds) == ("decode: batch_size 1, context_tokens 128", 0.004)
    assert (best.levels, best.seconds) == ("decode: batch_size 64, context_tokens 8192", 0.02)
    assert best.text == "97 % of the copy bandwidth measured beside it"


def test_the_readme_tells_device_clocks_and_energy(by_hand):
    from campaign.readme import readme

    text = readme([by_hand], [], [], [by_hand])
    assert text.startswith("# Measurements on X\n") and "tiny" not in text
    assert "| measured | 2026-01-02 |" in text
    assert "clocks 1900 to 1980 MHz, up to 61 degrees Celsius, throttled in 2 looks" in text
    assert "| `decode-8b` | 2 | 0.125 J per token | 3 J per token |" in text
    assert "| copy (read + written), measured | 4.3 TB/s |" in text
