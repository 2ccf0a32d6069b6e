"""From a file to an `Imported`: recognised by what it holds, read by the one reader that knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qmodel.errors import InputError, nearest
from qmodel.interop.content import Content, read_content
from qmodel.interop.imported import Imported


@dataclass(frozen=True)
class Options:
    """What a person adds to a file that does not say everything.

    `levels` are constant factors (`batch_size` of a `vllm bench latency` run); `factors`, `response` and `unit`
    describe a CSV of unknown origin; `layers` composes per-layer kernel times to a whole iteration.
    """

    levels: Mapping[str, str] = field(default_factory=dict)
    factors: tuple[str, ...] = ()
    response: str | None = None
    unit: str | None = None
    layers: int | None = None


@dataclass(frozen=True)
class Reader:
    """One format: the word for --from, what it is, how to know it and how to read it."""

    kind: str
    title: str
    recognises: Callable[[Content], bool]
    read: Callable[[Content, Options], Imported]


def recognise(content: Content) -> Reader | None:
    """The reader of this content, or None."""
    from qmodel.interop.registry import READERS

    return next((reader for reader in READERS if reader.recognises(content)), None)


def read_file(path: str | Path, kind: str | None = None, options: Options | None = None) -> Imported:
    """Read a file of any known tool. `kind` names its format where it is not to be recognised.

    Raises InputError for a file that cannot be read, is of no known format, or does not hold what it should.
    """
    content = read_content(path)
    found = read_known(content, chosen(content, kind, options or Options()), options or Options())
    found.path, found.sha256 = content.path, content.sha256
    return found


def read_known(content: Content, reader: Reader, options: Options) -> Imported:
    """Read with the reader; whatever a damaged file breaks in it becomes one line that names file and format."""
    import numpy as np

    try:
        with np.errstate(all="ignore"):  # what overflows is no number, and named as such
            found = reader.read(content, options)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, ArithmeticError) as error:
        fault = f"does not hold what a {reader.title} holds ({type(error).__name__}: {str(error)[:80]})"
        raise InputError(content.path, fault, "fetch it again, or name its format with --from") from error
    found.kind, found.title = reader.kind, reader.title
    return found


def chosen(content: Content, kind: str | None, options: Options) -> Reader:
    """The reader asked for, or the one that recognises the content. Raises InputError where there is none."""
    from qmodel.interop.registry import GENERIC, READERS

    known = {reader.kind: reader for reader in (*READERS, GENERIC)}
    if kind is not None:
        if kind not in known:
            raise InputError("--from", f"'{kind}' is unknown", nearest(kind, list(known)))
        return known[kind]
    if options.response is not None and content.header and options.response in content.header:
        return GENERIC
    return recognise(content) or _unknown(content)


def _unknown(content: Content) -> Reader:
    """Raise InputError that says what was seen."""
    if content.is_parquet or content.is_tar:
        raise InputError(content.path, "is an archive or table of no known tool", "unpack or convert it")
    if content.looks_like_json and content.json is None and not content.first_record:
        raise InputError(content.path, "begins like JSON and is not whole", "fetch it again")
    if content.header and "," in content.text[:100_000]:
        remedy = f"for any CSV give --response COLUMN --factors F[,F...] and --unit; it has {_some(content.header)}"
        raise InputError(content.path, "is a CSV file of no known tool", remedy)
    raise InputError(content.path, "is of no known format", "name it with --from, or give a CSV file")


def _some(header: tuple[str, ...]) -> str:
    shown = ", ".join(name[:30] for name in header[:6] if name.isprintable())
    return shown + (", ..." if len(header) > 6 else "")
