"""Preemption that costs time, or is possible at step boundaries only."""
