"""Plans: the fewest servers, largest rate, best policy and settings that meet SLOs; and knobs tuned on traces."""

from qmodel.planning.kinds import Kind, read_kind
from qmodel.planning.plan import Plan, plan
from qmodel.planning.recorded import Recorded, read_recorded
from qmodel.planning.slo import Bound

__all__ = ["Bound", "Kind", "Plan", "Recorded", "plan", "read_kind", "read_recorded"]
