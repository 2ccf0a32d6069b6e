"""Routing as it is spelled."""

from __future__ import annotations

import pytest

from qmodel.errors import InputError
from qmodel.policy.routing import KINDS, Routing


@pytest.mark.parametrize("text", [*KINDS, "jsq:2", "jsq:10"])
def test_spellings_go_both_ways(text):
    assert str(Routing.parse(text)) == text


@pytest.mark.parametrize("text", ["", "jsq:", "jsq:0", "random:2", "jsq:2:3", "round robin", "JSQ"])
def test_refused(text):
    with pytest.raises(InputError, match=r"system\.routing: .* is unknown; known: shared"):
        Routing.parse(text)
