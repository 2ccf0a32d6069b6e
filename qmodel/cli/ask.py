"""Options that the asking commands share: from what a person typed to a scenario and a way to ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError

if TYPE_CHECKING:
    from qmodel.policy import Policy
    from qmodel.scenario import Scenario


def numbers(text: str | None, option: str) -> list[float]:
    """Comma-separated numbers of an option. Raises InputError for text or NaN.

    >>> numbers("0.5,0.9", "--rate")
    [0.5, 0.9]
    """
    if text is None:
        return []
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(option, f"{text!r} holds text", "give numbers, e.g. 0.5,0.9") from error
    if not all(abs(value) < float("inf") for value in values):
        raise InputError(option, f"{text!r} holds no finite number", "give numbers, e.g. 0.5,0.9")
    return values


def rates(text: str | None) -> list[float]:
    """Total arrival rates of --rate. Raises InputError unless positive."""
    values = numbers(text, "--rate")
    if any(value <= 0 for value in values):
        raise InputError("--rate", f"{text!r} holds a rate that is not positive", "give requests/s above 0")
    return values


def policies(options: list[str]) -> list[Policy]:
    """Policies of the repeatable `--policy P[,P...]`, in order, each once."""
    from qmodel.policy import make_policy

    names = [name.strip() for option in options for name in option.split(",") if name.strip()]
    return [make_policy(name) for name in dict.fromkeys(names)]


def settings(options: list[str]) -> dict[str, str]:
    """`--set PATH=VALUE` as a mapping. Raises InputError without the equals sign."""
    pairs = {}
    for option in options:
        path, sign, value = option.partition("=")
        if not sign or not path:
            raise InputError(f"--set {option}", "is no PATH=VALUE", "e.g. --set class.chat.arrivals.rate=0.7")
        pairs[path] = value
    return pairs


def varied(options: list[str]) -> dict[str, list[object]]:
    """`--vary PATH=V[,V...]` as a mapping; text with commas in it goes in quotes, as in TOML.

    Raises InputError without the equals sign, without values, and for a path that is there twice.

    >>> varied(["system.servers=1,2", "policy.preset=fcfs,srpt"])
    {'system.servers': [1, 2], 'policy.preset': ['fcfs', 'srpt']}
    >>> varied(["class.a.service='lognormal:1,4','exponential:1'"])
    {'class.a.service': ['lognormal:1,4', 'exponential:1']}
    """
    fields: dict[str, list[object]] = {}
    for option in options:
        path, sign, text = option.partition("=")
        if not (sign and path and text.strip()):
            raise InputError(f"--vary {option}", "is no PATH=VALUE[,VALUE...]", "e.g. --vary system.servers=1,2,4")
        if path in fields:
            raise InputError(f"--vary {path}", "is there twice", "give all its values at once")
        fields[path] = _values(text)
    return fields


def _values(text: str) -> list[object]:
    from qmodel.validation import parse_value

    together = parse_value(f"[{text}]")
    if isinstance(together, list):
        return together
    return [parse_value(part.strip()) for part in text.split(",") if part.strip()]


def question(
    file: Path | None, arrivals: str | None, service: str | None, set_options: list[str]
) -> tuple[Scenario | Path, dict[str, str]]:
    """What is asked: the file with the fields to set in it, or the inline scenario, where they are set already."""
    if file is not None and not (arrivals or service):
        return file, settings(set_options)
    return the_scenario(file, arrivals, service, set_options), {}


def the_scenario(file: Path | None, arrivals: str | None, service: str | None, set_options: list[str]) -> Scenario:
    """A scenario from its file, or from `--arrivals` and `--service`. Raises InputError if neither or both."""
    if file is not None:
        if arrivals or service:
            raise InputError("scenario", "both a file and inline options are given", "use one or the other")
        from qmodel.scenario_file import read_scenario

        return read_scenario(file, settings(set_options))
    if not (arrivals and service):
        raise InputError("scenario", "is missing", "give SCENARIO.toml, or --arrivals and --service")
    if set_options:
        return _changed(arrivals, service, settings(set_options))
    from qmodel.scenario import Scenario
    from qmodel.workload import RequestClass
    from qmodel.workload.grammar import parse_arrivals, parse_service

    one = RequestClass("requests", arrivals=parse_arrivals(arrivals), service=parse_service(service))
    return Scenario(classes=(one,), name="inline")


def _changed(arrivals: str, service: str, changes: dict[str, str]) -> Scenario:
    """The inline queue with fields of a scenario file put on top."""
    from qmodel.scenario_file import from_tables
    from qmodel.validation import parse_value, set_field

    tables: dict[str, Any] = {"class": [{"name": "requests", "arrivals": arrivals, "service": service}]}
    for path, text in changes.items():
        set_field(tables, path, parse_value(text))
    return from_tables(tables, "--set", Path(), "inline")
