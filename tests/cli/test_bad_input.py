"""Every bad input ends in exit code 2 and one line that names place, fault and remedy; never in a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

INLINE = ("predict", "--arrivals", "poisson:0.8", "--service", "exponential:1")

WORDS = {
    "nothing to ask": (("predict",), "scenario: is missing; give SCENARIO.toml, or --arrivals and --service"),
    "half a queue": (("predict", "--arrivals", "poisson:1"), "scenario: is missing; give SCENARIO.toml"),
    "both": (
        ("predict", "one.toml", *INLINE[1:]),
        "both a file and inline options are given; use one or the other",
    ),
    "unknown command": (("predct",), "qmodel: no command 'predct'; did you mean 'predict'?"),
    "unknown option": ((*INLINE, "--polcy", "ps"), "qmodel predict: no such option: --polcy"),
    "value missing": ((*INLINE, "--policy"), "qmodel predict: option '--policy' requires an argument"),
    "too many words": (("predict", "one.toml", "two.toml"), "qmodel predict: got unexpected extra argument"),
    "text for a seed": ((*INLINE, "--seed", "one"), "qmodel predict: invalid value for '--seed'"),
    "negative seed": ((*INLINE, "--seed", "-1"), "seed: -1 is negative; give 0 or more"),
    "text for requests": ((*INLINE, "--requests", "many"), "qmodel predict: invalid value for '--requests'"),
    "no requests": ((*INLINE, "--requests", "0"), "requests: 0 is out of range; give 1000 to"),
    "endless requests": ((*INLINE, "--requests", "9" * 30), "is out of range; give 1000 to"),
    "service": (("predict", "--arrivals", "poisson:1", "--service", "exponental:1"), "did you mean 'exponential'?"),
    "service text": (
        ("predict", "--arrivals", "poisson:1", "--service", "exponential:x"),
        "write exponential:MEAN",
    ),
    "service nan": (
        ("predict", "--arrivals", "poisson:1", "--service", "exponential:nan"),
        "nan is not a positive",
    ),
    "rate negative": (
        ("predict", "--arrivals", "poisson:-1", "--service", "exponential:1"),
        "is not a positive number",
    ),
    "huge": (
        ("predict", "--arrivals", "poisson:1e300", "--service", "exponential:1"),
        "is too large; give a value in",
    ),
    "trace": (("predict", "--arrivals", "trace:no.csv", "--service", "exponential:1"), "no.csv: No such file"),
    "data": (("predict", "--arrivals", "poisson:1", "--service", "empirical:no.csv:a"), "no.csv: No such file"),
    "policy": ((*INLINE, "--policy", "srtp"), "policy 'srtp': is unknown; did you mean 'srpt'?"),
    "second policy": ((*INLINE, "--policy", "fcfs,srtp"), "policy 'srtp': is unknown"),
    "module": ((*INLINE, "--policy", "nowhere:Order"), "cannot be loaded: ModuleNotFoundError"),
    "no class of the module": ((*INLINE, "--policy", "math:Order"), "cannot be loaded: AttributeError"),
    "no policy": ((*INLINE, "--policy", "pathlib:Path"), "is not a policy; derive it from qmodel.policy.Rank"),
    "percentile 0": ((*INLINE, "--percentiles", "0"), "percentiles: 0 is not between 0 and 100; e.g. 50,95,99"),
    "percentile 100": ((*INLINE, "--percentiles", "50,100"), "percentiles: 100 is not between 0 and 100"),
    "percentile 101": ((*INLINE, "--percentiles", "101"), "percentiles: 101 is not between 0 and 100"),
    "percentile text": ((*INLINE, "--percentiles", "median"), "--percentiles: 'median' holds text; give numbers"),
    "percentile empty": ((*INLINE, "--percentiles", ""), "--percentiles: '' holds text; give numbers"),
    "percentile nan": ((*INLINE, "--percentiles", "nan"), "--percentiles: 'nan' holds no finite number"),
    "rate text": ((*INLINE, "--rate", "fast"), "--rate: 'fast' holds text; give numbers, e.g. 0.5,0.9"),
    "rate zero": ((*INLINE, "--rate", "0"), "--rate: '0' holds a rate that is not positive"),
    "rate infinite": ((*INLINE, "--rate", "inf"), "--rate: 'inf' holds no finite number"),
    "rate huge": ((*INLINE, "--rate", "1e200"), "is too large"),
    "method": ((*INLINE, "--method", "guess"), "--method: 'guess' is unknown; auto, theory or simulation"),
    "set inline": (
        (*INLINE, "--set", "system.bufer=1"),
        "--set: system.bufer: is not known; did you mean 'buffer'?",
    ),
    "set nothing": (("predict", "one.toml", "--set", "a"), "--set a: is no PATH=VALUE; e.g. --set class.chat"),
    "set nowhere": (("predict", "one.toml", "--set", "=1"), "--set =1: is no PATH=VALUE"),
    "set unknown": (
        ("predict", "one.toml", "--set", "clas.x=1"),
        "one.toml: clas: is not known; did you mean 'class'?",
    ),
    "set no such class": (
        ("predict", "one.toml", "--set", "class.chta.priority=1"),
        "--set class.chta.priority: there is no 'chta'; did you mean 'chat'?",
    ),
    "set inside a value": (("predict", "one.toml", "--set", "class.chat.name.x=1"), "'x' is inside a plain value"),
    "set wrong kind": (
        ("predict", "one.toml", "--set", "class.chat.priority=high"),
        "one.toml: class.chat.priority: 'high' is not a whole number; give a whole number",
    ),
    "no theory": (
        (
            "predict",
            "--arrivals",
            "renewal:0.5,2",
            "--service",
            "exponential:1",
            "--policy",
            "srpt",
            "--method",
            "theory",
        ),
        "policy 'srpt': not analysable: no result for arrivals of class 'requests' that are not Poisson",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_words(refused, files: Path, name: str) -> None:
    words, line = WORDS[name]
    assert line in refused(*words)


@pytest.mark.parametrize("command", ["predict", "simulate"])
class TestFiles:
    def test_missing(self, refused, files: Path, command: str) -> None:
        assert refused(command, "no.toml") == "no.toml: No such file or directory; check the path"

    def test_directory(self, refused, files: Path, command: str) -> None:
        assert refused(command, files) == f"{files}: Is a directory; check the path"

    def test_cycle(self, refused, files: Path, command: str) -> None:
        (files / "a.toml").symlink_to("b.toml")
        (files / "b.toml").symlink_to("a.toml")
        assert refused(command, "a.toml") == "a.toml: Too many levels of symbolic links; check the path"

    def test_empty(self, refused, files: Path, command: str) -> None:
        (files / "empty.toml").write_text("")
        assert refused(command, "empty.toml") == "empty.toml: class: is missing; add a [[class]]"

    def test_binary(self, refused, files: Path, command: str) -> None:
        (files / "model.onnx").write_bytes(bytes(range(256)))
        assert refused(command, "model.onnx") == "model.onnx: is not text; save it as UTF-8"

    def test_no_toml(self, refused, files: Path, command: str) -> None:
        (files / "q.json").write_text('{"class": []}')
        assert refused(command, "q.json").startswith("q.json: is not TOML: ")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_permission(self, refused, files: Path, command: str) -> None:
        (files / "one.toml").chmod(0)
        assert refused(command, "one.toml") == "one.toml: Permission denied; check the path"

    def test_permission_of_any_user(
        self, refused, files: Path, command: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deny(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_text", deny)
        assert refused(command, "one.toml") == "one.toml: Permission denied; check the path"

    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            (
                "rate = 0.5",
                "rate = 'fast'",
                "one.toml: class.chat.arrivals.rate: 'fast' is not a number; give a number",
            ),
            ("rate = 0.5", "rate = nan", "one.toml: class.chat.arrivals.rate: nan is not a positive number"),
            ("rate = 0.5", "rate = -1", "one.toml: class.chat.arrivals.rate: -1 is not a positive number"),
            ("rate = 0.5", "rate = 0x" + "f" * 9000, "one.toml: class.chat.arrivals.rate: is too large"),
            ("arrivals", "arivals", "one.toml: class.chat.arivals: is not known; did you mean 'arrivals'?"),
            ("mean =", "maen =", "one.toml: class.chat.service.maen: is not known; did you mean 'mean'?"),
            ("response_p95_s", "respnse_p95_s", "respnse_p95_s: is unknown; did you mean 'response_p95_s'?"),
            ("[[class]]", "[[clas]]", "one.toml: clas: is not known; did you mean 'class'?"),
            ('name = "chat"', 'name = "all"', "one.toml: class, name: 'all' is not allowed"),
            (
                '"exponential", mean = 1.0',
                '"discrete", values = [1], probabilities = [0.9]',
                "must be >= 0 and sum to 1",
            ),
        ],
    )
    def test_content(self, refused, files: Path, command: str, old: str, new: str, line: str) -> None:
        text = (files / "one.toml").read_text()
        assert old in text
        (files / "one.toml").write_text(text.replace(old, new, 1))
        assert line in refused(command, "one.toml")

    def test_a_class_twice(self, refused, files: Path, command: str) -> None:
        text = (files / "one.toml").read_text()
        (files / "one.toml").write_text(text + text)
        assert (
            refused(command, "one.toml") == "one.toml: class 'chat': is there twice; give each class its own name"
        )

    def test_output_that_cannot_be_written(self, refused, files: Path, command: str) -> None:
        assert refused(command, "one.toml", "--requests", "2000", "--csv", files) == (
            f"{files}: Is a directory; choose another place"
        )
        (files / "file").write_text("")
        line = refused(command, "one.toml", "--requests", "2000", "--csv", "file/answer.csv")
        assert line.startswith("file/answer.csv: ") and line.endswith("; choose another place")
        assert sorted(p.name for p in files.iterdir()) == ["file", "one.toml", "two.toml"]


class TestFaultsOfOurOwn:
    def test_an_internal_fault_is_one_line_and_exit_code_1(self, qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("broken\ninside")

        monkeypatch.setattr("qmodel.cli.ask.policies", fail)
        done = qmodel(*INLINE)
        assert done.code == 1
        assert done.line == "internal fault: RuntimeError: broken inside (QMODEL_DEBUG=1 shows where)"
        monkeypatch.setenv("QMODEL_DEBUG", "1")
        with pytest.raises(RuntimeError, match="broken"):
            qmodel(*INLINE)

    def test_a_full_memory(self, refused, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise MemoryError

        monkeypatch.setattr("qmodel.cli.ask.policies", fail)
        assert refused(*INLINE) == "qmodel predict: out of memory; ask for less at a time, e.g. fewer --requests"

    def test_an_interrupt(self, qmodel, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("qmodel.cli.ask.policies", interrupt)
        assert qmodel(*INLINE).code == 130

    def test_a_command_may_exit(self, monkeypatch: pytest.MonkeyPatch, qmodel) -> None:
        def leave(*_: object, **__: object) -> None:
            raise SystemExit(7)

        monkeypatch.setattr("qmodel.cli.ask.policies", leave)
        with pytest.raises(SystemExit, match="7"):
            qmodel(*INLINE)
