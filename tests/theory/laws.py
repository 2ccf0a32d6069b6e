"""Laws of sizes that several tests ask about, of mean 1 but for the last."""

from __future__ import annotations

from qmodel.workload import Discrete, Erlang, Exponential, Hyperexponential, Uniform

UNIT = Exponential(1.0)
SPREAD = Hyperexponential(1.0, 4.0)
REGULAR = Erlang(3, 1.0)
FLAT = Uniform(0.2, 1.8)
SHAPES = (UNIT, SPREAD, REGULAR, FLAT)
"""One of each kind: without memory, of two phases, of stages, bounded."""
THREE_SIZES = Discrete((0.5, 1.0, 3.0), (0.5, 0.3, 0.2))
