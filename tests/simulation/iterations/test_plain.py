"""The loop without the compiler: every index is checked, and the results are the same bits."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import numba
import numpy as np
import pytest

from qmodel.simulation.iterations import pools
from tests.simulation.iterations.cases import case

PACKAGE = "qmodel.simulation"


@pytest.fixture(scope="module")
def plain() -> Iterator[ModuleType]:
    """`pools` on loops that are not compiled."""
    own = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGE)}
    for name in own:
        del sys.modules[name]
    numba.config.DISABLE_JIT = True
    try:
        uncompiled = importlib.import_module("qmodel.simulation.iterations.pools")
    finally:
        numba.config.DISABLE_JIT = False
    try:
        yield uncompiled
    finally:
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]
        sys.modules.update(own)
        sys.modules["qmodel"].simulation = own[PACKAGE]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(40))
def test_plain_and_compiled_loops_give_the_same_bits(plain: ModuleType, seed: int) -> None:
    requests, policy, rules = case(seed, most=16)
    ours, totals = pools.collected(requests, policy, rules, seed=seed)
    theirs, counted = plain.collected(requests, policy, rules, seed=seed)
    for name, column in vars(ours).items():
        np.testing.assert_allclose(column, getattr(theirs, name), rtol=1e-12, err_msg=name)
    assert totals.iterations == counted.iterations and totals.computed == counted.computed
