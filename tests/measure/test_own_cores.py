"""A target that is bound to cores of its own, in its profile and in the live runs of a study."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qmodel.live import LiveServer, server_of
from qmodel.measure.instructions import row_file, worker_of
from qmodel.measure.spec import ProfileSpec

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores to choose from",
)
LAST = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def spec(**measurement: object) -> ProfileSpec:
    target = {"kind": "digits-diffusion"}
    factors = {"batch_size": [1], "steps": [5]}
    return ProfileSpec.of({"name": "bound", "target": target, "factors": factors, "measurement": measurement})


@pytest.mark.parametrize("own", [True, None])
def test_the_process_of_the_target_stays_on_the_last_core_where_that_is_asked_for(
    own: bool | None, tmp_path: Path
) -> None:
    asked = spec(own_cores=own)
    worker = worker_of(asked, row_file(asked, tmp_path / "rows.csv"))
    try:
        worker.start()
        assert worker._process is not None
        assert (os.sched_getaffinity(worker._process.pid) == {LAST}) is bool(own)
    finally:
        worker.stop()


def test_a_spec_that_does_not_ask_is_the_measurement_that_it_was() -> None:
    assert "own_cores" not in spec().content()["measurement"]
    assert spec().fingerprint() != spec(own_cores=True).fingerprint()


def test_a_server_stays_on_the_cores_that_it_is_given() -> None:
    with server_of({"kind": "digits-diffusion"}, 1, {LAST}) as server:
        assert isinstance(server, LiveServer)
        server.engine()
        assert server.pid is not None
        assert os.sched_getaffinity(server.pid) == {LAST}
