"""Functions as targets."""

from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.measure.targets import make_target
from qmodel.measure.targets.callable import CallableTarget, find_function, keyword_names

HERE = __name__
calls: list[dict] = []


def record(batch_size: int, *, steps: int = 4) -> float:
    calls.append({"batch_size": batch_size, "steps": steps})
    return -1.0


def anything(**levels: float) -> None: ...


def positional(first: int, /, second: int) -> None: ...


class Model:
    @staticmethod
    def forward(width: int) -> None: ...


NOT_A_FUNCTION = 5


def test_levels_become_keyword_arguments() -> None:
    target = make_target("callable", callable=f"{HERE}:record")
    assert target.phases == ("call",)
    assert target.factors == {"call": ("batch_size", "steps")}
    assert target.name == f"{HERE}:record"
    calls.clear()
    assert target.prepare("call", {"batch_size": 2})() is None
    assert calls == [{"batch_size": 2, "steps": 4}]
    assert target.peak_memory_bytes() is None
    assert target.device
    target.close()


def test_returned_seconds_are_used_when_told() -> None:
    assert (
        CallableTarget(callable=f"{HERE}:record", returns_seconds=True).prepare("call", {"batch_size": 1})() == -1.0
    )


def test_any_factor_or_those_listed() -> None:
    assert CallableTarget(callable=f"{HERE}:anything").factors == {"call": ("*",)}
    assert CallableTarget(callable=f"{HERE}:anything", factors=["a", "b"]).factors == {"call": ("a", "b")}
    assert keyword_names(positional) == ("second",)
    assert keyword_names(iter) == ("*",)


def test_a_dotted_name() -> None:
    assert find_function(f"{HERE}:Model.forward") is Model.forward


def test_version_of_the_package() -> None:
    assert "numpy" in CallableTarget(callable="numpy.linalg:norm").versions()
    assert CallableTarget(callable=f"{HERE}:record").versions() == {}


def test_functions_without_a_signature_are_called_as_they_are() -> None:
    target = CallableTarget(callable="builtins:iter")
    with pytest.raises(TypeError):
        target.prepare("call", {"object": 1})()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({}, "missing a required argument: 'batch_size'; make the factors its keyword arguments"),
        ({"batch_size": 1, "width": 2}, "got an unexpected keyword argument 'width'"),
    ],
)
def test_levels_that_do_not_fit(levels: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"callable '{HERE}:record': {message}"):
        CallableTarget(callable=f"{HERE}:record").prepare("call", levels)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("work", "is not module:function; write the module, a colon and the function"),
        (":f", "is not module:function"),
        ("work:", "is not module:function"),
        ("no_such_module:f", "module no_such_module is not found; run from its folder, or put that on PYTHONPATH"),
        (f"{HERE}:recrod", "has no function recrod; did you mean 'record'?"),
        (f"{HERE}:Model.backward", "has no function backward; known: forward"),
        (f"{HERE}:NOT_A_FUNCTION", "is int, not a function; name a function"),
    ],
)
def test_what_cannot_be_found(reference: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        find_function(reference)
    assert message in str(caught.value)
    assert f"callable '{reference}'" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("1/0", "its module fails on import: ZeroDivisionError: division by zero"),
        ("def f(:", "its module fails on import: SyntaxError"),
        ("raise SystemExit(1)", "its module fails on import: SystemExit: 1"),
        ("import not_installed", "module not_installed is not found"),
    ],
)
def test_a_broken_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, fault: str) -> None:
    name = f"broken_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_function(f"{name}:f")
    assert fault in str(caught.value)
