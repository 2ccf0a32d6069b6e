"""R13: HiddenKey: a better regulariser for fine-tuning, paid for in training time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting

PLAIN: dict[str, Any] = {"transform": []}


def accept(case: Case) -> Iterator[Check]:
    """d ln W / d ln S = (2 - rho) / (1 - rho), and a job waits longer by more than its own factor."""
    step = 1e-5
    rho = case.scenario(PLAIN).utilisation
    waits = [
        value(case.theory({"transform.model-swap.service_factor": 1 + d}), "mean_wait_s") for d in (-step, step)
    ]
    elasticity = (waits[1] / waits[0] - 1) / (2 * step)
    yield near("elasticity of the wait", elasticity, (2 - rho) / (1 - rho), within=1e-3)
    factor = case.mean() / case.mean(PLAIN)
    yield true(f"jobs 1.33 times as long have a response {factor:.3f} times as long", factor > 1.33)


ROW = Row(
    number=13,
    name="hiddenkey",
    title="dropout with a KL term: longer jobs",
    method="exact",
    idea="""A training method: columns of the attention's keys and elements of the hidden states are
    dropped, and two stochastic passes are held together by a KL term. It improves accuracy and
    costs training time, so a queue of fine-tuning jobs gets longer, by the elasticity of the wait.
    Nothing is claimed about inference.""",
    formula="S -> (1 + kappa) S; d ln W / d ln S = 2 + rho / (1 - rho) = (2 - rho) / (1 - rho)",
    reference="Wang, Chen, Jiang, Xue, Kong & Wu, Findings of ACL 2024, arXiv 2403.00812",
    unchecked="HiddenKey-like: kappa (1/3 here) and the gain in quality are assumed, not the paper's",
    missing="a LoRA trainer as a measured target, to fit kappa by a designed experiment",
    settings=(
        Setting("KL term, kappa 1/3"),
        Setting("without", PLAIN),
    ),
    shown=("mean_service_s", "mean_wait_s", "mean_response_s", "p95_response_s", "attainment"),
    no_live="its jobs are training runs, and no engine here trains",
    accept=accept,
)
