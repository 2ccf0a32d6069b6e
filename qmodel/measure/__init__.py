"""Designed experiments that time real inference and write tidy CSV; knows nothing of queues."""
