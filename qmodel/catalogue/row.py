"""What a row of the catalogue is: an idea, a scenario, its settings with the baseline last, its acceptance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from qmodel.catalogue.case import Case

How = Literal["exact", "approximation", "simulation"]
UNSEEN = 1000
"""Added to the seed of what is judged: the seed of what is tuned or learned on."""
FOLDER = Path(str(files("qmodel.catalogue") / "scenarios"))


@dataclass(frozen=True)
class Tuned:
    """Knobs (`PATH=LOW..HIGH`) that a tuner of `qmodel.planning` sets before a setting is answered.

    It makes `objective` small in at most `budget` tries, each a simulation of `requests` requests that are not
    those the setting is judged on.
    """

    knobs: tuple[str, ...]
    objective: str
    method: Literal["bayesian", "annealing", "grid"] = "bayesian"
    budget: int = 30
    requests: int = 20_000

    @property
    def words(self) -> str:
        """What is done, in words."""
        return f"{', '.join(self.knobs)} searched for the least {self.objective} in {self.budget} tries"


@dataclass(frozen=True)
class Controlled:
    """The threshold above which another model serves, so that a request's loss of quality + `price` x response is
    least: of the Markov decision problem ("optimum", by value iteration), of the best in a trace of `requests`
    requests ("static"), or by Q-learning on it ("learned"). The trace is not what the setting is judged on.
    """

    how: Literal["optimum", "static", "learned"]
    price: float
    requests: int = 20_000

    @property
    def words(self) -> str:
        """What is done, in words."""
        ways = {
            "optimum": "by value iteration",
            "static": f"the best in a trace of {self.requests:,} requests",
            "learned": f"learned from the costs in a trace of {self.requests:,} requests",
        }
        return f"threshold {ways[self.how]}, a second of response worth {self.price:g} of quality"


@dataclass(frozen=True)
class Setting:
    """One way to run the scenario: `changes` maps dotted fields to values, as `--set` does.

    `method` forces an instrument; `horizon_s` asks for replications of a finite horizon from empty, the only way
    at and above saturation. With `tuned`, some fields are searched for first.
    """

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    method: Literal["auto", "simulation"] = "auto"
    requests: int = 100_000
    horizon_s: float | None = None
    replications: int = 10
    tuned: Tuned | Controlled | None = None


@dataclass(frozen=True)
class Check:
    """One relation of the acceptance: what it says, with its figures, and whether it holds."""

    says: str
    holds: bool


@dataclass(frozen=True)
class Row:
    """A published system or result.

    `method`: how its main numbers are had. `unchecked`: what the sources leave open and what was assumed here; a
    row with such a note is no reproduction of the paper. `missing`: what of the paper is not expressed; `no_live`:
    why no engine here runs it; `live`: what a live run compares, where that is not `settings`. The first of
    `settings` is the idea, the last its baseline. `shown` are metrics, `name` or `class:name`. `accept` yields
    checks on the row's own scenario.
    """

    number: int
    name: str
    title: str
    method: How
    idea: str
    reference: str
    settings: tuple[Setting, ...]
    accept: Callable[[Case], Iterable[Check]]
    shown: tuple[str, ...] = ("mean_response_s", "p99_response_s")
    formula: str = ""
    unchecked: str = ""
    missing: str = ""
    no_live: str = ""
    live: tuple[Setting, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether some setting is tuned, so that a trace is cut into what is tuned on and what is judged on."""
        return any(setting.tuned is not None for setting in self.settings)

    @property
    def code(self) -> str:
        """R and its number."""
        return f"R{self.number}"

    @property
    def path(self) -> Path:
        """Its scenario file."""
        return FOLDER / f"{self.name}.toml"

    @cached_property
    def text(self) -> str:
        """Its scenario as TOML."""
        return self.path.read_text(encoding="utf-8")
