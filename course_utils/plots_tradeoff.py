"""Figures of what a training buys and what it pays: several measures of several runs, and reliability diagrams.

In the house style of `plots.py`; knows no model.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from .plots import (
    DOTS_PER_INCH,
    GRID,
    INK,
    PAPER,
    VARIANT_STYLES,
    WIDTH_INCHES,
    _figure_class,
    _headline,
    _house_style,
    _needs,
    figure_text,
    variant_style,
)
from .stats import wilson

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")


@_house_style
def plot_runs(
    df: pd.DataFrame, xlabel: str, scale: str = "linear", finding: str | None = None, per_row: int = 4
) -> Figure:
    """Measures of one or several runs along x, a panel for each measure and a line for each run.

    `df` has the columns run, x, measure and value, and, where an interval is known, low and high. `scale` of the
    x axis is "linear", "sqrt" (usual for KL divergences) or "log2". The title says how each run's measures ended,
    unless `finding` is given. Raises ValueError for an unknown scale or a table without rows.
    """
    _needs(df, ["run", "x", "measure", "value"], "a table of measures along a run")
    if scale not in ("linear", "sqrt", "log2"):
        raise ValueError(f"scale must be 'linear', 'sqrt' or 'log2', got {scale!r}.")
    df = df.dropna(subset=["x", "value"])
    measures, runs = list(dict.fromkeys(df["measure"])), list(dict.fromkeys(df["run"]))
    wide = min(per_row, len(measures))
    high = math.ceil(len(measures) / wide)
    fig = _figure_class()(
        figsize=(WIDTH_INCHES, 0.9 + 2.1 * high), dpi=DOTS_PER_INCH, layout="constrained", facecolor=PAPER
    )
    axes = fig.subplots(high, wide, squeeze=False).ravel()
    for ax in axes[len(measures) :]:
        ax.axis("off")
    styles = list(VARIANT_STYLES.values())
    for ax, measure in zip(axes, measures, strict=False):
        panel = df[df["measure"] == measure]
        for number, run in enumerate(runs):
            part, style = panel[panel["run"] == run].sort_values("x"), styles[number % len(styles)]
            marker = style.marker if len(part) <= 20 else ""
            ax.plot(
                part["x"], part["value"], color=style.color, marker=marker, markersize=4, linewidth=1.5,
                linestyle=_LINES[number % 4], label=figure_text(str(run)),
            )  # fmt: skip
            if {"low", "high"} <= set(part.columns):
                low, top = part["low"].astype(float), part["high"].astype(float)
                ax.fill_between(part["x"], low, top, color=style.color, alpha=0.15, linewidth=0)
        if scale == "log2":
            ax.set_xscale("log", base=2)
            places = sorted(set(panel["x"]))
            ax.set_xticks(places, [f"{x:g}" for x in places])
            ax.minorticks_off()
        elif scale == "sqrt":
            # A mean can come out a hair below 0; the axis begins at 0 all the same.
            ax.set_xscale("function", functions=(_signed_root, _signed_square))
            ax.set_xlim(left=0)
        ax.set_title(figure_text("\n".join(textwrap.wrap(str(measure), 30))), fontsize=9, color=INK)
        ax.tick_params(labelsize=8)
        ax.grid(True)
    fig.supxlabel(xlabel + ("\n " if len(runs) > 1 else ""), fontsize=9)  # a line for the legend
    if len(runs) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower right", ncols=min(4, len(runs)))
    ends = _ends(df, measures, runs)
    _headline(fig, finding or ends)
    fig.alt_text = f"{finding}. {ends}." if finding else f"{ends}."
    return fig


def _signed_root(x: Any) -> Any:
    import numpy as np

    return np.sign(x) * np.sqrt(np.abs(x))


def _signed_square(x: Any) -> Any:
    import numpy as np

    return np.sign(x) * np.square(x)


def _ends(df: pd.DataFrame, measures: list, runs: list) -> str:
    """Where each run's measures began and ended, in words."""
    told = []
    for run in runs:
        parts = []
        for measure in measures:
            values = df[(df["run"] == run) & (df["measure"] == measure)].sort_values("x")["value"]
            if len(values):
                parts.append(f"{measure} {values.iloc[0]:.2f} → {values.iloc[-1]:.2f}")
        told.append((f"{run}: " if len(runs) > 1 else "") + ", ".join(parts))
    return "; ".join(told)


@_house_style
def plot_reliability(df: pd.DataFrame, bins: int = 5, finding: str | None = None) -> Figure:
    """Reliability diagrams: how often a model is right when it says that it is so-and-so sure.

    `df` has a row for each answered question, with the columns variant, form (of the question; a row of panels for
    each), confidence (the probability of the option chosen, 0 to 1) and right (bool). Each point is one of `bins`
    equally wide bins of confidence: its mean confidence, its share of right answers with the 95 % Wilson interval,
    and an area that grows with its number of answers. On the diagonal confidence and rightness agree.
    Source: M. DeGroot and S. Fienberg, The Statistician 32 (1983), 12-22.
    """
    _needs(df, ["variant", "form", "confidence", "right"], "a table of answers with their confidence")
    variants, forms = list(dict.fromkeys(df["variant"])), list(dict.fromkeys(df["form"]))
    fig = _figure_class()(
        figsize=(WIDTH_INCHES, 0.9 + 1.75 * len(forms)), dpi=DOTS_PER_INCH, layout="constrained", facecolor=PAPER
    )  # fmt: skip
    axes = fig.subplots(len(forms), len(variants), sharex=True, sharey=True, squeeze=False)
    told = []
    for row, form in zip(axes, forms, strict=True):
        for ax, name in zip(row, variants, strict=True):
            part = df[(df["variant"] == name) & (df["form"] == form)]
            style = variant_style(str(name))
            ax.plot([0, 1], [0, 1], color=GRID, linewidth=1.2, zorder=0)
            cut = (part["confidence"] * bins).astype(int).clip(upper=bins - 1)
            for _, some in part.groupby(cut):
                sure, right = float(some["confidence"].mean()), float(some["right"].mean())
                low, high = wilson(int(some["right"].sum()), len(some))
                ax.errorbar(
                    sure, right, yerr=[[max(0.0, right - low)], [max(0.0, high - right)]], color=style.color,
                    marker=style.marker, markersize=3 + 5 * math.sqrt(len(some) / len(part)), elinewidth=1.1, clip_on=False,
                )  # fmt: skip
            mean, share = float(part["confidence"].mean()), float(part["right"].mean())
            ax.set_title(figure_text(f"{name}\nsure {mean:.0%}, right {share:.0%}"), fontsize=8, color=INK)
            told.append(f"{name}, {form}: sure {mean:.0%}, right {share:.0%}")
            ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
            ax.set_xticks([0, 0.5, 1], ["0", "50%", "100%"], fontsize=7.5)
            ax.set_yticks([0, 0.5, 1], ["0", "50%", "100%"], fontsize=7.5)
        row[0].set_ylabel(figure_text(f"{form}\nshare right"), fontsize=8.5)
    fig.supxlabel("confidence: the model’s probability of the option it chose", fontsize=9)
    _headline(fig, finding or "Below the diagonal: more sure than right")
    fig.alt_text = (f"{finding}. " if finding else "") + "; ".join(told) + "."
    return fig
