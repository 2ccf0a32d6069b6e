"""Answers by running inference: real requests through a real serving loop on real hardware."""
