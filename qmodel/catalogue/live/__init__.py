"""A row on a real engine of this machine: its policy and its baseline, predicted first, then run."""

from __future__ import annotations

from qmodel.catalogue.live.running import Both, LiveRan, run_row

__all__ = ["Both", "LiveRan", "run_row"]
