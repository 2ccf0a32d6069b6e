"""All forms by the name that model files give them. A new form is one class and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmodel.errors import InputError, nearest
from qmodel.service.forms import Affine, Form, MaxAffine
from qmodel.service.power_law import PowerLaw
from qmodel.service.sum_form import Sum
from qmodel.service.table_form import Table

FORMS: dict[str, Any] = {form.name: form for form in (Affine, MaxAffine, PowerLaw, Table, Sum)}


def form_from_json(data: Mapping[str, Any], place: str) -> Form:
    """Build the form that `data["form"]` names; raises InputError naming file and place."""
    name = str(data["form"])
    if name not in FORMS:
        raise InputError(f"{place}, form", f"'{name}' is unknown", nearest(name, list(FORMS)))
    form: Form = FORMS[name].from_json(data, place)
    return form
