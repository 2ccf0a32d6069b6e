"""The bibliography: every entry that a section may cite; those that are cited are printed."""

from __future__ import annotations

from qmodel.report.document import Block, Document, Reference, References, prose, section
from qmodel.report.inline import Cite, walk
from qmodel.report.numbering import all_contents

ENTRIES = (
    Reference(
        "pollaczek",
        prose(
            "F. Pollaczek, Über eine Aufgabe der Wahrscheinlichkeitstheorie, *Mathematische Zeitschrift* 32 "
            "(1930) 64–100."
        ),
    ),
    Reference(
        "khinchine",
        prose(
            "A. Y. Khinchine, Mathematical theory of a stationary queue, *Matematicheskii Sbornik* 39 (1932) 73–84."
        ),
    ),
    Reference(
        "kleinrock",
        prose("L. Kleinrock, *Queueing Systems, Volume I: Theory*, Wiley, 1975."),
    ),
    Reference(
        "cobham",
        prose("A. Cobham, Priority assignment in waiting line problems, *Operations Research* 2 (1954) 70–76."),
    ),
    Reference(
        "gaver",
        prose(
            "D. P. Gaver, A waiting line with interrupted service, including priorities, *Journal of the "
            "Royal Statistical Society B* 24 (1962) 73–90."
        ),
    ),
    Reference(
        "conway",
        prose("R. W. Conway, W. L. Maxwell, L. W. Miller, *Theory of Scheduling*, Addison-Wesley, 1967."),
    ),
    Reference(
        "takacs",
        prose("L. Takács, Priority queues, *Operations Research* 12 (1964)."),
    ),
    Reference(
        "kleinrock-ps",
        prose(
            "L. Kleinrock, Time-shared systems: a theoretical treatment, *Journal of the ACM* 14 (1967) 242–261."
        ),
    ),
    Reference(
        "sakata",
        prose(
            "M. Sakata, S. Noguchi, J. Oizumi, An analysis of the M/G/1 queue under round-robin scheduling, "
            "*Operations Research* 19 (1971) 371–385."
        ),
    ),
    Reference(
        "harchol-balter",
        prose(
            "M. Harchol-Balter, *Performance Modeling and Design of Computer Systems*, Cambridge University "
            "Press, 2013."
        ),
    ),
    Reference(
        "neuts",
        prose("M. F. Neuts, *Structured Stochastic Matrices of M/G/1 Type and Their Applications*, Dekker, 1989."),
    ),
    Reference(
        "federgruen",
        prose(
            "A. Federgruen, H. C. Tijms, Computation of the stationary distribution of the queue size in an "
            "M/G/1 queueing system with variable service rate, *Journal of Applied Probability* 17 (1980)."
        ),
    ),
    Reference(
        "abate",
        prose(
            "J. Abate, W. Whitt, The Fourier-series method for inverting transforms of probability "
            "distributions, *Queueing Systems* 10 (1992) 5–88."
        ),
    ),
    Reference(
        "lewis",
        prose("P. A. W. Lewis, Some results on tests for Poisson processes, *Biometrika* 52 (1965) 67–77."),
    ),
    Reference(
        "fieller",
        prose(
            "E. C. Fieller, Some problems in interval estimation, *Journal of the Royal Statistical Society "
            "B* 16 (1954) 175–185."
        ),
    ),
    Reference(
        "frechet",
        prose(
            "M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, GANs trained by a two time- "
            "scale update rule converge to a local Nash equilibrium, *NeurIPS* 2017."
        ),
    ),
)


def blocks(document: Document) -> list[Block]:
    """The cited entries under their heading."""
    used = cited(document)
    return [section("References", "references"), References(tuple(e for e in ENTRIES if e.key in used))]


def cited(document: Document) -> set[str]:
    """Keys that the document cites."""
    return {i.key for text in all_contents(document) for i in walk(text) if isinstance(i, Cite)}
