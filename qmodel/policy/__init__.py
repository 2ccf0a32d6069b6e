"""Choices: who goes first. A policy is written once; theory reads it, the simulator and the live server call it."""

from qmodel.policy.accumulating import AccumulatingPriority
from qmodel.policy.base import Policy, Rank, Request
from qmodel.policy.gittins import Gittins
from qmodel.policy.presets import (
    DPS,
    EDF,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PRESETS,
    PS,
    PSJF,
    PSPJF,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    LCFSPreemptive,
    RandomOrder,
    RoundRobin,
    make_policy,
)
from qmodel.policy.priority import NonPreemptivePriority, PreemptivePriority

__all__ = [
    "DPS",
    "EDF",
    "FCFS",
    "LAS",
    "LCFS",
    "MLFQ",
    "PRESETS",
    "PS",
    "PSJF",
    "PSPJF",
    "SJF",
    "SPJF",
    "SPRPT",
    "SRPT",
    "TRAIL",
    "AccumulatingPriority",
    "Gittins",
    "LCFSPreemptive",
    "NonPreemptivePriority",
    "Policy",
    "PreemptivePriority",
    "RandomOrder",
    "Rank",
    "Request",
    "RoundRobin",
    "make_policy",
]
