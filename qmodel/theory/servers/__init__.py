"""Several servers: one queue for all, or one each and a routing."""
