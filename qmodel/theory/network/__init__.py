"""Stations in line, closed populations, and requests that come back."""
