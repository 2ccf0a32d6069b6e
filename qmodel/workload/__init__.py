"""Demand: distributions, arrival processes, request classes, traces."""

from qmodel.workload.arrivals import ArrivalProcess, Poisson, Renewal, RenewalGaps, Trace
from qmodel.workload.continuous import Erlang, Exponential, Gamma, Hyperexponential, Uniform
from qmodel.workload.discrete import Deterministic, Discrete, Empirical, Geometric
from qmodel.workload.distribution import Distribution, Mixture, Scaled
from qmodel.workload.heavy_tailed import BoundedPareto, Lognormal, Pareto, Weibull
from qmodel.workload.joint_lengths import Copula, JointLengths, Pairs
from qmodel.workload.markov_arrivals import Map, Mmpp
from qmodel.workload.nonstationary import Closed, Piecewise
from qmodel.workload.pause import Pause
from qmodel.workload.predicted_size import PredictedSize
from qmodel.workload.request_class import RequestClass

__all__ = [
    "ArrivalProcess",
    "BoundedPareto",
    "Closed",
    "Copula",
    "Deterministic",
    "Discrete",
    "Distribution",
    "Empirical",
    "Erlang",
    "Exponential",
    "Gamma",
    "Geometric",
    "Hyperexponential",
    "JointLengths",
    "Lognormal",
    "Map",
    "Mixture",
    "Mmpp",
    "Pairs",
    "Pareto",
    "Pause",
    "Piecewise",
    "Poisson",
    "PredictedSize",
    "Renewal",
    "RenewalGaps",
    "RequestClass",
    "Scaled",
    "Trace",
    "Uniform",
    "Weibull",
]
