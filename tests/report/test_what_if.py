"""The figure of a what-if question."""

import pytest

from qmodel.answer import Answer, ClassAnswer, PolicyAnswer, unstable
from qmodel.errors import InputError
from qmodel.report.what_if import alpha_of, latency_against_rate, plot_answer


def result(policy, rate, classes=("all",), tails=True):
    parts = []
    for i, name in enumerate(classes):
        mean = (1 + i) / (1 - rate)
        metrics = {"mean_response_s": mean} | (
            {"p50_response_s": 0.7 * mean, "p99_response_s": 4 * mean} if tails else {}
        )
        parts.append(ClassAnswer(name, rate, metrics))
    return PolicyAnswer(policy, rate, "exact", "a result", rate, parts)


def answer(*results):
    return Answer("", list(results))


def test_lines_are_the_answer_in_the_unit_of_the_axis():
    figure = latency_against_rate(answer(*(result("fcfs", rate) for rate in (0.8, 0.2, 0.5))))
    (panel,) = figure.axes
    median, tail, mean = panel.lines
    assert mean.get_xdata() == pytest.approx([0.2, 0.5, 0.8])
    assert mean.get_ydata() == pytest.approx([1.25, 2.0, 5.0])
    assert tail.get_ydata() == pytest.approx([5.0, 8.0, 20.0])
    assert median.get_alpha() > tail.get_alpha()
    assert mean.get_alpha() is None
    assert panel.get_ylabel() == "response time (s)"


def test_one_panel_a_class_and_one_colour_a_policy():
    classes = ("all", "a", "b")
    figure = latency_against_rate(answer(*(result(p, r, classes) for p in ("fcfs", "ps") for r in (0.2, 0.5))))
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["All requests", "Class a", "Class b"]
    assert len({line.get_color() for line in figure.axes[0].lines}) == 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["FCFS", "processor sharing", "mean", "p50", "p99"]


def test_a_single_class_is_all_requests_and_many_take_rows():
    assert len(latency_against_rate(answer(result("fcfs", 0.5, ("all", "a")))).axes) == 1
    assert len(latency_against_rate(answer(result("fcfs", 0.5, ("all", "a", "b", "c", "d")))).axes) == 5


def test_lines_end_where_the_queue_is_unstable():
    figure = latency_against_rate(answer(result("fcfs", 0.5, tails=False), unstable("fcfs", 1.5, 1.5, {"a": 1.5})))
    (line,) = figure.axes[0].lines
    assert line.get_xdata() == pytest.approx([0.5])


def test_an_answer_without_a_stable_queue_cannot_be_drawn():
    with pytest.raises(InputError, match="no queue of this answer is stable"):
        latency_against_rate(answer(unstable("fcfs", 1.5, 1.5, {"a": 1.5})))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_files_by_suffix_with_the_same_bytes_again(tmp_path, suffix):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, second):
        plot_answer(answer(result("fcfs", 0.5)), path)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix.lower()]
    assert first.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_another_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"'.jpg' is no picture; write to .png, .svg or .pdf"):
        plot_answer(answer(result("fcfs", 0.5)), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_percentiles_are_lighter_the_further_out():
    tails = ["p50_response_s", "p95_response_s", "p99_response_s"]
    assert [alpha_of(name, tails) for name in tails] == pytest.approx([0.6, 0.425, 0.25])
