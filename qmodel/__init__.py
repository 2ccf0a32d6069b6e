"""qmodel: what latency will my users see, and what would another policy do?"""

__version__ = "0.1.0"
