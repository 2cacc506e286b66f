"""The picture of a learner's progress: `plot_progress(lessons())`, drawn from the table alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.plots import (
    GRID,
    INK,
    PAPER,
    SOFT_INK,
    figure_text,
    headline,
    house_style,
    new_figure,
    require_columns,
)

from .report import summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = {"done": "✔ done", "begun": "… begun", "open": "○ open"}
FILLED = "#555555"  # neither variant's colour


@house_style
def plot_progress(table: pd.DataFrame) -> Figure:
    """Two bars a lesson: self-check questions answered right, and points of its exercise, as shares of all.

    `table` is what `report.lessons()` returns. The numbers stand beside the bars, and each lesson's name says
    whether it is done. Raises ValueError for a table without the columns or without rows.
    """
    columns = ["lesson", "title", "questions", "questions_of", "points", "points_of", "state"]
    require_columns(table, columns, "report.lessons")
    fig, (left, right) = new_figure(1.2 + 0.36 * len(table), panels=2, sharey=True)
    _bars(left, table, "questions", "self-check questions answered right")
    _bars(right, table, "points", "points of the exercise")
    names = [f"{row.lesson} {row.title}\n{MARKS[row.state]}" for row in table.itertuples()]
    left.set_yticks(range(len(table)), [figure_text(name) for name in names], fontsize=8)
    left.invert_yaxis()
    finding = summary(table)
    headline(fig, finding)
    each = "; ".join(
        f"lesson {row.lesson} {row.state}, questions {row.questions} of {row.questions_of}, "
        f"points {row.points} of {row.points_of}"
        for row in table.itertuples()
    )
    fig.alt_text = f"{finding} Each lesson: {each}."
    return fig


def _bars(ax: Axes, table: pd.DataFrame, column: str, title: str) -> None:
    for i, (got, of) in enumerate(zip(table[column], table[f"{column}_of"], strict=True)):
        if of:
            ax.barh(i, 1, 0.5, color=PAPER, edgecolor=SOFT_INK, linewidth=0.8)
            ax.barh(i, got / of, 0.5, color=FILLED, hatch="////", edgecolor=PAPER, linewidth=0)
        ax.annotate(
            _said(column, got, of),
            (1 if of else 0, i),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    ax.set_title(title, fontsize=9.5, color=SOFT_INK)
    ax.set_xlim(0, 1.3)
    ax.set_xticks([])
    ax.tick_params(left=False)
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.axvline(0, color=GRID, linewidth=0.8)


def _said(what: str, got: int, of: int) -> str:
    return f"{got} of {of}" if of else {"questions": "no questions", "points": "no exercise"}[what]
