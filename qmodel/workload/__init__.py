"""Demand: distributions, arrival processes, request classes, traces."""

from qmodel.workload.arrivals import ArrivalProcess, Poisson, Renewal, Trace
from qmodel.workload.continuous import Erlang, Exponential, Gamma, Hyperexponential, Uniform
from qmodel.workload.discrete import Deterministic, Discrete, Empirical, Geometric
from qmodel.workload.distribution import Distribution, Mixture, Scaled
from qmodel.workload.heavy_tailed import BoundedPareto, Lognormal, Pareto, Weibull
from qmodel.workload.markov_arrivals import Map, Mmpp
from qmodel.workload.nonstationary import Closed, Piecewise
from qmodel.workload.pause import Pause
from qmodel.workload.predicted_size import PredictedSize
from qmodel.workload.request_class import RequestClass

__all__ = [
    "ArrivalProcess",
    "BoundedPareto",
    "Closed",
    "Deterministic",
    "Discrete",
    "Distribution",
    "Empirical",
    "Erlang",
    "Exponential",
    "Gamma",
    "Geometric",
    "Hyperexponential",
    "Lognormal",
    "Map",
    "Mixture",
    "Mmpp",
    "Pareto",
    "Pause",
    "Piecewise",
    "Poisson",
    "PredictedSize",
    "Renewal",
    "RequestClass",
    "Scaled",
    "Trace",
    "Uniform",
    "Weibull",
]
