"""The command line of the campaign."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from campaign.clock import Clock
from campaign.estimate import stage_table
from campaign.livestage import LiveStage, measure_live, smoke_live
from campaign.session import Settings, measure
from campaign.stages import Stage, full_stages, smoke_stages
from qmodel.errors import InputError, nearest

DONE, FAULT, BAD_INPUT = 0, 1, 2
AnyStage = Stage | LiveStage
EPILOGUE = """stages: list (what there is, with expected times), all, summarise (CSV files ->
measurements/<device>/), or any of those that `list` names, one or several; several share the budget. Rows are
flushed one by one; with --resume, or --from DIR, a stage goes on where earlier rows end."""


def parser() -> argparse.ArgumentParser:
    """Options and their meaning."""
    made = argparse.ArgumentParser(
        prog="gpu_campaign.py", description="Time inference on this machine, stage by stage.", epilog=EPILOGUE
    )
    made.add_argument("stage", nargs="+", metavar="STAGE")
    made.add_argument("--out", type=Path, help="folder for STAGE.csv and STAGE.meta.toml")
    made.add_argument("--device", default="auto", help="auto, cuda, cuda:1 or cpu")
    made.add_argument("--scale", choices=("full", "smoke"), default="full", help="smoke: tiny model, tiny grid")
    made.add_argument("--budget-s", type=float, default=520.0, help="seconds for the whole call (default 520)")
    made.add_argument("--resume", action="store_true", help="go on with what stands in --out")
    made.add_argument("--from", dest="source", type=Path, metavar="DIR", help="go on with rows that lie in DIR")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default 1)")
    made.add_argument("--to", type=Path, default=Path("measurements"), help="summarise: where device folders lie")
    return made


def chosen(names: Sequence[str], stages: Sequence[AnyStage]) -> list[AnyStage]:
    """The stages of these names, each once. Raises InputError."""
    known = {stage.name: stage for stage in stages}
    for name in names:
        if name not in known and name != "all":
            raise InputError(f"stage '{name}'", "is unknown", nearest(name, [*known, "list", "all", "summarise"]))
    return list(stages) if "all" in names else [known[name] for name in dict.fromkeys(names)]


def run(arguments: argparse.Namespace, started: float) -> int:
    """Do what the arguments say; returns the exit code. Raises InputError."""
    stages: list[AnyStage] = list(smoke_stages() if arguments.scale == "smoke" else full_stages())
    stages.append(smoke_live() if arguments.scale == "smoke" else LiveStage())
    if arguments.stage == ["list"]:
        print(stage_table(stages))
        return DONE
    if arguments.stage == ["summarise"]:
        from campaign.summarise import summarise

        print(summarise(_needed(arguments.source or arguments.out, "--from"), arguments.to))
        return DONE
    if not arguments.budget_s > 0:
        raise InputError("--budget-s", f"{arguments.budget_s:g} is no time", "give seconds above 0")
    wanted, clock = chosen(arguments.stage, stages), Clock(arguments.budget_s, started)
    settings = Settings(
        _needed(arguments.out, "--out"), arguments.source, arguments.resume, arguments.device, arguments.threads
    )
    if arguments.scale == "full":
        _needs_a_gpu(arguments.device)
    return max(one_stage(stage, settings, clock) for stage in wanted)


def _needs_a_gpu(device: str) -> None:
    """Raise InputError where "auto" finds no GPU for the campaign in full: on a CPU it would take days."""
    from qmodel.measure.targets.torch_engine import choose_device

    if device == "auto" and choose_device(device).type == "cpu":
        remedy = "look at the driver; --scale smoke tries the program out, --device cpu insists"
        raise InputError("--device", "torch sees no GPU here", remedy)


def one_stage(stage: AnyStage, settings: Settings, clock: Clock) -> int:
    """Run a stage and say what came of it; a stage that fails does not keep the next from its turn."""
    if clock.left_s <= 0:
        print(f"{stage.name:15} not begun: the budget of {clock.budget_s:g} s is used up")
        return DONE
    print(f"{stage.name}: {stage.title}", file=sys.stderr, flush=True)
    try:
        outcome = (
            measure_live(stage, settings, clock)
            if isinstance(stage, LiveStage)
            else measure(stage, settings, clock)
        )
    except InputError as error:
        print(error, file=sys.stderr)
        print(f"{stage.name:15} {clock.used_s:4.0f} s  {error}", flush=True)
        return BAD_INPUT
    except OSError as error:
        place = error.filename or settings.out
        print(f"{place}: {error.strerror}; make room and go on with --resume", file=sys.stderr)
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        print(f"{stage.name:15} {clock.used_s:4.0f} s  ended by a fault of the program, see stderr", flush=True)
        return FAULT
    print(
        f"{stage.name:15} {clock.used_s:4.0f} s  {outcome.line if outcome else 'was complete already'}", flush=True
    )
    return DONE


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise InputError(option, "is missing", f"name a folder with {option} DIR")
    return path


def main(started: float, arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, or ended by the budget; 1 a fault of the program; 2 bad input, or no room to write."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        return run(parser().parse_args(arguments), started)
    except InputError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End as if by the keyboard: what is open is closed on the way out."""
    raise SystemExit(128 + number)
