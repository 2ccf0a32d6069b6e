"""The study's figures: what is drawn is what the frames say, in the unit the axis names, inside the page."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from qmodel.errors import InputError
from qmodel.report import figures
from qmodel.report.figures import panels as shared
from qmodel.report.figures.arrivals import dispersion
from qmodel.report.figures.ladder import RUNGS
from qmodel.report.style import PALETTE, TEXT_WIDTH_INCHES
from tests.report import frames

COMPARISON = frames.comparison()
RUN = COMPARISON[(COMPARISON.policy == "fcfs") & (COMPARISON.exit == "none") & (COMPARISON.load == 0.7)]
STEPS = {"preview": 6, "gallery, fewer": 8}

DRAWN = {
    "latency": lambda: figures.latency_against_load(COMPARISON),
    "policies": lambda: figures.policies_against_load(COMPARISON),
    "scatter": lambda: figures.predicted_against_measured(COMPARISON),
    "errors": lambda: figures.relative_errors(COMPARISON),
    "ladder": lambda: figures.gap_ladder(frames.ladder(), "fcfs"),
    "improvement": lambda: figures.improvements(frames.improvement(), quality_name="agreement"),
    "slo": lambda: figures.improvements(frames.improvement(), "capacity", "equal SLO"),
    "quality": lambda: figures.quality_against_steps(frames.quality(), frames.latency_by_steps(), STEPS),
    "responses": lambda: figures.response_times(frames.responses(), RUN),
    "service": lambda: figures.service_times(frames.profile(), frames.fitted, "steps", "batch_size"),
    "arrivals": lambda: figures.arrivals_against_poisson(frames.arrivals()),
}


@pytest.fixture(scope="module", params=list(DRAWN))
def drawn(request):
    figure = DRAWN[request.param]()
    FigureCanvasAgg(figure).draw()
    return figure


def test_nothing_leaves_the_page(drawn):
    box, page = drawn.get_tightbbox(), drawn.get_size_inches()
    assert box.x0 > -0.02
    assert box.y0 > -0.02
    assert box.x1 < page[0] + 0.02
    assert box.y1 < page[1] + 0.02
    assert page[0] <= TEXT_WIDTH_INCHES + 1e-9


def test_no_two_tick_labels_of_an_axis_overlap(drawn):
    for panel in drawn.axes:
        for axis in (panel.xaxis, panel.yaxis):
            boxes = [t.get_window_extent() for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
            inside = [b for b in boxes if panel.bbox.x0 - 90 < b.x0 < panel.bbox.x1 and b.y0 < panel.bbox.y1]
            for i, first in enumerate(inside):
                assert not any(first.overlaps(other) for other in inside[i + 1 :])


def test_text_is_large_enough_to_read_in_print(drawn):
    from matplotlib.text import Text

    assert min(t.get_fontsize() for t in drawn.findobj(Text) if t.get_text()) >= 6


def test_every_panel_names_its_axes_or_shares_them(drawn):
    for panel in drawn.axes:
        named = panel.get_xlabel() or drawn.get_supxlabel()
        shares = any(other.get_xlabel() for other in panel.get_shared_x_axes().get_siblings(panel))
        assert named or shares or "%" in panel.get_title(loc="left")


def texts_of_legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def title(panel):
    return panel.get_title(loc="left")


def test_lines_are_the_predictions_in_the_unit_of_the_axis():
    figure = figures.latency_against_load(COMPARISON, policies=["fcfs", "ps"], classes=["preview"])
    fcfs = figure.axes[0]
    assert [title(panel) for panel in figure.axes] == ["FCFS", "Processor\nsharing"]
    assert fcfs.get_ylabel() == "class preview\nresponse time (ms)"
    rows = COMPARISON[
        (COMPARISON.policy == "fcfs") & (COMPARISON.exit == "none") & (COMPARISON["class"] == "preview")
    ]
    mean = rows[rows.metric == "mean_response_s"].sort_values("load")
    line = next(line for line in fcfs.lines if line.get_color() == shared.METRICS["mean_response_s"].color)
    assert line.get_xdata() == pytest.approx(mean.load)
    assert line.get_ydata() == pytest.approx(1e3 * mean.predicted)


def test_points_are_hollow_where_the_interval_misses_the_prediction():
    frame = RUN[RUN.metric == "mean_response_s"].assign(inside=[True, False, None])
    figure = figures.policies_against_load(frame, classes=["all", "preview", "gallery"])
    faces = [
        [
            line.get_markerfacecolor()
            for line in panel.lines
            if line.get_marker() == PALETTE[0].marker and len(line.get_xdata())
        ]
        for panel in figure.axes
    ]
    assert faces == [[PALETTE[0].color], ["white"], [PALETTE[0].color]]
    assert [title(panel) for panel in figure.axes] == ["all requests", "class preview", "class gallery"]
    assert {"prediction outside", "no interval"} <= set(texts_of_legend(figure))
    fillings = [
        line.get_fillstyle()
        for panel in figure.axes
        for line in panel.lines
        if line.get_marker() == PALETTE[0].marker and len(line.get_xdata())
    ]
    assert fillings == ["full", "full", "left"]  # nothing was judged in the last: neither full nor hollow


def test_a_prediction_that_is_not_exact_is_drawn_broken_and_explained():
    exact = figures.policies_against_load(COMPARISON)
    assert "predicted, not exact" not in texts_of_legend(exact)
    simulated = COMPARISON.assign(predicted_method="simulation")
    figure = figures.policies_against_load(simulated)
    assert "predicted, not exact" in texts_of_legend(figure)
    assert all(
        line.is_dashed()
        for line in figure.axes[0].lines
        if len(line.get_xdata()) > 1 and line.get_marker() == "None"
    )


def test_rows_without_a_measurement_only_carry_the_line():
    unmeasured = COMPARISON.assign(measured=np.nan, low=np.nan, high=np.nan, inside=None)
    figure = figures.policies_against_load(unmeasured)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert all(np.isnan(line.get_ydata()).all() for line in drawn)


def test_settings_that_the_study_does_not_have_are_named():
    with pytest.raises(InputError, match=r"figure: no rows with .*exit = other"):
        figures.latency_against_load(COMPARISON, "other")
    with pytest.raises(InputError, match="policy = srpt"):
        figures.gap_ladder(frames.ladder(), "srpt")


def errorbar_of(panel, color):
    return next(c for c in panel.containers if c.lines[0] is not None and c.lines[0].get_color() == color)


def test_relative_errors_and_their_intervals():
    frame = RUN[(RUN.metric == "mean_response_s") & (RUN["class"] == "all")].assign(
        predicted=0.011, measured=0.010, low=0.0088, high=0.011
    )
    figure = figures.relative_errors(frame, metrics=["mean_response_s"])
    line, _, (bars,) = errorbar_of(figure.axes[0], "#1a1a1a").lines
    assert line.get_xdata() == pytest.approx([10.0])
    assert bars.get_segments()[0][:, 0] == pytest.approx([0.0, 25.0])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["load 0.7", "FCFS"]


def test_the_scatter_has_all_that_was_measured():
    figure = figures.predicted_against_measured(COMPARISON, ["mean_response_s"])
    points = [len(c.lines[0].get_xdata()) for c in figure.axes[0].containers]
    assert sum(points) == (COMPARISON.metric == "mean_response_s").sum()
    assert figure.axes[0].get_xlim() == figure.axes[0].get_ylim()


def test_the_ladder_steps_from_rung_to_rung():
    figure = figures.gap_ladder(frames.ladder(), "fcfs", class_name="gallery")
    panel = figure.axes[-1]
    assert title(panel) == "load 0.85"
    rungs = (
        frames.ladder()
        .query("policy == 'fcfs' and `class` == 'gallery' and load == 0.85")
        .mean_response_s.to_numpy()
    )
    bars = [(patch.get_x(), patch.get_width()) for patch in panel.patches]
    assert [start + width for start, width in bars] == pytest.approx(1e3 * rungs[1:])
    assert [start for start, _ in bars] == pytest.approx(1e3 * rungs[:-1])
    changes = [text.get_text() for text in panel.texts]
    assert changes == [f"{100 * (b - a) / rungs[0]:+.1f} %".replace("-", "−") for a, b in pairwise(rungs)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(RUNGS.values())


def test_a_ladder_with_a_rung_missing_leaves_a_gap():
    rows = frames.ladder()
    short = rows[(rows.policy == "fcfs") & (rows.load == 0.5)].copy()
    short.loc[short.rung == "fitted services", ["mean_response_s", "low", "high"]] = np.nan
    figure = figures.gap_ladder(short, "fcfs")
    assert len(figure.axes[0].patches) == 2


def test_improvements_are_hollow_where_their_sign_is_not_certain():
    frame = (
        frames.improvement()
        .query("load == 0.7 and policy == 'ps'")
        .assign(improvement_percent=[5.0, 6.0, 7.0], low=[1.0, -1.0, -np.inf], high=[9.0, 13.0, np.inf])
    )
    figure = figures.improvements(frame)
    faces = {
        line.get_color(): line.get_markerfacecolor()
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 1 and line.get_marker() in "oDs"
    }
    colors = [mark.color for mark in shared.class_marks(["all", "preview", "gallery"]).values()]
    assert faces == {colors[0]: colors[0], colors[1]: "white", colors[2]: colors[2]}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["processor sharing"]


def test_quality_stands_beside_the_improvement():
    figure = figures.improvements(frames.improvement(), quality_name="agreement")
    panel = figure.axes[-1]
    assert title(panel) == "agreement (%)"
    assert [text.get_text() for text in panel.texts][:4] == ["96.2", "96.2", "96.2", "89.7"]
    assert panel.texts[4].get_text() == "92.5–93.6"
    assert "improvement of mean response time over FCFS (%)" in figure.get_supxlabel()
    plain = figures.improvements(frames.improvement(), quality_name="distance", quality_unit="")
    assert title(plain.axes[-1]) == "distance"
    assert plain.axes[-1].texts[3].get_text() == "0.897"


def test_without_quality_there_is_no_panel_for_it():
    without = figures.improvements(frames.improvement().assign(quality=np.nan, baseline_quality=np.nan))
    assert [title(panel) for panel in without.axes] == ["load 0.3", "load 0.5", "load 0.7", "load 0.85"]
    assert not any("quality" in text for text in texts_of_legend(without))


def test_improvements_far_below_zero_stand_at_the_edge_with_their_number():
    frame = frames.improvement().query("load == 0.7 and policy == 'ps'")
    frame = frame.assign(improvement_percent=[-812.4, 6.0, 7.0], low=-900.0, high=20.0)
    panel = figures.improvements(frame).axes[0]
    assert [text.get_text() for text in panel.texts] == ["◂ −812"]
    assert panel.get_xlim()[0] > -170


def test_quality_against_steps_shows_the_settings_in_use():
    figure = DRAWN["quality"]()
    agreement, distance, latency = figure.axes
    assert {text.get_text() for text in agreement.texts} == {"preview", "gallery, fewer", "real images"}
    assert latency.get_ylabel() == "service time (ms)"
    assert distance.lines[0].get_ydata() == pytest.approx(frames.quality().frechet_distance)
    plain = figures.quality_against_steps(frames.quality(), frames.latency_by_steps()[["steps", "latency_s"]])
    assert plain.axes[2].lines[0].get_ydata() == pytest.approx(1e3 * frames.latency_by_steps().latency_s)


def test_percentiles_stand_at_their_share():
    figure = DRAWN["responses"]()
    rows = RUN[(RUN["class"] == "preview") & (RUN.metric == "p95_response_s")]
    diamonds = [line for line in figure.axes[1].lines if line.get_marker() == "D"]
    spots = np.concatenate([np.column_stack(line.get_data()) for line in diamonds])
    wanted = [1e3 * rows.predicted.iloc[0], 5.0]
    assert np.isclose(spots, wanted).all(axis=1).sum() == 1


def test_the_curve_is_the_empirical_distribution():
    figure = figures.response_times({"all": [0.3, 0.1, 0.2]}, RUN.assign(**{"class": "all"}).iloc[:4])
    curve = figure.axes[0].lines[0]
    assert curve.get_xdata() == pytest.approx([100, 200, 300])
    assert curve.get_ydata() == pytest.approx([100 / 3, 200 / 3, 100])


def test_dispersion_is_one_for_poisson_and_more_for_bursts():
    lengths, index, low, high = dispersion(frames.arrivals())
    assert (np.diff(lengths) > 0).all()
    assert np.mean((low <= index) & (index <= high)) > 0.7
    assert high[0] == pytest.approx(stats.chi2.ppf(0.975, 749) / 749)
    bursts = np.repeat(frames.arrivals(n=300), 5) + np.tile(np.arange(5) * 1e-6, 300)
    assert np.median(dispersion(bursts)[1]) > 4


def test_few_arrivals_make_no_figure():
    with pytest.raises(InputError, match="19 are too few"):
        figures.arrivals_against_poisson(np.arange(19))


def test_residuals_of_the_fit_are_relative():
    rows = pd.DataFrame({"steps": [5, 5, 10, 10], "batch_size": 1, "latency_s": [0.011, 0.011, 0.018, 0.018]})
    figure = figures.service_times(rows, lambda cells: 0.002 * cells.steps.to_numpy(float), "steps", "batch_size")
    residuals = errorbar_of(figure.axes[1], figure.axes[1].containers[0].lines[0].get_color()).lines[0]
    assert residuals.get_ydata() == pytest.approx([10.0, -10.0])
    assert figure.axes[0].get_ylabel() == "latency (ms)"


def test_a_picture_is_saved_at_the_width_it_was_drawn_for(tmp_path):
    block = figures.picture(tmp_path, "latency", DRAWN["policies"](), "A caption.", "Two panels")
    assert (block.label, block.path, block.width) == ("fig:latency", "figures/latency.png", 1.0)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"latency.png", "latency.pdf"}
    narrow = figures.picture(tmp_path, "one", figures.policies_against_load(COMPARISON, classes=["all"]), "c", "a")
    assert narrow.width == 0.68


def test_many_loads_get_round_ticks():
    many = pd.concat([COMPARISON.assign(load=COMPARISON.load + shift) for shift in (0, 0.05, 0.1)])
    figure = figures.policies_against_load(many)
    assert len(figure.axes[0].get_xticks()) != many.load.nunique()


def test_ticks_are_plain_numbers():
    assert [shared.plain_tick(v) for v in (0.05, 0.5, 1.5, 20, 1000)] == ["0.05", "0.5", "1.5", "20", "1,000"]
    assert [shared.signed_tick(v) for v in (-5, 0, 2.5)] == ["−5", "0", "+2.5"]
