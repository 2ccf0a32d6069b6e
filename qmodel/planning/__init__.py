"""Plans: the fewest servers, largest rate, best policy and settings that meet SLOs; and knobs tuned on traces."""

from qmodel.planning.plan import Plan, plan
from qmodel.planning.recorded import Recorded, read_recorded
from qmodel.planning.slo import Bound

__all__ = ["Bound", "Plan", "Recorded", "plan", "read_recorded"]
