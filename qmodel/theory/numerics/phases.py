"""Laws that are mixtures of exponentials: what the Markov chains here can take as sizes."""

from __future__ import annotations

from qmodel.theory.numerics.sizes import weighted_components
from qmodel.workload import Distribution, Gamma, Hyperexponential
from qmodel.workload.distribution import Scaled

Phases = list[tuple[float, float]]
"""(probability, mean) of each exponential."""


def exponential_phases(law: Distribution) -> Phases | None:
    """The exponentials that the law mixes, or None if it is no mixture of exponentials.

    >>> from qmodel.workload import Exponential
    >>> exponential_phases(Exponential(2.0).scaled(0.5))
    [(1.0, 1.0)]
    >>> exponential_phases(Gamma(mean=1.0, scv=0.5)) is None
    True
    """
    found: Phases = []
    for share, part in weighted_components(law):
        factor, inner = (part.factor, part.law) if isinstance(part, Scaled) else (1.0, part)
        if isinstance(inner, Hyperexponential):
            found += [(share * p, factor * mean) for p, mean in inner.phases]
        elif isinstance(inner, Gamma) and inner.scv == 1.0:
            found.append((share, factor * inner.mean))
        else:
            return None
    return found
