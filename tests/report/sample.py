"""A document with every kind of block, at the size of a real report."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from qmodel.report.document import (
    CodeBlock,
    Column,
    Document,
    Figure,
    Formula,
    Reference,
    References,
    Table,
    author,
    bullets,
    finding,
    paragraph,
    prose,
    section,
    warning,
)
from qmodel.report.quantity import Estimate, Interval, Quantity
from qmodel.report.style import marks, new_figure, save_figure, style

MS = 1e-3


def draw_figure(folder: Path) -> None:
    """The one figure of the sample."""
    with style():
        figure, (left, right) = new_figure(columns=2, height=2.3, sharey=True)
        load = np.linspace(0.1, 0.9, 60)
        for panel, classes in ((left, "short"), (right, "long")):
            for name, mark in marks(["fcfs", "np-priority", "ps"]).items():
                shape = {"fcfs": 1.0, "np-priority": 0.8, "ps": 1.2}[name]
                panel.plot(load, 8 * shape / (1 - load), mark.line, color=mark.color, label=name)
                at = np.array([0.3, 0.5, 0.7, 0.85])
                panel.errorbar(at, 8 * shape / (1 - at), 2 / (1 - at), fmt=mark.marker, color=mark.color)
            panel.set(title=f"class {classes}", xlabel="load ρ", ylim=(0, 100))
        left.set_ylabel("mean response time (ms)")
        left.legend()
        save_figure(figure, folder / "figures" / "latency")


def validation_table(rows: int = 4) -> Table:
    """Predicted against measured."""
    cells = []
    for policy in ("fcfs", "np-priority", "ps"):
        for i, load in enumerate(np.linspace(0.3, 0.85, rows)):
            mean = 8 * MS / (1 - load)
            measured = Estimate(mean * 1.03, mean * 0.97, mean * 1.09)
            cells.append((policy, float(load), "short", mean, "exact", measured, 0.03 * (-1) ** i, "inside"))
    cells.append(("srpt", 0.85, "short", None, "not analysable", Estimate(0.051, None, None), None, None))
    return Table(
        "tab:validation",
        prose(
            "Predicted and measured mean response time. Intervals are 95 % by batch means; *inside* says "
            "they hold the prediction."
        ),
        (
            Column("Policy", sparse=True),
            Column(prose("Load $rho$"), decimals=2),
            Column("Class"),
            Column("Predicted", "s"),
            Column("Method"),
            Column("Measured [95 % interval]", "s", align="right"),
            Column("Relative error", "ratio", signed=True),
            Column("Interval"),
        ),
        tuple(cells),
        notes=(prose("SRPT has no prediction: its size is not known at arrival (@sec:model)."),),
    )


def anova_table() -> Table:
    """Effects of the factors."""
    return Table(
        "tab:anova",
        "Analysis of variance of the logarithm of latency.",
        (
            Column("Effect"),
            Column("Degrees of freedom", kind="integer"),
            Column("Sum of squares", kind="significant"),
            Column(prose("$F$"), kind="significant"),
            Column(prose("$p$"), kind="p-value", align="right"),
            Column("Variation explained", "ratio"),
        ),
        (
            ("steps", 3, 123.4, 98123.0, 0.0, 0.912),
            ("batch_size", 4, 11.2, 7011.2, 1e-12, 0.0823),
            ("steps × batch_size", 12, 0.00123, 1.93, 0.0432, 0.00012),
            ("residuals", 480, 0.19, None, None, 0.0056),
        ),
    )


def assumption_table() -> Table:
    """Text that must wrap."""
    return Table(
        "tab:assumptions",
        "What the model assumes, and what was done about it.",
        (Column("Assumption"), Column("Test"), Column("Outcome")),
        (
            (
                "Arrivals are a Poisson process, independent of the state of the queue",
                "Kolmogorov–Smirnov test of the gaps; dispersion of counts over windows of 10 s",
                prose("holds: $p$ = 0.41 and 0.22"),
            ),
            (
                "Service times are independent of each other",
                "lag-1 correlation of the service times",
                "holds: 0.01",
            ),
            (
                "Preemption costs nothing",
                "not tested",
                prose("**untested**; the switch is one call of `Scheduler.pick` at a step boundary"),
            ),
        ),
    )


def coefficients_table() -> Table:
    """Cells with units of their own."""
    return Table(
        "tab:coefficients",
        "The fitted service function.",
        (Column("Term"), Column("Coefficient", align="right"), Column("95 % interval", align="right")),
        (
            (prose("`1` (overhead)"), Quantity(2.1e-4, "s"), Interval(2.0e-4, 2.2e-4, "s")),
            (prose("`steps`"), Quantity(3.512e-4, "s"), Interval(3.49e-4, 3.54e-4, "s")),
            (prose("`steps:batch_size`"), Quantity(8.1e-8, "s"), Interval(7.9e-8, 8.4e-8, "s")),
        ),
    )


def sample(long_rows: int = 4) -> Document:
    """The document."""
    return Document(
        title="Latency of a diffusion server under four scheduling policies",
        subtitle="Measured, predicted and run live on one core",
        authors=("A. Student", "B. O'Hara & Söhne"),
        date=datetime.date(2026, 11, 20),
        abstract=prose(
            "At load 0.7 the mean response time under first-come first-served is predicted as {mean} and measured "
            "as {measured}; the error is {error}. Every number below says how it was obtained.",
            mean=Quantity(26.7e-3, "s"),
            measured=Estimate(27.4e-3, 25.9e-3, 28.9e-3, "s"),
            error=Quantity(0.026, "ratio", signed=True),
        ),
        contents=True,
        blocks=(
            section("Question", "question"),
            paragraph(
                "Requests for images arrive at random, and each asks for a number of denoising steps. We ask what "
                "latency each class of requests sees under four *policies*, and what **fewer steps** would buy. "
                "The model is a {model} queue with load $rho$ below one [@kleinrock]; the measurements are in "
                "@tab:validation and @fig:latency, and the formula used is @eq:pk."
                "^[A footnote with `code`, 50 % and a reference to [@harchol-balter].]",
                model=prose("$M/G/1$"),
            ),
            author("Say in two or three sentences why this question matters to *you*."),
            section("System", "system"),
            paragraph(
                "One server process runs the model with ONNX Runtime on one thread. A step at batch 1 takes "
                "{step}; {requests} requests were timed. The source is at "
                "[the project's page](https://example.org/a_b?x=1&y=2#z).",
                step=Quantity(3.51e-4, "s"),
                requests=12345,
            ),
            bullets(
                [
                    prose("*fcfs*: first come, first served, never interrupted;"),
                    prose("*np-priority*: the class `short` first, never interrupted;"),
                    "ps: all in the system share the server, step by step.",
                ]
            ),
            section("Method", "method"),
            section("Service function", "service", level=2),
            paragraph("The effects are in @tab:anova, the fitted function in @tab:coefficients."),
            anova_table(),
            coefficients_table(),
            section("Queueing model", "model", level=2),
            paragraph("With Poisson arrivals the mean wait follows from two moments of the service time $S$:"),
            Formula(
                "eq:pk",
                r"\mathrm{E}[W] = \frac{\lambda\,\mathrm{E}[S^2]}{2\,(1-\rho)},"
                r" \qquad \rho = \lambda\,\mathrm{E}[S]",
                "upright(E)[W] = (lambda thin upright(E)[S^2]) / (2 thin (1 - rho)), "
                "quad rho = lambda thin upright(E)[S]",
                prose("Pollaczek and Khinchine, as in [@kleinrock], section 5.6"),
            ),
            paragraph("Its assumptions are listed in @tab:assumptions, each tested or marked untested."),
            assumption_table(),
            section("Results", "results"),
            Figure(
                "fig:latency",
                "figures/latency.png",
                prose(
                    "Mean response time against load: lines are predicted, points are measured with their 95 % "
                    "interval. See how the curves part above a load of 0.7."
                ),
                alt="Two panels of rising curves with points on them, one panel a class",
            ),
            validation_table(long_rows),
            finding(
                "Under *fcfs* the prediction is within {error} of the measurement to load 0.7 (@tab:validation).",
                error=Quantity(0.031, "ratio"),
            ),
            warning("At load 0.85 two of eight intervals do **not** hold the prediction; see @sec:threats."),
            section("Threats to validity", "threats"),
            bullets(["The machine was shared.", "One model was served.", "Clocks were not fixed."], numbered=True),
            section("How to reproduce", "reproduce"),
            paragraph("From a fresh clone:"),
            CodeBlock(
                "git clone https://example.org/qmodel && cd qmodel\n"
                "make report   # about 10 minutes on 2 cores\n\n"
                "qmodel predict --arrivals poisson:0.8 --service exponential:1 --policy fcfs,ps --json",
                "sh",
            ),
            section("References"),
            References(
                (
                    Reference(
                        "harchol-balter",
                        prose("M. Harchol-Balter, *Performance Modeling and Design of Computer Systems*, 2013."),
                    ),
                    Reference(
                        "kleinrock",
                        prose("L. Kleinrock, *Queueing Systems, Volume I: Theory*, Wiley, 1975."),
                        "https://example.org/kleinrock/volume-1",
                    ),
                )
            ),
        ),
    )
