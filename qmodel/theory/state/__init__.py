"""Service, admission or patience that depends on how many are there: thresholds, buffers, impatience."""
