"""Deterministic damage to files: what disks, editors, scripts and unit changes do to them."""

from __future__ import annotations

import json
import random
from typing import Any

HOSTILE_CELLS = [
    "",
    "nan",
    "inf",
    "-inf",
    "-5",
    "-1",
    "0",
    "1e308",
    "1e30",
    "abc",
    "0x10",
    "1,5",
    '"',
    "1e-300",
    "true",
    "9" * 400,
    "2023-99-99",
    "é",
    "=1+1",
    "None",
]
HOSTILE_VALUES: list[Any] = [
    None,
    float("nan"),
    float("inf"),
    -5,
    -1,
    0,
    1e308,
    1e30,
    "abc",
    "",
    [],
    {},
    [[]],
    True,
    10**400,
    1e-300,
    {"a": 1},
    ["x"],
]


def damaged(content: bytes, seed: int) -> tuple[bytes, str]:
    """The content with one kind of damage, and its name."""
    rng = random.Random(seed)
    kinds = [truncated, flipped, lines_changed, encoded, emptied, separated, rescaled]
    structured = is_json(content)
    kinds += [json_changed] * 6 if structured else [cell_poisoned, column_changed] * 3
    kind = rng.choice(kinds)
    return kind(content, rng), kind.__name__


def is_json(content: bytes) -> bool:
    return content.lstrip()[:1] in (b"{", b"[")


def truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def flipped(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice([1, 3, 30])):
        if out:
            out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def lines_changed(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    for _ in range(rng.choice([1, 2, 10])):
        k, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        change = rng.randrange(5)
        if change == 0 and len(lines) > 1:
            del lines[k]
        elif change == 1:
            lines.insert(k, lines[other])
        elif change == 2:
            lines[k], lines[other] = lines[other], lines[k]
        elif change == 3:
            lines[k] = lines[k][: rng.randrange(len(lines[k]) + 1)]
        else:
            lines[k] += b",extra,3"
    return b"\n".join(lines)


def encoded(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    change = rng.randrange(7)
    if change == 0:
        return text.encode("utf-16")
    if change == 1:
        return b"\xef\xbb\xbf" + content
    if change == 2:
        return content.replace(b"\n", b"\r\n")
    if change == 3:
        return content.replace(b"\n", b"\r")
    if change == 4:
        return content[: len(content) // 2] + b"\xff\xfe\xe9" + content[len(content) // 2 :]
    if change == 5:
        return content[:20] + b"\0" + content[20:]
    return bytes(rng.randrange(256) for _ in range(2000))


def emptied(content: bytes, rng: random.Random) -> bytes:
    header = content.split(b"\n", 1)[0]
    return rng.choice(
        [b"", b"\n\n  \n", header, header + b"\n", b"{}", b"[]", b"null", b"0", b"[[[[", b'"x"', b"\x1f\x8b\x08"]
    )


def separated(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b",", rng.choice([b";", b"\t", b"|", b" ,", b",,"]))


def rescaled(content: bytes, rng: random.Random) -> bytes:
    """Numbers with a point in another unit, or with a comma for the point."""
    import re

    factor = rng.choice([1e3, 1e-3, 1e6, 1e9])

    def other(match: re.Match[bytes]) -> bytes:
        return repr(float(match[0]) * factor).encode()

    if rng.random() < 0.3:
        return re.sub(rb"(\d)\.(\d)", rb"\1,\2", content)
    return re.sub(rb"(?<![\w.:-])\d{1,12}\.\d{1,18}(?![\w.:-])", other, content)


def cell_poisoned(content: bytes, rng: random.Random) -> bytes:
    lines = content.decode("utf-8", "replace").split("\n")
    column = rng.randrange(len(lines[0].split(",")))
    for _ in range(rng.choice([1, 2, 40])):
        k = rng.randrange(len(lines))
        cells = lines[k].split(",")
        cells[min(column, len(cells) - 1)] = rng.choice(HOSTILE_CELLS)
        lines[k] = ",".join(cells)
    return "\n".join(lines).encode()


def column_changed(content: bytes, rng: random.Random) -> bytes:
    rows = [line.split(",") for line in content.decode("utf-8", "replace").split("\n")]
    width = len(rows[0])
    k, change = rng.randrange(width), rng.randrange(5)
    if change == 0:
        rows = [row[:k] + row[k + 1 :] for row in rows]
    elif change == 1:
        rows[0][k] = rng.choice(["x", "", "latency", "time_us", rows[0][rng.randrange(width)]])
    elif change == 2:
        value = rng.choice(HOSTILE_CELLS)
        rows = [rows[0]] + [[*row[:k], value, *row[k + 1 :]] for row in rows[1:]]
    elif change == 3:
        other = rng.randrange(width)
        for row in rows:
            if len(row) == width:
                row[k], row[other] = row[other], row[k]
    else:
        rows = rows[1:]
    return "\n".join(",".join(row) for row in rows).encode()


def json_changed(content: bytes, rng: random.Random) -> bytes:
    """One node of the JSON, or of one of its lines, replaced or removed."""
    text = content.decode("utf-8", "replace")
    try:
        return json.dumps(_changed(json.loads(text), rng)).encode()
    except ValueError:
        lines = text.split("\n")
        for _ in range(rng.choice([1, 3, 30])):
            k = rng.randrange(len(lines))
            try:
                lines[k] = json.dumps(_changed(json.loads(lines[k]), rng))
            except ValueError:
                lines[k] = rng.choice(["", "null", "[1]", lines[k][::-1]])
        return "\n".join(lines).encode()


def _changed(value: Any, rng: random.Random) -> Any:
    """Walk down at random; at some depth replace or remove."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return (
            value | {key: _changed(value[key], rng)}
            if rng.random() < 0.8
            else value | {key: rng.choice(HOSTILE_VALUES)}
        )
    if isinstance(value, list) and value:
        k, chance = rng.randrange(len(value)), rng.random()
        if chance < 0.1:
            return value[:k] + value[k + 1 :]
        if chance < 0.2:
            return [rng.choice(HOSTILE_VALUES)] * len(value)
        return [*value[:k], _changed(value[k], rng), *value[k + 1 :]]
    return rng.choice(HOSTILE_VALUES)
