"""Section 8: the queueing model: formulas, assumptions with their tests, methods, and the saved predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from qmodel.answer import PolicyAnswer
from qmodel.report.document import Block, Column, Formula, Table, paragraph, prose, section
from qmodel.report.inline import Content
from qmodel.report.names import counted, exit_name, listed, policy_name, sentence_start
from qmodel.report.quantity import Interval
from qmodel.report.sections.assumptions import assumption_rows
from qmodel.report.sections.evidence import Evidence
from qmodel.theory import formulas
from qmodel.theory.typst import from_latex

ALL = "all"
PK = formulas.Relation(
    formulas.POLLACZEK_KHINCHINE.name,
    formulas.POLLACZEK_KHINCHINE.source,
    r"E[W] = \frac{\lambda E[S^2]}{2 (1 - \rho)}",
)
"""As textbooks print it."""
PRINTED: dict[str, tuple[tuple[str, formulas.Formula | formulas.Relation, str], ...]] = {
    "fcfs": (
        ("pk", PK, "[@pollaczek], [@khinchine]; [@kleinrock], section 5.7"),
        ("pk-transform", formulas.FCFS_TRANSFORM, "[@kleinrock], section 5.7; inverted numerically [@abate]"),
    ),
    "np-priority": (("cobham", formulas.COBHAM, "[@cobham]"),),
    "pr-priority": (("preemptive", formulas.PREEMPTIVE_RESUME, "[@gaver]; [@conway], section 8-7"),),
    "ps": (("sharing", formulas.PROCESSOR_SHARING, "[@kleinrock-ps], [@sakata]"),),
}
"""Formulas by policy: label, formula, source."""

PRIORITY_TRANSFORMS = {
    "np-priority": ("cobham-transform", formulas.COBHAM_TRANSFORM, "[@takacs]; [@conway], section 8-6"),
    "pr-priority": ("preemptive-transform", formulas.PREEMPTIVE_TRANSFORM, "[@conway], section 8-7"),
}
"""Laws of the wait and of the response under priorities."""

BY_SIZE: dict[str, formulas.Relation] = {
    "sjf": formulas.SJF,
    "psjf": formulas.PSJF,
    "srpt": formulas.SRPT,
    "las": formulas.LAS,
}
"""Policies that order by size: the mean response of a request of given size."""

SAID = {
    "fcfs": (
        "**FCFS.** The wait is the same for every class; the response time of class $k$ adds its own service "
        "time. With $lambda$ the total arrival rate, $S$ the service time of a request of any class and load "
        "$rho =$, the mean wait and the transform of its law (for percentiles) are:"
    ),
    "np-priority": (
        "**Non-preemptive priority.** $sigma_k$ is the load of the classes with priority up to $k$, and $W_0 "
        "=$ the mean work left in service that an arrival finds, over all classes:"
    ),
    "pr-priority": (
        "**Preemptive-resume priority.** Classes below $k$ do not exist for class $k$: $W_0k$ is the same sum "
        "over the priorities up to $k$ only, and $D_k$ is the service until delivery (here the whole service):"
    ),
    "ps": (
        "**Processor sharing.** The mean depends on the load alone, not on the law of sizes (insensitivity); for "
        "percentiles see @tab:methods:"
    ),
}
"""What stands before the formulas of each policy."""


def blocks(study: Evidence) -> Iterator[Block]:
    """Formulas, assumptions, methods, predictions."""
    yield section("Queueing model", "model")
    yield from (batch_blocks(study) if study.batches else single_blocks(study))
    yield section("Assumptions", "assumptions", level=2)
    yield assumption_table(study)
    yield section("Methods and saved predictions", "methods", level=2)
    yield method_table(study)
    yield from saved(study)


def batch_blocks(study: Evidence) -> Iterator[Block]:
    """What a server of batches is modelled as."""
    if study.base.system.batching == "dynamic":
        yield paragraph(
            "The server is modelled as bulk service: a free server takes all that wait, up to its cap, and serves "
            "them as one batch (@eq:iteration). The numbers left behind when a batch ends are a Markov chain, "
            "which is solved exactly; where a policy or a law of batches has no such result, the queue is "
            "simulated (@tab:methods)."
        )
        return
    yield paragraph(
        "The engine is modelled as processor sharing whose speed depends on how many run: with $n$ of them a token "
        "takes an iteration (@eq:iteration), and the time of prompts comes in between. With $lambda$ the arrival "
        "rate, $pi_n$ the share of the time in which $n$ are there, $mu$($n$) the rate at which they leave, and "
        "$K$ requests in a cluster (one and those that come while its prompts are read), below the cap:"
    )
    source = formulas.CLUSTERED_SHARING.source
    yield printed("sharing-clusters", formulas.CLUSTERED_SHARING, prose("{source}", source=source))
    yield paragraph(
        "At the cap the wait is corrected for lengths that vary otherwise than exponentially. That is an "
        "approximation, and answers only inside the range in which it was held against simulation; outside it, and "
        "for other policies than FCFS, the engine is simulated iteration by iteration, with a scheduler that does "
        "what vLLM's does (@tab:methods)."
    )


def single_blocks(study: Evidence) -> Iterator[Block]:
    """What a server of one request at a time is modelled as."""
    yield paragraph(
        "The server is modelled as an $M/G/1$ queue with several classes [@harchol-balter]: Poisson arrivals, "
        "independent service times of any law, one server. The law of the service time of a class is the "
        "mixture over what its requests ask for; at given levels it is a gamma law with the fitted mean and "
        "the variance of replicates (@sec:service)."
    )
    for policy in study.plan.tables.policies:
        yield from policy_blocks(policy)
    yield from priority_percentiles(study.plan.tables.policies)
    if any(table.kind is not None and table.above_queue is not None for table in study.plan.tables.exit):
        yield paragraph(
            "**Queue threshold.** Service that depends on the number in the system at its start is solved "
            "exactly, for FCFS and two priorities, by an embedded Markov chain. Under FCFS, with $pi_n$ the "
            "share of departures that leave $n$ behind and $a_jn$ the probability of $j$ arrivals in a "
            "service begun with $n$ present:"
        )
        yield printed("threshold", formulas.THRESHOLD_CHAIN, prose("[@neuts]; [@federgruen]"))


def priority_percentiles(policies: list[str]) -> Iterator[Block]:
    """The transforms behind the percentiles of the priorities in use."""
    used = [policy for policy in policies if policy in PRIORITY_TRANSFORMS]
    if not used:
        return
    yield paragraph(
        "**Percentiles under priorities** come from transforms too. The busy period of the higher classes "
        "prolongs all that class $k$ waits for; with $lambda$ and $S$ those of the higher classes here, "
        "$theta$ solves:"
    )
    yield printed("busy", formulas.BUSY_PERIOD, prose("[@conway], section 8-4"))
    wait = "the wait of class $k$ without preemption ($L$: the lower classes)"
    response = "the response with preemption"
    told = [{"np-priority": wait, "pr-priority": response}[policy] for policy in used]
    yield paragraph(f"In terms of it, the transform of {listed(told)} is:")
    for policy in used:
        label, formula, source = PRIORITY_TRANSFORMS[policy]
        yield printed(label, formula, prose(source))


def policy_blocks(policy: str) -> Iterator[Block]:
    """Formulas of one policy with their sources."""
    if policy in BY_SIZE:
        yield paragraph(
            "**{name}.** The mean response time of a request of size $x$; $rho$($x$) is the load of sizes up "
            "to $x$:",
            name=sentence_start(policy_name(policy)),
        )
        yield printed(policy, BY_SIZE[policy], prose("{source}", source=BY_SIZE[policy].source))
        return
    if policy not in PRINTED:
        yield paragraph(
            "**{name}.** No closed form is used; see @tab:methods for how it was predicted.",
            name=sentence_start(policy_name(policy)),
        )
        return
    yield paragraph(SAID[policy])
    for label, formula, source in PRINTED[policy]:
        yield printed(label, formula, prose(source))


def printed(label: str, formula: formulas.Formula | formulas.Relation, source: Content) -> Formula:
    """A formula with its expectations upright."""
    latex = formula.latex.replace("E[", r"\mathrm{E}[")
    typst = from_latex(latex).replace('"E" [ ', 'upright("E")[')
    return Formula(f"eq:{label}", latex, typst, source)


def assumption_table(study: Evidence) -> Table:
    """Each assumption: how it was tested, and with what outcome."""
    return Table(
        "tab:assumptions",
        prose("What the model assumes, and what was found; *untested* where nothing was done about it."),
        (Column("Assumption"), Column("How it was tested"), Column("Outcome")),
        tuple(assumption_rows(study)),
    )


def method_table(study: Evidence) -> Table:
    """How means and percentiles of each strategy were obtained."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for (policy, setting), answers in answers_by_strategy(study).items():
        means = methods_of(answers, ["mean_response_s"])
        tails = methods_of(answers, study.percentiles)
        found = (policy_name(policy), means, tails, listed(results_of(answers)))
        grouped.setdefault(found, []).append(exit_name(setting))
    order = [policy_name(policy) for policy in study.plan.tables.policies]
    rows = [
        (found[0], *study.early(listed(exits)), *found[1:])
        for found, exits in sorted(grouped.items(), key=lambda item: order.index(item[0][0]))
    ]
    return Table(
        "tab:methods",
        "How each prediction was obtained: exact by theory, or simulated where theory has no result (means and "
        "percentiles of response time, at all loads).",
        (
            Column("Policy", sparse=True),
            *study.early(Column("Early exit")),
            Column("Means"),
            Column("Percentiles"),
            Column("Result used"),
        ),
        tuple(rows),
        notes=tuple(simulation_notes(study)),
    )


def answers_by_strategy(study: Evidence) -> dict[tuple[str, str], list[PolicyAnswer]]:
    """The predictions of each policy and exit setting."""
    found: dict[tuple[str, str], list[PolicyAnswer]] = {}
    for setting, answer in study.predicted.items():
        found.setdefault((setting.policy, setting.exit), []).append(answer)
    return found


def methods_of(answers: list[PolicyAnswer], metrics: list[str]) -> str:
    """The methods in words; `unstable` where the queue has no steady state."""
    methods = [
        answer.method_of(ALL, metric)
        for answer in answers
        for metric in metrics
        if answer[ALL].metrics.get(metric) is not None
    ]
    words = [{"simulation": "simulated", "approximation": "approximate"}.get(m, m) for m in dict.fromkeys(methods)]
    if any(not answer.stable for answer in answers):
        words.append("unstable at some loads")
    return listed(words) or "none"


def results_of(answers: list[PolicyAnswer]) -> list[str]:
    """The results' names, simulations without their length."""
    return list(
        dict.fromkeys(
            "discrete-event simulation" if a.method == "simulation" else plain_result(a.result) for a in answers
        )
    )


def plain_result(result: str) -> str:
    """A result's name with its policy in words.

    >>> plain_result("M/G/1 np-priority with a queue threshold: embedded chain")
    'M/G/1 non-preemptive priority with a queue threshold: embedded chain'
    """
    for policy in ("np-priority", "pr-priority"):
        result = result.replace(policy, policy_name(policy))
    return result


def simulation_notes(study: Evidence) -> Iterator[str]:
    """Length and seed of the simulations, and why theory had no result."""
    runs = [answer.run for answer in study.predicted.values() if answer.run.get("requests")]
    if runs:
        requests = Interval(min(r["requests"] for r in runs), max(r["requests"] for r in runs), digits=3)
        seeds = listed(str(seed) for seed in sorted({int(run["seed"]) for run in runs}))
        lengths = {run["requests"] for run in runs}
        many = f"{runs[0]['requests']:,}" if len(lengths) == 1 else str(requests)
        yield f"Simulations: {many} requests each, seed {seeds}, warm-up dropped, 20 batches."
    reasons = Counter(
        note for answer in study.predicted.values() for note in answer.notes if "not analysable" in note
    )
    for reason in reasons:
        yield plain_result(reason.split("; nearest")[0].replace("not analysable: ", "Simulated: ")) + "."


def saved(study: Evidence) -> Iterator[Block]:
    """The hash of the predictions, and that the live runs came after them."""
    digest = study.results.predictions_hash()
    if not study.live:
        yield paragraph("The predictions are saved in `predictions.json`, whose SHA-256 is in @tab:hashes.")
        return
    noted = study.runs.predictions_sha256
    same = int((noted == digest).sum())
    first = pd.to_datetime(study.runs.begun_at, utc=True).min()
    stamp = study.results.read_state().get("stages", {}).get("predictions")
    done = pd.to_datetime(stamp, utc=True) if stamp else None
    yield paragraph(
        "All predictions were saved before the first live run ({order}). The SHA-256 of `predictions.json` "
        "(@tab:hashes) is noted in the metadata of each run as it starts; {same} of {runs} name the file as it is "
        "now.",
        order=order_words(done, first),
        same=same,
        runs=counted(len(study.runs), "live run"),
    )


def order_words(done: Any, first: Any) -> str:
    """When predictions were saved and when the first run began."""
    if done is None:
        return f"the first began at {first:%Y-%m-%d %H:%M:%S} UTC"
    return f"saved at {done:%Y-%m-%d %H:%M:%S}, first run begun at {first:%H:%M:%S} UTC"
