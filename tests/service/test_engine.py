"""[system.engine]: what it derives, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from qmodel.errors import InputError
from qmodel.service.engine import Engine
from qmodel.service.pool import Pool, check_order


def test_the_pools_that_requests_pass() -> None:
    assert [pool.stages for pool in Engine().pipeline] == [("prefill", "decode")]
    first, second = Engine(
        prefill="separate", prefill_servers=3, transfer_s=0.5, transfer_tokens_per_s=8.0
    ).pipeline
    assert (first.stages, first.servers, first.moving_s(4)) == (("prefill",), 3, 1.0)
    assert second == Pool(("decode",))
    encoder = Engine(encode="separate", encode_servers=2, encode_transfer_s=0.25).pipeline[0]
    assert encoder.encodes_only
    assert (encoder.servers, encoder.moving_s(4)) == (2, 0.25)


def test_an_engine_alone_has_nothing_separate() -> None:
    engine = Engine(prefill="separate", prefill_servers=3, transfer_s=0.5, encode="separate", eviction="recompute")
    assert engine.alone == Engine()
    assert Engine(prefill="first", pools=(Pool(("prefill", "decode")),)).alone == Engine(prefill="first")


def test_pools_do_each_stage_once_and_in_order() -> None:
    check_order([Pool(("prefill",)), Pool(("decode",))])
    for wrong in ([], [Pool(("encode",))], [Pool(("prefill",)), Pool(("encode", "decode"))]):
        with pytest.raises(InputError, match="in this order, each once"):
            check_order(wrong)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"kv_block_tokens": 0}, "kv_block_tokens: 0 is below 1"),
        ({"prefill": "sepatate"}, "did you mean 'separate'"),
        ({"draft_s": -1.0}, "draft_s: -1.0 is out of range"),
        ({"power_w": float("nan")}, "power_w: nan is out of range"),
        ({"eviction": "swap", "swap_tokens_per_s": 0.0}, "nothing would ever arrive"),
        ({"eviction": "swap"}, "swapping needs its speed"),
        ({"speculative_tokens": 65}, "give 0 to 64"),
        ({"acceptance": 1.5}, "is no probability"),
        ({"transfer_s": 1.0}, "set prefill = 'separate'"),
        ({"encode_transfer_s": 1.0}, "set encode = 'separate'"),
        ({"idle_power_w": 50.0}, "power of a busy engine"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Engine(**given)
