"""Targets: the real computations that can be timed and served."""

from qmodel.measure.targets.base import Levels, OutOfMemory, Target, Trial, make_target

__all__ = ["Levels", "OutOfMemory", "Target", "Trial", "make_target"]
