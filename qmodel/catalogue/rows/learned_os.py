"""R5: "learned" operating systems: knobs set by search over a model."""

from __future__ import annotations

from qmodel.catalogue.row import Row

ROW = Row(
    number=5,
    name="learned-os",
    title="knobs tuned by search over the model",
    method="not yet",
    idea="""A position paper: timers, sizes, policies and mappings could be learned. Its honest core here is
    a tuner that searches over a declared knob on the analytic model, which is cheap, and is judged
    on a trace it has not seen.""",
    reference="Zhang & Huang, Operating Systems Review 53(1), 2019",
    missing="""controllers that tune declared knobs (Bayesian optimisation), trained on one trace and judged on
    another""",
)
