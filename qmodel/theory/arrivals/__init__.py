"""Arrivals that are not Poisson, and servers that change or leave: renewal, MAP, environments, vacations."""
