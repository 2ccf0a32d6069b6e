"""Where a study keeps what it found, and how each part is read back.

Everything is plain CSV, JSON or TOML with units in the column names; a file is there completely or not at all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.answer import Answer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.study.plan import Setting

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = "qmodel.predictions/1"


@dataclass(frozen=True)
class Results:
    """The results folder of one study."""

    folder: Path

    @property
    def profile(self) -> Path:
        """Timed repetitions (tidy CSV)."""
        return self.folder / "profile.csv"

    def model(self, phase: str) -> Path:
        """The fitted service-time function of a phase."""
        return self.folder / f"model-{phase}.json"

    @property
    def iteration_time(self) -> Path:
        """The fitted iteration time of a batching system."""
        return self.folder / "iteration-time.json"

    @property
    def predictions(self) -> Path:
        """Answers of theory (or simulation) for every setting, saved before the first live run."""
        return self.folder / "predictions.json"

    @property
    def state(self) -> Path:
        """Which plan these results belong to, and when each stage ended."""
        return self.folder / "state.json"

    def table(self, name: str) -> Path:
        """A result table: quality, anova, candidates, comparison, ladder, improvement, arrivals, runs."""
        return self.folder / f"{name}.csv"

    def leaving(self, exit_setting: str) -> str:
        """Name of the table of what requests take that the target itself lets leave."""
        return "leaving-" + exit_setting.replace(":", "_").replace("/", "_").replace(" ", "-")

    def log(self, setting: Setting, seed: int) -> Path:
        """Request log of one live run."""
        return self.folder / "live" / f"{setting.label}-seed{seed}.csv"

    def run_prediction(self, setting: Setting, seed: int) -> Path:
        """What one live run is held against, at the host's speed just before it."""
        return self.log(setting, seed).with_suffix(".predicted.json")

    @property
    def host(self) -> Path:
        """Cells of the profile, timed again before and after live runs (tidy CSV)."""
        return self.folder / "host.csv"

    def read_table(self, name: str) -> pd.DataFrame:
        """A result table as a frame. Raises InputError when the stage that makes it has not run."""
        import pandas as pd

        path = self.table(name)
        if not path.is_file():
            raise InputError(str(path), "is not there", "run the study first")
        # "none" is an exit setting here, so only an empty cell is a missing value
        return pd.read_csv(path, keep_default_na=False, na_values=[""])

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a result table, atomically."""
        write_atomically(self.table(name), frame.to_csv(index=False))

    def save_predictions(self, answers: dict[Setting, PolicyAnswer], scenarios: dict[Setting, str]) -> str:
        """Write the predictions and return their hash, which every later live run records."""
        entries = [
            {"policy": s.policy, "exit": s.exit, "load": s.load, "answer": Answer(scenarios[s], [answer]).to_dict()}
            for s, answer in answers.items()
        ]
        text = json.dumps({"schema": PREDICTIONS, "predictions": entries}, indent=1, allow_nan=False)
        write_atomically(self.predictions, text)
        return hashlib.sha256(text.encode()).hexdigest()

    def read_predictions(self) -> dict[Setting, PolicyAnswer]:
        """The saved predictions. Raises InputError when they are missing."""
        if not self.predictions.is_file():
            raise InputError(str(self.predictions), "is not there", "run the study first")
        data = json.loads(self.predictions.read_text(encoding="utf-8"))
        return {
            Setting(entry["policy"], entry["exit"], entry["load"]): Answer.from_dict(entry["answer"]).results[0]
            for entry in data["predictions"]
        }

    def predictions_hash(self) -> str:
        """SHA-256 of the predictions file."""
        return digest_of(self.predictions)

    def set_aside(self, setting: Setting, seed: int) -> None:
        """Move the files of a run that is made again to the folder `live/again`, out of the way of all tables."""
        log = self.log(setting, seed)
        aside = log.parent / "again"
        aside.mkdir(exist_ok=True)
        for path in log.parent.glob(f"{log.stem}.*"):
            path.replace(aside / path.name)

    def read_state(self) -> dict[str, Any]:
        """The state, empty for a new study."""
        if not self.state.is_file():
            return {}
        return dict(json.loads(self.state.read_text(encoding="utf-8")))

    def write_state(self, state: dict[str, Any]) -> None:
        """Write the state, atomically."""
        write_atomically(self.state, json.dumps(state, indent=1))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
