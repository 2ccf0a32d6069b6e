"""Supply: step-time functions, fitted models, and transforms of service (early exit, fewer steps, caching)."""
