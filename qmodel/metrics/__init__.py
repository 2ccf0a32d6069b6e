"""What is reported of requests and streams: the registry of metrics, and exact functions of token times."""

from qmodel.metrics.registry import METRICS, Metric, metric

__all__ = ["METRICS", "Metric", "metric"]
