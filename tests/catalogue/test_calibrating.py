"""What is timed of an engine before a live run, and what the fit makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmodel import measure
from qmodel.catalogue.live import calibrating
from qmodel.measure import ProfileSpec
from qmodel.service.model import ServiceModel
from qmodel.study.watch import Watcher

BASE, EACH, CONTEXT, PROMPT = 0.004, 5e-4, 2e-6, 1e-4


def written(spec: ProfileSpec, path: Path) -> None:
    """Rows of a made-up engine whose times are known, at the levels that the spec visits."""
    rng = np.random.default_rng(2)
    phases = {each.name: each.factors for each in spec.phase} or {"denoise": spec.factors}
    names = sorted({name for factors in phases.values() for name in factors})
    lines = [",".join(["phase", *names, "latency_s", "status"])]
    for phase, factors in phases.items():
        grid = np.array(np.meshgrid(*factors.values())).reshape(len(factors), -1).T
        for levels in (dict(zip(factors, row, strict=True)) for row in grid.tolist() for _ in range(6)):
            seconds = true_time(levels) * rng.normal(1.0, 0.002)
            lines.append(",".join([phase, *(str(levels.get(n, "")) for n in names), f"{seconds:.9f}", "ok"]))
    path.write_text("\n".join(lines) + "\n")


def true_time(levels: dict[str, int]) -> float:
    """Seconds at these levels."""
    if "steps" in levels:
        return 3e-4 * levels["steps"]
    context = levels["batch_size"] * levels["context_tokens"]
    prompts = levels.get("prefill_tokens", 0)
    return BASE + EACH * (levels["batch_size"] + (prompts > 0)) + CONTEXT * context + PROMPT * prompts


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch) -> list[ProfileSpec]:
    """Profiles of the made-up engine in place of a real one; the specs that were asked for."""
    asked: list[ProfileSpec] = []

    def run_profile(spec: ProfileSpec, path: Path, progress: object = None) -> None:
        asked.append(spec)
        written(spec, path)

    monkeypatch.setattr(measure, "run_profile", run_profile, raising=False)
    return asked


def test_the_diffusion_model_by_its_steps(profiled: list[ProfileSpec], tmp_path: Path) -> None:
    model = ServiceModel.load(calibrating.service_model("digits-diffusion", tmp_path, Watcher()))
    assert profiled[0].target.kind == "digits-diffusion"
    assert model.predict({"steps": 100}) == pytest.approx(0.03, rel=0.01)


def test_the_decoder_by_its_iterations(profiled: list[ProfileSpec], tmp_path: Path) -> None:
    found = calibrating.iteration_time("transformers", tmp_path, Watcher())
    assert profiled[0].target.options["max_batch"] > calibrating.MAX_BATCH
    assert found["base"] == pytest.approx(BASE, rel=0.2)
    assert found["per_prefill_token"] == pytest.approx(PROMPT, rel=0.1)
    assert (tmp_path / "iteration-time.json").exists()
