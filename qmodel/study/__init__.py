"""The whole way from measurement to answers held against each other, resumable at any moment."""

from qmodel.study.plan import StudyPlan, load_plan
from qmodel.study.results import Results

__all__ = ["Results", "StudyPlan", "load_plan"]
