"""`STAGE.meta.toml`: what must be known to read a stage's CSV later, over all the sessions that it took."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qmodel
from campaign.power import gpu_state
from campaign.records import meta_path
from campaign.timing import Ceilings
from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.measure.machine import describe_machine, load_average
from qmodel.measure.rows import timestamp
from qmodel.toml_text import to_toml

SCHEMA = "qmodel.profile_meta/1"


class Metadata:
    """The metadata of one CSV."""

    def __init__(self, csv_path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = meta_path(csv_path), content

    @classmethod
    def begin(
        cls, csv_path: Path, stage: str, fingerprint: str, subject: Mapping[str, Any], threads: int
    ) -> Metadata:
        """Metadata of a new CSV; `subject` says what is measured and how."""
        now = timestamp(time.time())
        stamp = now[:19].replace("-", "").replace(":", "")
        content = {
            "schema": SCHEMA,
            "run_id": f"{stage}-{stamp}-{fingerprint[:8]}",
            "csv": csv_path.name,
            "stage": stage,
            "complete": False,
            "begun_at": now,
            "fingerprint": fingerprint,
            "threads": threads,
            "prefix_cache": "none",
            **subject,
            "qmodel": qmodel.__version__,
            "machine": describe_machine(threads),
            "session": [],
            "block_state": [],
        }
        return cls(csv_path, content)

    @classmethod
    def read(cls, csv_path: Path) -> Metadata:
        """Metadata written earlier. Raises InputError when there are none."""
        path = meta_path(csv_path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fault = f"stands there without a readable {path.name}, so it cannot be resumed"
            raise InputError(str(csv_path), fault, "bring that file too, or name another --out") from error
        return cls(csv_path, {"session": [], "block_state": []} | content)

    @property
    def run_id(self) -> str:
        """Identity of the measurement, the same in all its sessions."""
        return str(self.content["run_id"])

    def check(self, fingerprint: str, device: str) -> None:
        """Refuse to go on with another design, or on another device. Raises InputError."""
        was = self.content.get("target", {}).get("device")
        if self.content.get("fingerprint") != fingerprint:
            raise InputError(str(self.path), "is of another design or scale", "name another --out")
        if was != device:
            raise InputError(str(self.path), f"is of another device ({was}, not {device})", "name another --out")

    def open_session(self, rows: int, ceilings: Ceilings, energy_source: str, budget_s: float) -> None:
        """Note the state before a session, and write."""
        session = {
            "begun_at": timestamp(time.time()),
            "budget_s": budget_s,
            "rows_before": rows,
            "load_before": load_average(),
            "energy_source": energy_source,
            "ceilings": ceilings._asdict(),
        }
        self.content["session"].append(session)
        self.write()

    def note_state(self, block: int | None, following: int | None) -> None:
        """Note clocks, temperature and power of the GPUs where one block ends and the next begins."""
        states = gpu_state()
        state: dict[str, Any] = {"after_block": block, "before_block": following, "at": timestamp(time.time())}
        state |= {"load": load_average(), "gpus": states or None}
        self.content["block_state"].append({key: value for key, value in state.items() if value is not None})

    def close_session(self, ended_by: str, *, complete: bool, seen: Mapping[str, int] | None, left: int) -> None:
        """Note how a session ended, and write."""
        after = {
            "ended_at": timestamp(time.time()),
            "ended_by": ended_by,
            "load_after": load_average(),
            "visits_left": left,
            "gpu_watch": dict(seen) if seen else None,
        }
        self.content["session"][-1].update({key: value for key, value in after.items() if value is not None})
        self.content["complete"] = complete
        self.write()

    def write(self) -> None:
        """Write the file in one step."""
        write_atomically(self.path, to_toml(self.content))
