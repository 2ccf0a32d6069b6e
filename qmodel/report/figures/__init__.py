"""The figures of a study, each drawn from a tidy frame; a new figure is one new file and one line here."""

from qmodel.report.figures.agreement import predicted_against_measured, relative_errors
from qmodel.report.figures.arrivals import arrivals_against_poisson
from qmodel.report.figures.effects import main_effects
from qmodel.report.figures.improvement import improvements
from qmodel.report.figures.ladder import gap_ladder
from qmodel.report.figures.latency import latency_against_load, policies_against_load
from qmodel.report.figures.picture import picture
from qmodel.report.figures.quality import quality_against_steps
from qmodel.report.figures.responses import response_times
from qmodel.report.figures.service import service_times

__all__ = [
    "arrivals_against_poisson",
    "gap_ladder",
    "improvements",
    "latency_against_load",
    "main_effects",
    "picture",
    "policies_against_load",
    "predicted_against_measured",
    "quality_against_steps",
    "relative_errors",
    "response_times",
    "service_times",
]
