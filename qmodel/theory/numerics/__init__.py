"""Numerical methods behind the results: quadrature over sizes, inversion of transforms, roots, stationary laws."""
