"""Requests served together: dynamic, static, multi-bin and continuous batching."""
