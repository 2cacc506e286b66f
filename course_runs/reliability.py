"""Reliability diagrams: how sure a model is, against how often it is right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from course_utils.evaluate import panels
from course_utils.evaluate.stats import wilson
from course_utils.plots import house

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@house.house_style
def plot_reliability(df: pd.DataFrame, bins: int = 5, finding: str | None = None) -> Figure:
    """Reliability diagrams: how often a model is right, against how sure it says it is.

    `df` has a row for each answered question, with the columns variant, form (of the question; a row of panels for
    each), confidence (the probability of the option chosen, 0 to 1) and right (bool). Each point is one of `bins`
    equally wide bins of confidence: its mean confidence, its share of right answers with the 95 % Wilson interval,
    and an area that grows with its number of answers. On the diagonal confidence and rightness agree.
    Source: M. DeGroot and S. Fienberg, The Statistician 32 (1983), 12-22.
    """
    columns = ["variant", "form", "confidence", "right"]
    house.require_columns(df, columns, "a table of answers with their confidence")
    variants, forms = list(dict.fromkeys(df["variant"])), list(dict.fromkeys(df["form"]))
    fig, axes = house.new_figure(
        0.9 + 1.75 * len(forms), len(variants), rows=len(forms), sharex=True, sharey=True
    )
    told = []
    for number, ax in enumerate(axes):
        form, name = forms[number // len(variants)], variants[number % len(variants)]
        part = df[(df["variant"] == name) & (df["form"] == form)]
        ax.plot([0, 1], [0, 1], color=house.GRID, linewidth=1.2, zorder=0)
        _draw_bins(ax, part, bins, str(name))
        mean, share = float(part["confidence"].mean()), float(part["right"].mean())
        ax.set_title(
            house.figure_text(f"{name}\nsure {mean:.0%}, right {share:.0%}"), fontsize=8, color=house.INK
        )
        told.append(f"{name}, {form}: sure {mean:.0%}, right {share:.0%}")
        ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        ax.set_xticks([0, 0.5, 1], ["0", "50%", "100%"], fontsize=7.5)
        ax.set_yticks([0, 0.5, 1], ["0", "50%", "100%"], fontsize=7.5)
        if number % len(variants) == 0:
            ax.set_ylabel(house.figure_text(f"{form}\nshare right"), fontsize=8.5)
    fig.supxlabel("confidence: the model’s probability of the option it chose", fontsize=9)
    house.headline(fig, finding or "Below the diagonal: more sure than right")
    fig.alt_text = (f"{finding}. " if finding else "") + "; ".join(told) + "."
    return fig


def _draw_bins(ax: Axes, part: pd.DataFrame, bins: int, name: str) -> None:
    """One point for each bin that holds an answer; confidence 1 belongs to the last bin."""
    cut = (part["confidence"] * bins).astype(int).clip(upper=bins - 1)
    for _, some in part.groupby(cut):
        sure, right = float(some["confidence"].mean()), float(some["right"].mean())
        low, high = wilson(int(some["right"].sum()), len(some))
        size = 3 + 5 * math.sqrt(len(some) / len(part))
        looks = {"linestyle": "-", "markersize": size, "elinewidth": 1.1, "clip_on": False}
        panels.interval_marks(ax, sure, right, low, high, house.variant_style(name), along="y", **looks)
