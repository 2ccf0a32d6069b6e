"""What is finished of a sweep: a folder with one JSON file a point, each written whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qmodel
from qmodel.answer import PolicyAnswer
from qmodel.errors import InputError, short
from qmodel.files import write_atomically

if TYPE_CHECKING:
    from qmodel.predict import Asking
    from qmodel.sweep.grid import Point

SCHEMA = "qmodel.point/1"
POINTS = "points"


def key(point: Point, asking: Asking) -> str:
    """What a point goes by: the same question, asked in the same way of the same version, has the same key."""
    said = {
        "scenario": point.scenario.fingerprint,
        "settings": point.settings,
        "asking": asdict(asking),
        "qmodel": qmodel.__version__,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Store:
    """The finished points of a sweep in `folder`; without a folder nothing is kept.

    Raises InputError when the folder holds points already and `resume` is not set.
    """

    def __init__(self, folder: Path | None, resume: bool = False) -> None:
        self.folder = None if folder is None else folder / POINTS
        if folder is not None and not resume and any((folder / POINTS).glob("[!.]*.json")):
            raise InputError(str(folder), "holds a sweep already", "go on with --resume, or name another with -o")

    def read(self, name: str) -> dict[str, Any] | None:
        """The result kept under this key, as `PolicyAnswer.to_dict` has it; None if there is none."""
        if self.folder is None:
            return None
        path = self.folder / f"{name}.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            PolicyAnswer.from_dict(data["result"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(str(path), f"is no point of a sweep: {error}", "remove it") from error
        if data.get("schema") != SCHEMA:
            raise InputError(str(path), f"schema {short(data.get('schema'))} is not {SCHEMA}", "remove it")
        found: dict[str, Any] = data["result"]
        return found

    def write(self, name: str, result: dict[str, Any]) -> None:
        """Keep a result."""
        if self.folder is None:
            return
        data = {"schema": SCHEMA, "qmodel": qmodel.__version__, "key": name, "result": result}
        write_atomically(self.folder / f"{name}.json", json.dumps(data, indent=1, allow_nan=False) + "\n")
