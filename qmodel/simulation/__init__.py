"""Answers by discrete events: `simulate` answers a scenario with intervals, `replay` serves given requests.

Nothing here imports the compiler until a simulation runs.
"""

from qmodel.simulation.replaying import Outcome, replay
from qmodel.simulation.simulating import simulate

__all__ = ["Outcome", "replay", "simulate"]
