"""Names as a reader wants them: policies, early-exit settings, strategies, metrics and targets in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qmodel.metrics import METRICS
from qmodel.report.quantity import SPACE, scale_for

if TYPE_CHECKING:
    from qmodel.study.plan import Setting

POLICIES = {
    "fcfs": "FCFS",
    "lcfs": "LCFS",
    "lcfs-pr": "preemptive LCFS",
    "random": "random order",
    "ps": "processor sharing",
    "dps": "weighted sharing",
    "round-robin": "round robin",
    "np-priority": "non-preemptive priority",
    "pr-priority": "preemptive priority",
    "sjf": "SJF",
    "psjf": "preemptive SJF",
    "srpt": "SRPT",
    "las": "LAS",
    "mlfq": "MLFQ",
    "gittins": "Gittins",
    "spjf": "SPJF",
    "pspjf": "preemptive SPJF",
    "sprpt": "SPRPT",
    "trail": "TRAIL",
    "edf": "EDF",
}
"""Policy presets in words; a user's own policy keeps its name."""

PLAIN = ("none", "as in the scenario")
"""Names of settings that add nothing to the scenario."""


def policy_name(policy: str) -> str:
    """A policy in words.

    >>> policy_name("np-priority"), policy_name("mine:Own")
    ('non-preemptive priority', 'mine:Own')
    """
    return POLICIES.get(policy, policy)


def exit_name(setting: str) -> str:
    """An early-exit setting in words.

    >>> exit_name("queue-threshold"), exit_name("none")
    ('queue threshold', 'none')
    """
    return words(setting)


def strategy_name(policy: str, setting: str) -> str:
    """A policy with its early-exit setting.

    >>> strategy_name("fcfs", "fewer-steps"), strategy_name("ps", "none")
    ('FCFS with fewer steps', 'processor sharing')
    """
    return policy_name(policy) if setting in PLAIN else f"{policy_name(policy)} with {exit_name(setting)}"


def words(identifier: str) -> str:
    """An identifier as words.

    >>> words("batch_size"), words("idle-gaps")
    ('batch size', 'idle gaps')
    """
    return identifier.replace("_", " ").replace("-", " ")


def sentence_start(text: str) -> str:
    """The text with a capital first letter.

    >>> sentence_start("preemptive priority"), sentence_start("FCFS")
    ('Preemptive priority', 'FCFS')
    """
    return text[:1].upper() + text[1:]


def metric_name(metric: str) -> str:
    """A metric in words, as the registry names it.

    >>> metric_name("mean_response_s"), metric_name("p99.9_response_s")
    ('mean response time', 'p99.9 response time')
    """
    if metric in METRICS:
        return METRICS[metric].title
    return words(metric.removesuffix("_s")) + (" time" if metric.endswith("_response_s") else "")


def class_name(name: str) -> str:
    """A class as the subject of a sentence.

    >>> class_name("all"), class_name("preview")
    ('all requests', 'class preview')
    """
    return "all requests" if name == "all" else f"class {name}"


def listed(items: Iterable[str], last: str = "and") -> str:
    """Items in one phrase.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b"], "or"), listed([])
    ('a', 'a, b and c', 'a or b', '')
    """
    known = list(items)
    if len(known) < 2:
        return "".join(known)
    return f"{', '.join(known[:-1])} {last} {known[-1]}"


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun in the right number.

    >>> counted(1, "run"), counted(3, "class", "classes"), counted(0, "run"), counted(1200, "run")
    ('1 run', '3 classes', '0 runs', '1,200 runs')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def numbers(values: Sequence[float], unit: str = "") -> str:
    """Levels in one phrase.

    >>> numbers([0.3, 0.5, 0.85]), numbers([4.0])
    ('0.3, 0.5 and 0.85', '4')
    """
    return listed(f"{value:g}" for value in values) + (f" {unit}" if unit else "")


def setting_value(value: float, unit: str) -> str:
    r"""A value that somebody chose, with no more digits than were given.

    >>> setting_value(0.03, "s"), setting_value(12.0, "s")
    ('30\xa0ms', '12\xa0s')
    """
    scale = scale_for([value], unit)
    return f"{value / scale.factor:g}{SPACE}{scale.symbol}"


def is_or_are(count: int) -> str:
    """The verb that goes with a count.

    >>> is_or_are(1), is_or_are(2)
    ('is', 'are')
    """
    return "is" if count == 1 else "are"


def setting_name(setting: Setting) -> str:
    """A setting in words.

    >>> from qmodel.study.plan import Setting
    >>> setting_name(Setting("fcfs", "fewer-steps", 0.85))
    'FCFS with fewer steps at load 0.85'
    """
    return f"{strategy_name(setting.policy, setting.exit)} at load {setting.load:g}"


def short_metric(metric: str) -> str:
    """A column head.

    >>> short_metric("mean_response_s"), short_metric("p95_response_s")
    ('mean', 'p95')
    """
    return metric.split("_")[0]
