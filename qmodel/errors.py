"""The one exception for what a user can mend, and the shape of its one line."""


class InputError(ValueError):
    """Bad input: says where, what is wrong and what would be right, on one line.

    The command line prints it on stderr and exits with code 2; it never shows a traceback for it.

    >>> str(InputError("profile.csv, column latency_s", "is missing", "add it or name another with --response"))
    'profile.csv, column latency_s: is missing; add it or name another with --response'
    """

    def __init__(self, place: str, fault: str, remedy: str = "") -> None:
        self.place, self.fault, self.remedy = place, fault, remedy
        line = f"{place}: {fault}" + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(line.split()))


class MissingExtra(InputError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(module, "is not installed", f"pip install 'qmodel[{extra}]'")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is under way ends in order, as it does on Ctrl-C."""


def nearest(word: str, known: list[str]) -> str:
    """Remedy for an unknown word: the nearest known one, or all of them.

    >>> nearest("Polcy", ["policy", "system"])
    "did you mean 'policy'?"
    """
    import difflib

    spelled = {name.lower(): name for name in known}
    close = [spelled[match] for match in difflib.get_close_matches(word.lower(), spelled, n=1)]
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(sorted(known))


def short(value: object) -> str:
    """What the user gave, as it is quoted in a fault: at most 40 characters.

    >>> short("fast"), short("f" * 99)
    ("'fast'", "'ffffffffffffffffffffffffffffffffffff...")
    """
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a huge number"
    return text if len(text) <= 40 else text[:37] + "..."
