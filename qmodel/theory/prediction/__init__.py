"""Orders by predicted size, under a joint law of size and prediction."""
