"""How figures look: one mark a policy, apart for every eye, and files that repeat."""

import matplotlib as mpl
import pytest

from qmodel.report.style import (
    FAINT,
    INK,
    PALETTE,
    POLICY_ORDER,
    TEXT_WIDTH_INCHES,
    marks,
    new_figure,
    save_figure,
    style,
)


def test_a_policy_keeps_its_mark_whoever_is_beside_it():
    assert marks(["ps", "fcfs"])["fcfs"] == marks(["fcfs", "own:Policy", "srpt"])["fcfs"]
    named = marks(["own:A", *POLICY_ORDER[:4], "own:B"])
    assert len(set(named.values())) == 6


def test_more_series_than_marks_come_round_again():
    assert len(marks([f"p{i}" for i in range(20)])) == 20
    assert len(marks([*POLICY_ORDER, "own"])) == len(POLICY_ORDER) + 1


def luminance(color):
    """Relative luminance by WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_marks_differ_in_shape_as_well_as_colour_and_stand_out_from_paper():
    assert len({mark.marker for mark in PALETTE}) == len({mark.color for mark in PALETTE}) == len(PALETTE)
    assert all(1.05 / (luminance(mark.color) + 0.05) > 2.0 for mark in PALETTE)
    assert 1.05 / (luminance(INK) + 0.05) > 12
    assert 1.05 / (luminance(FAINT) + 0.05) > 3


def test_the_look_ends_with_its_block():
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["font.size"] == 7.5
        figure, panels = new_figure(2 / 3, 2.0, rows=1, columns=2)
        assert len(panels) == 2
        assert figure.get_size_inches() == pytest.approx([TEXT_WIDTH_INCHES * 2 / 3, 2.0])
    assert mpl.rcParams["font.size"] == before


def drawn(folder, name):
    with style():
        figure, (panel,) = new_figure(0.5, 1.5)
        panel.plot([0, 1], [0, 1], label="a")
        panel.set(xlabel="load ρ", ylabel="time (ms)")
        panel.legend()
        return save_figure(figure, folder / "figures" / name)


def test_the_same_figure_gives_the_same_files(tmp_path):
    first, second = drawn(tmp_path, "a.b"), drawn(tmp_path, "c")
    assert first.name == "a.b.png"
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".pdf").read_bytes() == second.with_suffix(".pdf").read_bytes()
    assert first.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert {path.name for path in first.parent.iterdir()} == {"a.b.png", "a.b.pdf", "c.png", "c.pdf"}
