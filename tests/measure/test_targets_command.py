"""Commands as targets."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.measure.failure import TrialFailed
from qmodel.measure.targets import OutOfMemory, command, make_target
from qmodel.measure.targets.command import CommandTarget, placeholders


def run(line: str, *, shell: bool = False, **levels: object) -> float | None:
    target = CommandTarget(command=line, shell=shell)
    try:
        return target.prepare("run", levels)()  # type: ignore[arg-type]
    finally:
        target.close()


def test_factors_stand_in_braces() -> None:
    target = make_target("command", command="sleep {seconds}")
    assert (target.name, target.phases, target.factors) == ("sleep {seconds}", ("run",), {"run": ("seconds",)})
    assert target.versions() == {}
    seconds = target.prepare("run", {"seconds": 0.02})()
    assert seconds is not None and seconds >= 0.02
    peak = target.peak_memory_bytes()
    assert peak is not None and 2**16 < peak < 2**30


def test_a_level_is_one_argument_whatever_it_holds(tmp_path: Path) -> None:
    hostile = f"x; touch {tmp_path}/owned $(touch {tmp_path}/owned2) 'quote \"two"
    script = f"import sys; open({str(tmp_path / 'seen')!r}, 'w').write(repr(sys.argv[1:]))"
    (tmp_path / "show.py").write_text(script)
    run(f"{sys.executable} {tmp_path}/show.py --name={{text}} plain {{{{}}}}", text=hostile)
    assert (tmp_path / "seen").read_text() == repr([f"--name={hostile}", "plain", "{}"])
    run(f"{sys.executable} {tmp_path}/show.py {{text}} | cat", shell=True, text=hostile)
    assert (tmp_path / "seen").read_text() == repr([hostile])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seen", "show.py"]


def test_shell_only_when_asked(tmp_path: Path) -> None:
    run(f"echo {{x}} > {tmp_path}/file", x=1)
    assert not (tmp_path / "file").exists()
    run(f"echo {{x}} > {tmp_path}/file", shell=True, x=1)
    assert (tmp_path / "file").read_text() == "1\n"


def test_thread_count_reaches_the_command(tmp_path: Path) -> None:
    text = f"echo $OMP_NUM_THREADS {{x}} > {tmp_path}/threads"
    CommandTarget(command=text, shell=True, threads=3).prepare("run", {"x": 1})()
    assert (tmp_path / "threads").read_text() == "3 1\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo first >&2; echo 'no weights' >&2; exit {code}", "exit 3: no weights"),
        ("exit {code}", "exit 3"),
        ("echo {code} >&2; kill -9 $$", "killed by SIGKILL: 3"),
        ("kill -TERM $$ {code}", "killed by SIGTERM"),
    ],
)
def test_failing_is_told_with_the_last_line(text: str, why: str) -> None:
    with pytest.raises(TrialFailed) as caught:
        run(text, shell=True, code=3)
    assert str(caught.value).startswith(why)


def test_errors_of_one_run_are_not_told_of_the_next() -> None:
    target = CommandTarget(command="test {x} = 1 && echo fine >&2", shell=True)
    target.prepare("run", {"x": 1})()
    with pytest.raises(TrialFailed, match=r"^exit 1$"):
        target.prepare("run", {"x": 2})()


def test_killed_for_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([3, 4])
    monkeypatch.setattr(command, "kernel_oom_kills", lambda: next(kills))
    with pytest.raises(OutOfMemory):
        run("kill -9 $$ {x}", shell=True, x=1)


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a program")
    with pytest.raises(TrialFailed, match="cannot be started: Permission denied"):
        run(f"{tmp_path}/{{name}}", name="data")


def test_close_ends_the_whole_group(tmp_path: Path) -> None:
    target = CommandTarget(command=f"sleep {{x}} & echo $! > {tmp_path}/child; wait", shell=True)
    failures: list[BaseException] = []

    def trial() -> None:
        try:
            target.prepare("run", {"x": 60})()
        except TrialFailed as error:
            failures.append(error)

    thread = threading.Thread(target=trial)
    thread.start()
    child = tmp_path / "child"
    while not (child.exists() and child.read_text().endswith("\n")):
        time.sleep(0.005)
    target.close()
    thread.join(10)
    assert [str(error) for error in failures] == ["killed by SIGKILL"]
    state = subprocess.run(["ps", "-o", "stat=", "-p", child.read_text()], capture_output=True, text=True)
    assert state.stdout.strip()[:1] in ("", "Z")
    target.close()  # nothing left to end


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sleep 1", "has no factor; write at least one in braces"),
        ("sleep {", "is malformed"),
        ("sleep '{x}", "is malformed: No closing quotation"),
        ("sleep {}", "has {} in braces"),
        ("sleep {0}", "has {0} in braces"),
        ("sleep {x.real}", "has {x.real} in braces"),
        ("sleep {x[0]}", "has {x[0]} in braces"),
        ("sleep {x!r}", "has {x} in braces; write only factor names"),
        ("sleep {x:>9}", "has {x} in braces"),
        ("no-such-program {x}", "program no-such-program is not found; check its path, or write shell = true"),
    ],
)
def test_commands_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        CommandTarget(command=text)
    assert str(caught.value).startswith(f"command '{text}': {message}")


def test_a_factor_without_a_level() -> None:
    with pytest.raises(InputError, match="has no level for y"):
        CommandTarget(command="test {x} {y}").prepare("run", {"x": 1})


def test_a_factor_is_named_once() -> None:
    assert placeholders("run {b} {a} {b} {{literal}}") == ("b", "a")
