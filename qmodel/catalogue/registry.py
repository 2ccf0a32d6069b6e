"""All rows by number. A new row is a module in `rows`, a TOML in `scenarios`, and a word here."""

from __future__ import annotations

from importlib import import_module

from qmodel.catalogue.row import Row
from qmodel.errors import InputError, nearest

MODULES = (
    "slo_classes", "andes", "ml_energy", "infercept", "learned_os", "best_effort", "wireless", "conveyor",
    "fastswitch", "diffusion_server", "apparate", "nirvana", "hiddenkey", "cdmpp", "llm_pq", "model_swap",
    "service_fit", "qlm", "predictions", "annealing", "velo", "sal", "seallm", "qllm", "jitserve", "uellm",
    "slos_serve", "vllm", "smooth_goodput", "scalellm", "scls", "learning_to_rank", "infinite_llm", "llumnix",
    "blockllm", "niyama", "rps_serve", "drift",
)  # fmt: skip


def all_rows() -> list[Row]:
    """Every row, by number."""
    return [_row(module) for module in MODULES]


def find(name: str) -> Row:
    """The row of this name (`vllm`) or number (`R28`, `28`). Raises InputError.

    >>> find("r28").name
    'vllm'
    """
    wanted = name.lower()
    number = wanted.removeprefix("r")
    if number.isdecimal() and 1 <= int(number) <= len(MODULES):
        return _row(MODULES[int(number) - 1])
    known = {module.replace("_", "-"): module for module in MODULES}
    if wanted not in known:
        raise InputError(f"catalogue '{name}'", "is unknown", nearest(wanted, list(known)))
    return _row(known[wanted])


def _row(module: str) -> Row:
    row: Row = import_module(f"qmodel.catalogue.rows.{module}").ROW
    return row
