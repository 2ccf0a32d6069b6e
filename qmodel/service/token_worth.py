"""What a token is worth to a policy: seconds of service alone, so that sizes of prompts and outputs add up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ClipOutput

if TYPE_CHECKING:
    from qmodel.scenario import Scenario


@dataclass(frozen=True)
class TokenWorth:
    """Seconds of service alone that a prompt token and an output token stand for; a request's size is their sum.

    >>> TokenWorth(prompt_s=1e-4, output_s=0.01).size(100, 3)
    0.04
    """

    prompt_s: float
    output_s: float

    def size(self, prompt: Any, output: Any) -> Any:
        """Seconds of so many prompt and output tokens, numbers or arrays."""
        return self.prompt_s * prompt + self.output_s * output


def token_worth(scenario: Scenario) -> TokenWorth:
    """What a prompt token is worth in a full chunk, and an output token at half of the mean output, served alone.

    Where pairs of queries and keys cost time, either looks at the keys of that mean context. Outputs that are
    always clipped count as long as that leaves them.

    The iteration-level simulation measures sizes the same way. Raises InputError without an iteration time, or
    for a class without lengths.
    """
    taken, engine = scenario.system.iteration_time, scenario.system.engine or Engine()
    if taken is None:
        raise InputError(
            "system, iteration_time", "is missing", "continuous batching needs base, per_sequence, ..."
        )
    chunk = engine.max_batched_tokens
    context = _mean(scenario, "input_tokens") + 0.5 * _mean(scenario, "output_tokens")
    each = taken.seconds(1, context) / engine.tokens_per_iteration
    return TokenWorth(prompt_token_s(taken, chunk, context), each)


def prompt_token_s(taken: IterationTime, chunk: int, context: float) -> float:
    """Seconds of a prompt token, one of a full chunk, that looks at so many keys."""
    return replace(taken, per_query_key=0.0).seconds(1, 0.0, chunk) / chunk + taken.per_query_key * context


def _mean(scenario: Scenario, name: str) -> float:
    total = []
    for request_class in scenario.classes:
        factors = dict(request_class.factors)
        if name not in factors:
            place = f"class '{request_class.name}', {name}"
            raise InputError(place, "is missing", "batching = 'continuous' needs its law")
        for transform in scenario.transforms:
            if isinstance(transform, ClipOutput) and transform.when is None:
                factors = transform.clipped(factors)
        total.append(request_class.rate * factors[name].mean)
    return math.fsum(total) / scenario.rate
