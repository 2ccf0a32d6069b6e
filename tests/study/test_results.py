"""The results folder: what is written comes back as it was."""

import hashlib
import math

import pandas as pd
import pytest

from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.study.plan import Setting
from qmodel.study.results import Results


def test_predictions_come_back_and_carry_their_hash(tmp_path):
    results = Results(tmp_path)
    setting = Setting("fcfs", "none", 0.5)
    answer = PolicyAnswer("fcfs", 0.5, "exact", "M/M/1", 0.5, [ClassAnswer("all", 0.5, {"mean_response_s": 2.0})])
    digest = results.save_predictions({setting: answer}, {setting: "abc"})
    assert results.read_predictions() == {setting: answer}
    assert digest == results.predictions_hash() == hashlib.sha256(results.predictions.read_bytes()).hexdigest()


def test_tables_keep_the_exit_setting_called_none(tmp_path):
    results = Results(tmp_path)
    results.write_table("ladder", pd.DataFrame({"exit": ["none", "queue-threshold"], "low": [1.0, math.nan]}))
    back = results.read_table("ladder")
    assert back.exit.tolist() == ["none", "queue-threshold"]
    assert math.isnan(back.low[1])


def test_a_missing_table_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="run the study first"):
        Results(tmp_path).read_table("ladder")


def test_state_of_a_new_study_is_empty(tmp_path):
    results = Results(tmp_path / "new")
    assert results.read_state() == {}
    results.write_state({"plan": "x", "stages": {}})
    assert results.read_state() == {"plan": "x", "stages": {}}
