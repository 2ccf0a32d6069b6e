"""What stands before the first section: the abstract, and what was measured on what."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.report.document import Block, finding, prose, warning
from qmodel.report.inline import Content
from qmodel.report.names import counted, listed, policy_name, words
from qmodel.report.quantity import Quantity
from qmodel.report.sections.evidence import Evidence
from qmodel.report.sections.findings import sentences


def abstract(study: Evidence) -> Content:
    """What was asked and done, then the three sentences."""
    return prose(
        "Which scheduling policy gives each class of requests the lowest latency, and what would early exit "
        "bring? For {target} on {device} service times were measured in a designed experiment, a service-time "
        "function was fitted, and queueing theory predicted the latency of {classes} under {policies}; "
        "{live}. {found}",
        target=words(study.target),
        device=study.device,
        classes=counted(len(study.classes), "class", "classes"),
        policies=listed(policy_name(p) for p in study.plan.tables.policies),
        live=(
            "the predictions were saved first and then held against live runs of the same requests"
            if study.live
            else "nothing was run live"
        ),
        found=" ".join(sentences(study)),
    )


def blocks(study: Evidence) -> Iterator[Block]:
    """The box, and a caution where the machine was busy."""
    yield measured_on_what(study)
    if busy := busy_words(study):
        yield warning("{busy} Read the numbers below as those of a shared machine (@sec:threats).", busy=busy)


def measured_on_what(study: Evidence) -> Block:
    """One paragraph: what was measured, fitted, predicted, on which device."""
    machine = study.machine
    live = ""
    if study.live:
        served = int(study.runs.requests_finished.sum())
        live = (
            f" {counted(len(study.runs), 'live run')} with {counted(served, 'request')} on {study.live_device}"
            + (" (emulated: timed waits in place of computation)" if study.runs.emulated.astype(bool).any() else "")
            + "."
        )
    judged = " The quality of the output, judged against real images." if study.judged else ""
    return finding(
        "**What was measured on what.** *Measured:* {rows} in {cells} on {device} ({cores}, "
        "{threads}{container}).{live}{judged} *Fitted:* {models}. *Predicted:* {predictions}, saved {when}. "
        "No other device was used.",
        rows=counted(study.profile.rows, "timed repetition"),
        cells=counted(len(study.profile.cells), "cell"),
        device=study.device,
        cores=counted(int(machine.get("cores_allowed", machine.get("cores", 1))), "core"),
        threads=counted(int(machine["threads"]), "thread"),
        container=f", {container_words(machine['container'])}" if "container" in machine else "",
        live=live,
        judged=judged,
        models=counted(len(study.fits), "service-time function"),
        predictions=counted(len(study.predicted), "setting"),
        when="before the first live run" if study.live else "with their hash",
    )


def container_words(container: str) -> str:
    """Where the system ran, in words.

    >>> container_words("docker"), container_words("virtual machine")
    ('inside a docker container', 'inside a virtual machine')
    """
    return f"inside a {container}" + ("" if container.endswith("machine") else " container")


def load_averages(study: Evidence) -> list[float]:
    """Load averages noted around the profile and the live runs."""
    noted = [s.get(k) for s in study.meta.get("session", []) for k in ("load_before", "load_after")]
    if study.live:
        noted += [v for c in ("load_average_before", "load_average_after") for v in study.runs[c].dropna()]
    return [float(value) for value in noted if value is not None]


def busy_words(study: Evidence) -> str:
    """A sentence when the machine did other work; empty otherwise."""
    noted, cores = load_averages(study), int(study.machine.get("cores_allowed", 1))
    own = 1.0  # the study itself keeps about one core busy
    if not noted or max(noted) <= own + 0.5 * cores:
        return ""
    return (
        f"The machine was busy with other work: its load average reached {Quantity(max(noted))} on "
        f"{counted(cores, 'core')}, of which the study itself takes about one."
    )
