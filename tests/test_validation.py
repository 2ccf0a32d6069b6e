"""Tables that users write: the first fault, its place, and what would be right."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from qmodel.errors import InputError, MissingExtra, nearest, short
from qmodel.files import write_atomically
from qmodel.validation import Table, known_keys, parse_value, read_toml, set_field, validated


class Inner(Table):
    speed: float = 1.0
    mode: Literal["slow", "fast"] = "slow"


class Entry(Table):
    name: str
    kind: str = "plain"
    inner: Inner = Inner()
    values: list[float] = Field(default_factory=list)
    either: str | dict[Literal["left", "right"], str] | None = None


class Whole(Table):
    entry: list[Entry] = Field(alias="item", min_length=1, description="add an [[item]]")
    count: int = Field(default=1, ge=1)
    on: bool = False
    inner: Inner = Inner()
    table: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agrees(self) -> Whole:
        if self.count == 13:
            raise ValueError("thirteen brings\nbad luck")
        return self


GOOD: dict[str, Any] = {"item": [{"name": "first"}, {"name": "second"}]}


def fault(data: Any) -> str:
    with pytest.raises(InputError) as caught:
        validated(Whole, data, "q.toml")
    line = str(caught.value)
    assert "\n" not in line and "pydantic" not in line
    return line


class TestValidated:
    def test_good(self) -> None:
        whole = validated(Whole, GOOD | {"count": 3, "inner": {"speed": 2}}, "q.toml")
        assert [entry.name for entry in whole.entry] == ["first", "second"]
        assert whole.count == 3 and whole.inner.speed == 2.0

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"cuont": 3}, "q.toml: cuont: is not known; did you mean 'count'?"),
            ({"zzzz": 3}, "q.toml: zzzz: is not known; known: count, inner, item, on, table"),
            ({"inner": {"spede": 3}}, "q.toml: inner.spede: is not known; did you mean 'speed'?"),
            ({"item": [{}]}, "q.toml: item.0.name: is missing; add it"),
            ({"item": [{"nam": "a"}]}, "q.toml: item.0.nam: is not known; did you mean 'name'?"),
            ({"item": [{"name": "a", "inr": {}}]}, "q.toml: item.a.inr: is not known; did you mean 'inner'?"),
            (
                {"item": [{"name": "a", "inner": {"sped": 1}}]},
                "q.toml: item.a.inner.sped: is not known; did you mean 'speed'?",
            ),
            ({"item": []}, "q.toml: item: is empty; add an [[item]]"),
            ({"item": {"name": "a"}}, "q.toml: item: {'name': 'a'} is no list; write [[ ]] for tables"),
            ({"item": ["a"]}, "q.toml: item.0: 'a' is no table; write { key = value }"),
            ({"count": "many"}, "q.toml: count: 'many' is not a whole number; give a whole number"),
            ({"count": "3"}, "q.toml: count: '3' is not a whole number"),
            ({"count": 2.5}, "q.toml: count: 2.5 is not a whole number"),
            ({"count": True}, "q.toml: count: True is not a whole number"),
            (
                {"count": 0},
                "q.toml: count: 0 is not greater than or equal to 1; it should be greater than or equal",
            ),
            ({"count": 13}, "q.toml: thirteen brings bad luck"),
            ({"on": 1}, "q.toml: on: 1 is neither true nor false"),
            ({"inner": 3}, "q.toml: inner: 3 is no table"),
            ({"inner": {"speed": "x"}}, "q.toml: inner.speed: 'x' is not a number; give a number"),
            ({"inner": {"speed": math.nan}}, "q.toml: inner.speed: nan is not a finite number"),
            ({"inner": {"speed": math.inf}}, "q.toml: inner.speed: inf is not a finite number"),
            ({"inner": {"speed": 10**400}}, "is not a number"),
            ({"inner": {"mode": "fats"}}, "q.toml: inner.mode: 'fats' is unknown; did you mean 'fast'?"),
            ({"inner": {"mode": 3}}, "q.toml: inner.mode: 3 is unknown; known: fast, slow"),
            ({"table": {"a": "b"}}, "q.toml: table.a: 'b' is not a number"),
            ({"table": 3}, "q.toml: table: 3 is no table"),
            ({"item": [{"name": 3}]}, "q.toml: item.0.name: 3 is no text; write it in quotes"),
            ({"item": [{"kind": "k", "name": 3}]}, "q.toml: item.k.name: 3 is no text"),
            ({"item": [{"name": "a", "values": [1, "b"]}]}, "q.toml: item.a.values.1: 'b' is not a number"),
            ({"item": [{"name": "a", "either": 3}]}, "q.toml: item.a.either: 3 is no text"),
            (
                {"item": [{"name": "a", "either": {"lefd": "x"}}]},
                "q.toml: item.a.either.lefd: 'lefd' is unknown; did you mean 'left'?",
            ),
        ],
    )
    def test_faults(self, change: dict, line: str) -> None:
        assert line in fault(GOOD | change)

    def test_a_missing_table_says_what_to_add(self) -> None:
        assert fault({}) == "q.toml: item: is missing; add an [[item]]"
        assert fault({"itme": [{"name": "a"}]}) == "q.toml: itme: is not known; did you mean 'item'?"

    def test_long_values_are_cut(self) -> None:
        assert len(fault(GOOD | {"count": "x" * 10_000})) < 120


def test_known_keys() -> None:
    assert known_keys(Whole, ()) == ["item", "count", "on", "inner", "table"]
    assert known_keys(Whole, ("item", 0, "inner")) == ["speed", "mode"]
    assert known_keys(Whole, ("nowhere",)) == []


class TestReadToml:
    def fault(self, path: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_toml(path)
        line = str(caught.value)
        assert line.startswith(f"{path}: ") and "\n" not in line
        return line

    def test_good(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text("[a]\nb = 1.5\n")
        assert read_toml(tmp_path / "a.toml") == {"a": {"b": 1.5}}

    def test_a_byte_order_mark_is_skipped(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_bytes("\ufeffa = 1\n".encode())
        assert read_toml(tmp_path / "a.toml") == {"a": 1}

    def test_missing(self, tmp_path: Path) -> None:
        assert self.fault(tmp_path / "a.toml").endswith(": No such file or directory; check the path")

    def test_directory(self, tmp_path: Path) -> None:
        assert "Is a directory" in self.fault(tmp_path)

    def test_cycle(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").symlink_to(tmp_path / "b.toml")
        (tmp_path / "b.toml").symlink_to(tmp_path / "a.toml")
        assert "Too many levels of symbolic links" in self.fault(tmp_path / "a.toml")

    def test_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("")
        assert "Not a directory" in self.fault(tmp_path / "a" / "b.toml")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_permission(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text("a = 1")
        (tmp_path / "a.toml").chmod(0)
        assert "Permission denied" in self.fault(tmp_path / "a.toml")

    def test_a_refused_permission_is_bad_input(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_text", refuse)
        assert self.fault(tmp_path / "a.toml").endswith("Permission denied; check the path")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"\xff\xfe\x00\x81", "is not text; save it as UTF-8"),
            (b"a = \n", "is not TOML: Invalid value (at line 1, column 5); correct that line"),
            (b"a = 1\na = 2\n", "is not TOML: Cannot overwrite a value (at line 2"),
            (b"[[a]\n", "is not TOML"),
            (b"a = " + b"1" * 5000, "is not TOML: Exceeds the limit"),
            (b"a = " + b"[" * 5000, "is nested too deep; write it flat"),
            (b"\x00", "is not TOML"),
        ],
    )
    def test_content(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "a.toml").write_bytes(content)
        assert words in self.fault(tmp_path / "a.toml")


class TestSetField:
    def tables(self) -> dict[str, Any]:
        return {
            "name": "q",
            "class": [{"name": "chat", "arrivals": {"rate": 1}}, {"name": "batch"}],
            "transform": [{"kind": "early-exit", "fractions": [0.5, 1.0]}],
            "numbers": [3],
        }

    @pytest.mark.parametrize(
        ("path", "read"),
        [
            ("name", lambda t: t["name"]),
            ("class.chat.priority", lambda t: t["class"][0]["priority"]),
            ("class.1.priority", lambda t: t["class"][1]["priority"]),
            ("class.chat.arrivals.rate", lambda t: t["class"][0]["arrivals"]["rate"]),
            ("class.batch", lambda t: t["class"][1]),
            ("transform.early-exit.fractions.0", lambda t: t["transform"][0]["fractions"][0]),
            ("transform.0.fractions.1", lambda t: t["transform"][0]["fractions"][1]),
            ("numbers.0", lambda t: t["numbers"][0]),
            ("system.iteration_time.base", lambda t: t["system"]["iteration_time"]["base"]),
        ],
    )
    def test_every_kind_of_place(self, path: str, read) -> None:
        tables = self.tables()
        set_field(tables, path, "NEW")
        assert read(tables) == "NEW"

    @pytest.mark.parametrize(
        ("path", "line"),
        [
            ("class.chta.priority", "--set class.chta.priority: there is no 'chta'; did you mean 'chat'?"),
            ("class.7.priority", "--set class.7.priority: there is no '7'; known: batch, chat"),
            ("class.7", "there is no '7'"),
            ("class.²", "there is no '²'"),
            ("name.first", "--set name.first: 'first' is inside a plain value; name a field of a table"),
            ("name.first.second", "'first' is inside a plain value"),
            ("numbers.0.x", "'x' is inside a plain value"),
            ("numbers.x", "there is no 'x'; known: 0"),
        ],
    )
    def test_no_such_place(self, path: str, line: str) -> None:
        with pytest.raises(InputError) as caught:
            set_field(self.tables(), path, 1)
        assert line in str(caught.value)


class TestParseValue:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3),
            ("0.5", 0.5),
            ("true", True),
            ("[1, 2]", [1, 2]),
            ("{ distribution = 'exponential', mean = 1 }", {"distribution": "exponential", "mean": 1}),
            ("'quoted'", "quoted"),
            ("srpt", "srpt"),
            ("models/a.json", "models/a.json"),
            ("", ""),
            ("1\nother = 2", "1\nother = 2"),
            ("1" * 5000, "1" * 5000),
            ("[" * 3000, "[" * 3000),
        ],
    )
    def test_values(self, text: str, value: object) -> None:
        assert parse_value(text) == value and type(parse_value(text)) is type(value)

    @given(st.text(max_size=40))
    def test_any_text_is_some_value(self, text: str) -> None:
        parse_value(text)


class TestErrors:
    def test_one_line(self) -> None:
        error = InputError("a\nb", "is\n\n wrong", "try\tthis")
        assert str(error) == "a b: is wrong; try this"
        assert (error.place, error.fault, error.remedy) == ("a\nb", "is\n\n wrong", "try\tthis")
        assert isinstance(error, ValueError) and str(InputError("a", "b")) == "a: b"

    def test_missing_extra(self) -> None:
        assert str(MissingExtra("torch", "torch")) == "torch: is not installed; pip install 'qmodel[torch]'"

    def test_nearest(self) -> None:
        assert nearest("SRTP", ["srpt", "fcfs"]) == "did you mean 'srpt'?"
        assert nearest("xyz", ["srpt", "fcfs"]) == "known: fcfs, srpt"

    def test_short(self) -> None:
        assert short(1.5) == "1.5" and len(short("x" * 99)) == 40
        assert short(int("f" * 5000, 16)) == "a huge number"


class TestFiles:
    def test_written_whole_into_new_folders(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "c.txt"
        write_atomically(path, "été\n")
        write_atomically(path, "two\n")
        assert path.read_text() == "two\n" and list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("place", ["folder", "file/inside", "x" * 300])
    def test_a_place_that_cannot_be_written(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError) as caught:
            write_atomically(tmp_path / place, "text")
        assert caught.value.place == str(tmp_path / place) and caught.value.remedy == "choose another place"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]

    def test_nothing_stays_behind_when_writing_fails(self, tmp_path: Path) -> None:
        with pytest.raises(UnicodeEncodeError):
            write_atomically(tmp_path / "a.txt", "\ud800")
        assert list(tmp_path.iterdir()) == []
