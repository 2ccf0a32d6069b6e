"""Sweeps: one scenario at many settings, on this machine's cores or on a cluster, resumable.

`grid` says which points there are, `engines` where they are worked on, `store` keeps what is finished.
"""

from qmodel.sweep.engines import ENGINES, Engine
from qmodel.sweep.grid import Point, grid
from qmodel.sweep.running import sweep

__all__ = ["ENGINES", "Engine", "Point", "grid", "sweep"]
