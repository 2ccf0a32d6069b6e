"""Quality beside time, of both kinds of early exit."""

from __future__ import annotations

import pytest

from qmodel.errors import InputError
from qmodel.measure.exit_quality import exits_by_confidence, held_out_text, quality_by_tolerance


@pytest.mark.torch
def test_the_more_sure_the_later_and_the_better():
    pytest.importorskip("transformers")
    table = exits_by_confidence([2.0, 0.5, 1e-9], prompts=2)
    assert table.delivery.tolist() == ["release", "stop"] * 3
    whole, half, none = (table[table.confidence == each].set_index("delivery") for each in (2.0, 0.5, 1e-9))
    assert whole.agreement.tolist() == [1.0, 1.0]
    assert (whole.mean_layer == 8).all()
    assert (none.mean_layer == 1).all()
    assert 1 < half.mean_layer.iloc[0] < 8
    assert whole.nats_per_token.iloc[0] < none.nats_per_token.iloc[0]
    assert (none.agreement < 1).all()
    assert (table.occupied_s >= table.token_s).all()


def test_the_text_is_that_of_one_python():
    with pytest.raises(InputError, match="Python 9"):
        held_out_text({"corpus_sha256": "0", "corpus": "of Python 9"})


def test_digits_that_end_early():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("sklearn")
    table = quality_by_tolerance([0.0, 0.1], steps=8, images=30)
    assert table.mean_steps.iloc[0] == 8
    assert 2 <= table.mean_steps.iloc[1] < 8
    assert table.images.tolist() == [30, 30]
