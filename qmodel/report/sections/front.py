"""What stands before the first section: the abstract, and what was measured on what."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.report.document import Block, prose, scope, warning
from qmodel.report.inline import Content
from qmodel.report.names import counted, listed, policy_name, words
from qmodel.report.sections.evidence import Evidence
from qmodel.report.sections.findings import sentences


def abstract(study: Evidence) -> Content:
    """What was asked and done, then the three sentences."""
    return prose(
        "Which scheduling policy gives each class of requests the lowest latency{exits}? {done} Queueing "
        "theory predicted the latency of {classes} under {policies}; {live}. {found}",
        exits=", and what would early exit bring" if study.early_exits else "",
        done=done_words(study),
        classes=counted(len(study.classes), "class", "classes"),
        policies=listed(policy_name(p) for p in study.plan.tables.policies),
        live=(
            "the predictions were saved first and then held against live runs of the same requests"
            if study.live
            else "nothing was run live"
        ),
        found=" ".join(sentences(study)),
    )


def done_words(study: Evidence) -> str:
    """What was measured and fitted, in a sentence."""
    if not study.profiled:
        return "The service times are those that the scenario gives."
    what, function = ("service times", "a service-time function")
    if study.iterations is not None:
        what, function = ("whole iterations", "a function for their time")
    return (
        f"For {words(study.target)} on {study.device} {what} were measured in a designed experiment, "
        f"and {function} was fitted to them."
    )


def blocks(study: Evidence) -> Iterator[Block]:
    """The box, and a caution where the machine was busy."""
    yield measured_on_what(study)
    if busy := busy_words(study):
        yield warning("{busy} Read the numbers below as those of a shared machine (@sec:threats).", busy=busy)


def measured_on_what(study: Evidence) -> Block:
    """One paragraph: what was measured, fitted, predicted, on which device."""
    return scope(
        "*Measured:* {measured}. *Fitted:* {models}. *Predicted:* {predictions}, saved {when}.",
        measured="; ".join(measured_parts(study)) or "nothing",
        models=fitted_words(study),
        predictions=counted(len(study.predicted), "setting"),
        when="before the first live run" if study.live else "with their hash",
    )


def fitted_words(study: Evidence) -> str:
    """What was fitted, in a few words."""
    if study.iterations is not None:
        return "the time of an iteration"
    return counted(len(study.fits), "service-time function") if study.fits else "nothing"


def measured_parts(study: Evidence) -> Iterator[str]:
    """Profile, live runs and quality, each with its device."""
    if study.profiled:
        rows, cells = counted(study.profile.rows, "timed repetition"), counted(len(study.profile.cells), "cell")
        yield f"{rows} in {cells} on {study.device} ({machine_words(study)})"
    if study.live:
        served = counted(int(study.runs.requests_finished.sum()), "request")
        emulated = bool(study.runs.emulated.astype(bool).any())
        how = " (emulated: timed waits in place of computation)" if emulated else ""
        yield f"{counted(len(study.runs), 'live run')} with {served} on {study.live_device}{how}"
    if study.judged:
        yield f"the quality of {counted(int(study.quality.images.sum()), 'generated image')}"


def machine_words(study: Evidence) -> str:
    """Cores, threads, container."""
    machine = study.machine
    cores = counted(int(machine.get("cores_allowed", machine.get("cores", 1))), "core")
    inside = f", {container_words(machine['container'])}" if "container" in machine else ""
    return f"{cores}, {counted(study.plan.threads, 'thread')}{inside}"


def container_words(container: str) -> str:
    """Where the system ran, in words.

    >>> container_words("docker"), container_words("virtual machine")
    ('inside a docker container', 'inside a virtual machine')
    """
    return f"inside a {container}" + ("" if container.endswith("machine") else " container")


def load_averages(study: Evidence) -> list[float]:
    """Load averages noted around the profile and the live runs."""
    sessions = study.meta.get("session", []) if study.profiled else []
    noted = [s.get(k) for s in sessions for k in ("load_before", "load_after")]
    if study.live:
        noted += [v for c in ("load_average_before", "load_average_after") for v in study.runs[c].dropna()]
    return [float(value) for value in noted if value is not None]


def busy_words(study: Evidence) -> str:
    """A sentence when the machine did other work; empty otherwise."""
    noted, cores = load_averages(study), int(study.machine.get("cores_allowed", 1))
    own = 1.0  # the study itself keeps about one core busy
    if study.target == "openai-server":
        own = 0.5 + cores  # the server's processes and the client
    if not noted or max(noted) <= own + 0.5 * cores:
        return ""
    return (
        f"The machine was busy with other work: its load average reached {max(noted):.2f} on "
        f"{counted(cores, 'core')}, of which the study itself takes about one."
    )
