"""Damaged files: exit code 0 or 2, one line when refused, never a traceback, poison never without a word."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import warnings
from pathlib import Path

import pytest

from qmodel.cli import run
from tests.interop.damage import damaged, is_json
from tests.interop.samples import SYNTHETIC, open_slices

MANY = int(os.environ.get("QMODEL_FUZZ", "10000"))
FILES: dict[str, bytes] = {name: text.encode() for name, (_, text) in SYNTHETIC.items()}


def imported(path: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")
        code = run(["import", str(path), *words])
    return code, out.getvalue(), err.getvalue()


def sound(code: int, out: str, err: str, about: str) -> None:
    assert code in (0, 2), f"{about}: {err}"
    assert "Traceback" not in err and "internal fault" not in err, f"{about}: {err}"
    if code == 2:
        assert out == "" and err.count("\n") == 1 and ": " in err, f"{about}: {err}"
    else:
        assert out, about
        assert " nan" not in out.split("\nArrivals")[0], f"{about}: {out}"


def try_damage(folder: Path, files: dict[str, bytes], seeds: range) -> int:
    """Number of refused files."""
    names, refused = sorted(files), 0
    for seed in seeds:
        name = names[seed % len(names)]
        packed = files[name][:2] == b"\x1f\x8b"
        content = gzip.decompress(files[name]) if packed and seed % 3 else files[name]
        broken, kind = damaged(content, seed)
        path = folder / f"{seed}.dat"
        path.write_bytes(broken)
        code, out, err = imported(path)
        sound(code, out, err, f"{name}, seed {seed}, {kind}")
        refused += code == 2
        path.unlink()
    return refused


def test_some_hundred_damaged_files(tmp_path: Path) -> None:
    refused = try_damage(tmp_path, FILES, range(250))
    assert 60 < refused < 240


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path: Path) -> None:
    refused = try_damage(tmp_path, FILES | open_slices(), range(400, 400 + MANY))
    assert 0.2 * MANY < refused < 0.95 * MANY


POISON = ("nan", "inf", "-5", "abc", "1e30")
NEEDED = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": ("Timestamp", "Request tokens", "Response tokens"),
    "vidur-trace": ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
    "vidur-trace-lengths": ("num_prefill_tokens", "num_decode_tokens"),
    "splitwise": ("prompt_time", "token_time", "e2e_time"),
    "llmservingsim": ("time_us",),
    "aiconfigurator-silicon": ("silicon_ttft_ms", "silicon_tpot_ms"),
    "mlenergy-diffusion": ("Batch latency (s)",),
    "mlenergy-llm": ("Avg TPOT (s)",),
    "lambda-diffusers": ("latency",),
    "inferencex": ("median_ttft", "p99_tpot"),
    "servegen": ("rate_rps", "iat_cv", "window_start_s"),
    "profile": ("latency_s",),
    "log": ("scheduled_s", "done_s", "input_tokens"),
    "vidur": ("time_stats.add.mean", "time_stats.mlp_up_proj.mean"),
}
"""Columns whose cells make the numbers that are printed."""


@pytest.mark.parametrize("name", sorted(NEEDED))
@pytest.mark.parametrize("poison", POISON)
def test_a_poisoned_cell_is_named_or_refused(name: str, poison: str, tmp_path: Path) -> None:
    file, text = SYNTHETIC[name]
    rows = [line.split(",") for line in text.strip().split("\n")]
    clean = tmp_path / file
    clean.write_text(text)
    known = set(imported(clean)[2].splitlines())
    for column in NEEDED[name]:
        k = rows[0].index(column)
        line = random.Random(column).randrange(1, len(rows))
        poisoned = [list(row) for row in rows]
        poisoned[line][k] = poison
        path = tmp_path / file
        path.write_text("\n".join(",".join(row) for row in poisoned) + "\n")
        code, out, err = imported(path)
        sound(code, out, err, f"{name}, {column}, line {line + 1}")
        new = [one for one in err.splitlines() if one not in known]
        assert new, f"{column} = {poison} in line {line + 1} went unnoticed"
        assert code == 2 or any(str(line + 1) in one for one in new), new


def test_json_is_told_from_csv() -> None:
    assert is_json(FILES["vllm-serve"]) and not is_json(FILES["azure"])
