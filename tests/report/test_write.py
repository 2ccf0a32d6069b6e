"""The report's files: all of them or a reason, and never half of one."""

import pytest

from qmodel.errors import InputError
from qmodel.files import replacing, write_atomically
from qmodel.report.write import write_report
from tests.report.sample import draw_figure, sample


def test_a_report_is_three_files(tmp_path):
    pytest.importorskip("typst")
    draw_figure(tmp_path)
    written = write_report(sample(), tmp_path)
    assert [path.name for path in written.paths] == ["report.md", "report.tex", "report.pdf"]
    assert all(path.stat().st_size > 1000 for path in written.paths)
    assert written.missing == ""
    assert {path.name for path in tmp_path.iterdir()} == {"figures", "report.md", "report.tex", "report.pdf"}


def test_without_typst_the_others_are_written_and_the_lack_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "typst", None)
    draw_figure(tmp_path)
    written = write_report(sample(), tmp_path, "proposal")
    assert [path.name for path in written.paths] == ["proposal.md", "proposal.tex"]
    assert "pip install 'qmodel[pdf]'" in written.missing


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_missing_figure_is_named_before_anything_is_written(tmp_path, suffix):
    draw_figure(tmp_path)
    (tmp_path / "figures" / f"latency.{suffix}").unlink()
    with pytest.raises(InputError, match=rf"figure 'fig:latency': .*latency\.{suffix} is missing"):
        write_report(sample(), tmp_path)
    assert not (tmp_path / "report.md").exists()


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path):
    path = write_atomically(tmp_path / "new" / "a.txt", "one\n")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == b"one\n"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
