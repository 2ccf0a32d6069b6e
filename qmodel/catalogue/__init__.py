"""Published serving systems as scenarios: each a few lines of TOML, its baseline another setting of a field.

A row has no simulator and no analysis of its own: it is asked like any scenario, and its acceptance says which
relations its answers must satisfy. `all_rows` lists them, `find` gets one by its name or number, `case.Case` puts
one on a system, `running.run` answers it.
"""

from __future__ import annotations

from qmodel.catalogue.registry import all_rows, find
from qmodel.catalogue.row import Check, Row, Setting

__all__ = ["Check", "Row", "Setting", "all_rows", "find"]
