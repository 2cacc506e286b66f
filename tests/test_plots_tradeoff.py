"""What a training buys and pays, drawn: each run keeps its own line, and the sentence says what the figure shows."""

import math
import warnings

import pandas as pd
import pytest
from matplotlib.text import Text

from course_runs.reliability import plot_reliability
from course_runs.runs_plot import plot_runs, runs_table
from course_utils.plots import alt_text


@pytest.fixture(autouse=True)
def no_warning():
    """A missing glyph, an empty axis or a layout that does not fit would be a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def runs(**columns) -> pd.DataFrame:
    rows = [
        {"run": run, "x": x, "measure": measure, "value": slope * x}
        for run, slope in (("gentle", 0.1), ("pushed", 1.0))
        for measure in ("reward", "right answers")
        for x in (0, 1, 2, 4)
    ]
    return pd.DataFrame(rows).assign(**columns)


def answers(right=(True, True, False, True)) -> pd.DataFrame:
    return pd.DataFrame(
        {"variant": "sft", "form": "one word", "confidence": [0.95, 0.9, 0.5, 1.0], "right": right}
    )


def test_each_measure_has_a_panel_and_each_run_a_line_with_its_own_values():
    fig = plot_runs(runs(), "step")
    panels = [ax for ax in fig.axes if ax.lines]
    assert [ax.get_title(loc="left") for ax in panels] == ["reward", "right answers"]
    assert [list(line.get_ydata()) for line in panels[0].lines] == [
        [0, 0.1, 0.2, 0.4],
        [0, 1.0, 2.0, 4.0],
    ]


def test_lines_differ_by_more_than_colour():
    lines = plot_runs(runs(), "step").axes[0].lines
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert lines[0].get_marker() != lines[1].get_marker()


def test_the_sentence_says_where_every_run_began_and_ended():
    assert "pushed: reward 0.00 → 4.00, right answers 0.00 → 4.00" in alt_text(plot_runs(runs(), "step"))


@pytest.mark.parametrize("number_of_runs", [2, 4])
def test_the_legend_leaves_the_axis_label_free(number_of_runs):
    table = pd.concat([runs(run=f"run {i}") for i in range(number_of_runs)])
    fig = plot_runs(table, "KL from sft (nats per answer)")
    fig.draw_without_rendering()
    (label,) = [t for t in fig.findobj(Text) if t.get_text().startswith("KL from sft")]
    words = label.get_window_extent()
    line = (words.y1 - words.y0) / len(label.get_text().split("\n"))  # empty lines below keep the room
    assert fig.legends[0].get_window_extent().y1 <= words.y1 - line
    assert words.y1 <= min(ax.get_window_extent().y0 for ax in fig.axes if ax.lines)


def test_missing_values_are_left_out_and_do_not_break_a_line():
    table = runs()
    table.loc[1, "value"] = math.nan
    assert list(plot_runs(table, "step").axes[0].lines[0].get_xdata()) == [0, 2, 4]


@pytest.mark.parametrize("scale", ["linear", "sqrt", "log2"])
def test_every_scale_can_be_drawn(scale):
    table = runs()
    plot_runs(table[table["x"] > 0], "n", scale=scale)._repr_mimebundle_()


def test_intervals_are_drawn_where_they_are_given():
    table = runs()
    fig = plot_runs(table.assign(low=table["value"] - 1, high=table["value"] + 1), "step")
    assert len(fig.axes[0].collections) == 2


def test_panels_that_are_to_be_compared_have_one_vertical_axis():
    table = runs()
    table.loc[table["measure"] == "reward", "value"] *= 3
    reward, right = plot_runs(table, "step", alike=[("reward", "right answers")]).axes[:2]
    assert reward.get_ylim() == right.get_ylim()
    reward, right = plot_runs(table, "step").axes[:2]
    assert reward.get_ylim() != right.get_ylim()


def test_a_history_becomes_a_table_without_its_gaps_and_smoothed_if_wished():
    history = pd.DataFrame({"step": [0, 1, 2, 3], "reward": [math.nan, 1.0, 3.0, 5.0], "kl": [0.0, 0, 0, 1]})
    table = runs_table({"mine": history}, {"reward": "score"}, smooth=2)
    assert list(table["x"]) == [1, 2, 3] and list(table["value"]) == [1.0, 2.0, 4.0]
    assert set(table["run"]) == {"mine"} and set(table["measure"]) == {"score"}


def test_a_scale_or_a_table_that_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="scale must be 'linear', 'sqrt' or 'log2', got 'log'"):
        plot_runs(runs(), "step", scale="log")
    with pytest.raises(ValueError, match="lacks the column value"):
        plot_runs(runs().drop(columns="value"), "step")


def test_a_reliability_point_stands_at_its_bins_mean_confidence_and_share_right():
    (ax,) = plot_reliability(answers(), bins=2).axes
    points = [line for line in ax.lines if line.get_marker() not in ("None", "", "_", "|")]
    (sure,), (right,) = points[-1].get_data()
    assert sure == pytest.approx((0.95 + 0.9 + 0.5 + 1.0) / 4)
    assert right == pytest.approx(0.75)


def test_confidence_one_belongs_to_the_last_bin():
    (ax,) = plot_reliability(answers(), bins=10).axes
    points = [line for line in ax.lines if line.get_marker() not in ("None", "", "_", "|")]
    assert sorted(round(float(line.get_xdata()[0]), 3) for line in points) == [0.5, 0.95]


def test_the_reliability_sentence_compares_being_sure_with_being_right():
    assert "sft, one word: sure 84%, right 75%" in alt_text(plot_reliability(answers()))
