"""Gittins: least expected service per completion first, from the law of sizes and the service attained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qmodel.errors import InputError
from qmodel.policy.base import Policy, Request, Sized
from qmodel.policy.gittins_index import RankTable, gittins_table
from qmodel.workload.distribution import Mixture


@dataclass(frozen=True)
class Gittins(Policy):
    """Highest Gittins index first, preemptive: the best order that knows the laws of sizes, not the sizes.

    The scenario gives it the laws: of each class by itself, or with `by_class = false` of all requests together.
    With `weighted`, the index counts each completion by its class's weight, which minimises the weighted mean.
    """

    by_class: bool = True
    weighted: bool = False
    name = "gittins"
    preemptive = True
    depends_on = frozenset({"class", "age"})
    binds = True

    def bound(self, classes: Sequence[Sized]) -> Gittins:
        """The policy with the size laws of these classes.

        >>> from types import SimpleNamespace as Class
        >>> from qmodel.workload import Deterministic
        >>> policy = Gittins().bound([Class(name="a", rate=1.0, weight=1.0, size=Deterministic(3.0))])
        >>> policy.rank(Request(0.0, 3.0, 3.0, class_name="a"), 1.0)
        2.0
        """
        made = replace(self)
        object.__setattr__(made, "_tables", {each.name: self._table(each, classes) for each in classes})
        return made

    def rank(self, request: Request, attained: float) -> float:
        return self.tables[request.class_name].at(attained)

    @property
    def tables(self) -> dict[str, RankTable]:
        """The rank by age, class by class. Raises InputError before the laws are known."""
        found: dict[str, RankTable] | None = self.__dict__.get("_tables")
        if found is None:
            raise InputError("policy 'gittins'", "knows no law of sizes yet", "put it into a scenario, or bind it")
        return found

    def _table(self, own: Sized, classes: Sequence[Sized]) -> RankTable:
        table = gittins_table(own.size if self.by_class or len(classes) == 1 else _together(classes))
        return table.divided(own.weight) if self.weighted else table


def _together(classes: Sequence[Sized]) -> Mixture:
    total = sum(each.rate for each in classes)
    return Mixture(tuple(each.rate / total for each in classes), tuple(each.size for each in classes))
