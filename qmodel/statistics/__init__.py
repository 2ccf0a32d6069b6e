"""Means, percentiles and shares of correlated series, with intervals that say how far to believe them."""
