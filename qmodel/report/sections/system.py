"""Section 2: the system: what serves, the classes, the policies, early exit, and what is real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qmodel.policy import make_policy
from qmodel.report.document import Block, Column, Table, bullets, paragraph, prose, section
from qmodel.report.inline import Content
from qmodel.report.names import counted, exit_name, is_or_are, policy_name, sentence_start, setting_value, words
from qmodel.report.quantity import Quantity
from qmodel.report.sections.evidence import Evidence
from qmodel.study.plan import SettingTable
from qmodel.workload import Distribution

TARGETS = {
    "digits-diffusion": (
        "a class-conditional denoising diffusion model that draws 8x8 images of handwritten digits; one "
        "request asks for `batch_size` images, each drawn in `steps` denoising steps, and ONNX Runtime "
        "computes them"
    ),
    "language-model": (
        "a decoder-only language model with random weights (latency does not depend on their values); the "
        "prefill reads the prompt, then every decode step makes one token"
    ),
    "torch-diffusion": "a denoising diffusion model computed by PyTorch, step by step",
    "transformers": "a decoder-only language model on the continuous batching of the library transformers",
    "openai-server": "a server known by its URL alone, with its own scheduler",
    "byte-model": "a small language model of bytes with trained weights, computed by PyTorch",
    "smollm2": "the language model SmolLM2 with its published weights, computed by PyTorch",
    "callable": "a Python function of the author's own",
    "command": "a command of the author's own, started once for each repetition",
}
"""What the targets are, in the words of a report."""

WORKS = {
    "none": "It works on one request at a time unless the policy shares it.",
    "dynamic": "It serves a batch of waiting requests as one, and the next batch when it is done.",
    "continuous": (
        "It batches continuously: all that run get a token in every iteration, others join and leave between "
        "two iterations, and the policy decides who joins next."
    ),
}
"""How a server serves."""

POLICIES = {
    "fcfs": "requests are served one after the other in order of arrival and are never interrupted.",
    "np-priority": (
        "the class with the lowest priority number goes first, first come first served inside a class; a "
        "request in service is finished first."
    ),
    "pr-priority": (
        "as non-preemptive priority, but a request of a higher class interrupts a lower one at the next step "
        "boundary; interrupted work is kept and resumed."
    ),
    "ps": (
        "everyone present has an equal share of the server; the live server works on those present in turns "
        "of one step."
    ),
}
"""Policies in a sentence; others are described by their own docstring."""

POLICIES_OF_BATCHES = {
    "fcfs": "those who wait are taken in order of arrival.",
    "np-priority": (
        "of those who wait, the class with the lowest priority number is taken first, first come first served "
        "inside a class."
    ),
}
"""The same where requests are served together."""

COLUMN_NAMES = {"input_tokens": "input tokens", "output_tokens": "output tokens"}


def blocks(study: Evidence) -> Iterator[Block]:
    """The system in words and tables."""
    yield section("System", "system")
    yield paragraph(
        "The server runs {target} on {device} with {threads}. "
        + WORKS[study.base.system.batching if study.batches else "none"]
        + " @tab:classes lists the classes; the policies are:",
        target=target_words(study),
        device=study.device,
        threads=counted(study.plan.threads, "thread"),
    )
    yield bullets([policy_line(policy, study.batches) for policy in study.plan.tables.policies])
    yield classes_table(study)
    yield from early_exit(study)
    yield paragraph("What is real here and what is not:")
    yield bullets(reality(study))


def target_words(study: Evidence) -> Content:
    """The target with what it is."""
    kind = study.target
    if not kind:
        return prose("requests whose service times the scenario gives")
    return prose("*{name}*" + (f", {TARGETS[kind]}," if kind in TARGETS else ""), name=words(kind))


def policy_line(policy: str, batches: bool = False) -> Content:
    """One policy in a sentence."""
    what = described(policy, batches)
    return prose("**{name}** (`{key}`): {what}", name=sentence_start(policy_name(policy)), key=policy, what=what)


def described(policy: str, batches: bool = False) -> str:
    """What a policy does: in the words above, or by the first line of its docstring."""
    if batches and policy in POLICIES_OF_BATCHES:
        return POLICIES_OF_BATCHES[policy]
    if policy in POLICIES:
        return POLICIES[policy]
    first = (make_policy(policy).__doc__ or "a policy of the author's own.").strip().splitlines()[0]
    return first[:1].lower() + first[1:]


def classes_table(study: Evidence) -> Table:
    """Share of the arrivals, factors, service time, priority and SLO of each class."""
    base = study.base
    rows = [
        (
            given.name,
            served.rate / base.rate,
            factor_words(given.factors) or "given law",
            served.size.mean,
            served.size.scv,
            served.priority,
            slo_words(served.slo),
        )
        for given, served in zip(base.classes, base.served, strict=True)
    ]
    return Table(
        "tab:classes",
        prose(
            "The request classes. Arrivals are Poisson; mean and squared coefficient of variation ($C_S^2$) "
            "of the service time are {source}, without early exit.",
            source=prose("those of the fitted function (@sec:service)")
            if study.fits
            else "as the scenario gives them",
        ),
        (
            Column("Class"),
            Column("Share of arrivals", "ratio"),
            Column("A request asks for"),
            Column("Mean service (fitted)" if study.fits else "Mean service (given)", "s"),
            Column(prose("$C_S^2$"), digits=2),
            Column("Priority", kind="integer", align="right"),
            Column("SLO"),
        ),
        tuple(rows),
        notes=("Priority: the lowest number goes first. SLO: service-level objective, a limit on response time.",),
    )


def factor_words(factors: Mapping[str, Distribution]) -> str:
    """What a request asks for: each factor with its levels and their probabilities."""
    return "; ".join(f"{COLUMN_NAMES.get(name, words(name))} {law_words(law)}" for name, law in factors.items())


def law_words(law: Distribution) -> str:
    """A law of a factor in words.

    >>> from qmodel.workload.discrete import Deterministic, Discrete
    >>> law_words(Deterministic(6.0)), law_words(Discrete((1.0, 2.0), (0.7, 0.3)))
    ('6', '1 (70 %) or 2 (30 %)')
    """
    atoms = law.atoms()
    if len(atoms) == 1:
        return f"{atoms[0][0]:g}"
    if not atoms or len(atoms) > 4:
        return f"of mean {law.mean:.3g}"
    parts = [f"{value:g} ({100 * p:.3g} %)" for value, p in atoms]
    return ", ".join(parts[:-1]) + f" or {parts[-1]}"


def slo_words(slo: dict[str, float]) -> str:
    """The objectives of a class in words.

    >>> slo_words({"response_p95_s": 0.03}).replace("\\u00a0", " ")
    'p95 ≤ 30 ms'
    """
    return "; ".join(f"{slo_metric(name)} ≤ {setting_value(limit, 's')}" for name, limit in slo.items()) or "none"


def slo_metric(name: str) -> str:
    """The bounded metric, short where it is a response time.

    >>> slo_metric("response_p95_s"), slo_metric("response_s"), slo_metric("ttft_p99_s")
    ('p95', 'mean', 'p99 ttft')
    """
    quantity, _, rest = name.removesuffix("_s").partition("_")
    statistic = rest or "mean"
    return statistic if quantity == "response" else f"{statistic} {quantity}"


def early_exit(study: Evidence) -> Iterator[Block]:
    """The settings that cut work short."""
    if not study.early_exits:
        yield paragraph("No request is cut short: there is no early exit in this study.")
        return
    rows = [
        (exit_name(table.name), setting_words(table), cut_words(study, table)) for table in study.plan.tables.exit
    ]
    yield Table(
        "tab:exits",
        "The early-exit settings, and what is left of the work of each class when they apply.",
        (Column("Setting"), Column("What it does"), Column("Work left")),
        tuple(rows),
    )


def setting_words(table: SettingTable) -> str:
    """What a setting does and when."""
    if table.kind is None:
        return "every request runs to its end"
    given: dict[str, Any] = {
        k: v for k, v in table.model_dump(exclude_none=True).items() if k not in ("name", "own", "kind")
    }
    above, below = given.pop("above_queue", None), given.pop("below_queue", None)
    what = kind_words(table.kind, given)
    if above is None:
        return f"{what}, always"
    back = f", until fewer than {below} are there" if below is not None else ""
    present = f"{counted(above, 'request')} {is_or_are(above)} in the system"
    return f"{what} while more than {present} as a service starts, itself included{back}"


def kind_words(kind: str, given: dict[str, Any]) -> str:
    """The transform in words."""
    if kind == "steps":
        return f"{100 * given.pop('fraction'):g} % of the steps"
    if kind == "model-swap":
        return f"a smaller model, {given.pop('service_factor'):g} times the service time"
    options = ", ".join(f"{words(k)} {v}" for k, v in given.items())
    return f"{words(kind)} ({options})" if options else words(kind)


def cut_words(study: Evidence, table: SettingTable) -> str:
    """Steps left of each class where steps are cut; mean service otherwise."""
    from qmodel.scenario_file import make_transform
    from qmodel.service.transform import FewerSteps

    cut = None if table.kind is None else make_transform(table)
    classes = study.base.classes
    if all("steps" in c.factors for c in classes) and (cut is None or isinstance(cut, FewerSteps)):
        kept = {c.name: [cut.steps_kept(v) if cut else v for v, _ in c.factors["steps"].atoms()] for c in classes}
        return "; ".join(f"{name}: {' or '.join(f'{v:g}' for v in values)} steps" for name, values in kept.items())
    scenario = study.fixed_exit_scenario(table.name)
    means = [(s.name, (s.long_queue or s.service).occupancy.mean) for s in scenario.served]
    return "; ".join(f"{name}: {Quantity(mean, 's')} mean service" for name, mean in means)


def reality(study: Evidence) -> Iterator[Content]:
    """What is computed and measured, and what is drawn or simplified."""
    if study.live:
        seconds = study.plan.tables.live.seconds if study.plan.tables.live else 0.0
        yield prose(
            "*Real:* the computation of every step; the queue, the scheduler and the clock of the live "
            "server, which runs in a process of its own; the times, which count from the moment a request was "
            "scheduled to arrive."
        )
        yield prose(
            "*Not real:* the users. Arrivals and sizes are drawn beforehand from the classes above, {seconds} "
            "a run, and sent by a client on the same machine; there is no network.",
            seconds=setting_value(seconds, "s"),
        )
    else:
        yield prose("*Real:* the computation whose times were measured.")
        yield prose("*Not real:* queues and arrivals; they exist in the model alone, for nothing was run live.")
    if study.base.system.servers == 1 and not study.batches:
        yield prose("*Simplified:* one server, one request at a time; requests are not batched with one another.")
