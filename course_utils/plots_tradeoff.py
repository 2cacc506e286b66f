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
    LEGEND_COLUMNS,
    PAPER,
    SOFT_INK,
    VARIANT_STYLES,
    WIDTH_INCHES,
    figure_class,
    figure_text,
    headline,
    house_style,
    label_above_legend,
    new_figure,
    require_columns,
    text_points,
    variant_style,
)
from .stats import wilson

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")


@house_style
def plot_runs(
    df: pd.DataFrame, xlabel: str, scale: str = "linear", finding: str | None = None, per_row: int = 4
) -> Figure:
    """Measures of one or several runs along x, a panel for each measure and a line for each run.

    `df` has the columns run, x, measure and value, and, where an interval is known, low and high. `scale` of the
    x axis is "linear", "sqrt" (usual for KL divergences) or "log2". The title says how each run's measures ended,
    unless `finding` is given. Raises ValueError for an unknown scale or a table without rows.
    """
    require_columns(df, ["run", "x", "measure", "value"], "a table of measures along a run")
    if scale not in ("linear", "sqrt", "log2"):
        raise ValueError(f"scale must be 'linear', 'sqrt' or 'log2', got {scale!r}.")
    df = df.dropna(subset=["x", "value"])
    measures, runs = list(dict.fromkeys(df["measure"])), list(dict.fromkeys(df["run"]))
    wide = min(per_row, len(measures))
    high = math.ceil(len(measures) / wide)
    legend_rows = math.ceil(len(runs) / LEGEND_COLUMNS) if len(runs) > 1 else 0
    fig = figure_class()(
        figsize=(WIDTH_INCHES, 0.9 + 2.1 * high + 0.3 * legend_rows),
        dpi=DOTS_PER_INCH,
        layout="constrained",
        facecolor=PAPER,
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
    handles, names = axes[0].get_legend_handles_labels() if len(runs) > 1 else ([], [])
    label_above_legend(fig, xlabel, handles, names, LEGEND_COLUMNS)
    ends = _ends(df, measures, runs)
    headline(fig, finding or ends)
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


@house_style
def plot_reliability(df: pd.DataFrame, bins: int = 5, finding: str | None = None) -> Figure:
    """Reliability diagrams: how often a model is right when it says that it is so-and-so sure.

    `df` has a row for each answered question, with the columns variant, form (of the question; a row of panels for
    each), confidence (the probability of the option chosen, 0 to 1) and right (bool). Each point is one of `bins`
    equally wide bins of confidence: its mean confidence, its share of right answers with the 95 % Wilson interval,
    and an area that grows with its number of answers. On the diagonal confidence and rightness agree.
    Source: M. DeGroot and S. Fienberg, The Statistician 32 (1983), 12-22.
    """
    require_columns(
        df, ["variant", "form", "confidence", "right"], "a table of answers with their confidence"
    )
    variants, forms = list(dict.fromkeys(df["variant"])), list(dict.fromkeys(df["form"]))
    fig = figure_class()(
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
    headline(fig, finding or "Below the diagonal: more sure than right")
    fig.alt_text = (f"{finding}. " if finding else "") + "; ".join(told) + "."
    return fig


@house_style
def plot_cost(
    df: pd.DataFrame, xlabel: str, ylabel: str = "rate, with its 95% interval", finding: str | None = None
) -> Figure:
    """What is gained against what it costs: a numbered point for each row, and a key that names the numbers.

    `df` has the columns name, cost (in the unit that `xlabel` names), rate, low and high (shares from 0 to 1). The
    numbers keep as clear of each other and of the points as they can; one that had to move has a line to its point. The title
    names the highest rate, unless `finding` is given. Raises ValueError for a table without these columns or rows.
    """
    require_columns(df, ["name", "cost", "rate", "low", "high"], "a table of costs and rates")
    fig, (ax,) = new_figure(max(3.4, 0.9 + 0.2 * len(df)))
    for number, row in enumerate(df.itertuples(), 1):
        style = variant_style(str(row.name))
        ax.errorbar(
            row.cost, row.rate, yerr=[[max(0.0, row.rate - row.low)], [max(0.0, row.high - row.rate)]],
            color=style.color, marker=style.marker, markersize=5.5, elinewidth=1.1, linestyle="none",
            label=figure_text(f"{number} {row.name}"),
        )  # fmt: skip
    ax.margins(x=0.08)
    top = min(1.06, float(df["high"].max()) + 0.08)
    ticks = [tick for tick in (0, 0.25, 0.5, 0.75, 1) if tick <= top]
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.06, top))
    ax.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    ax.grid(True)
    fig.legend(loc="outside right center", fontsize=7.5, handletextpad=0.2)
    best = df.iloc[df["rate"].to_numpy(float).argmax()]
    highest = f"The highest: {best['name']}, {best['rate']:.0%}"
    headline(fig, finding or highest)
    _number_points(fig, ax, df)
    fig.alt_text = f"{finding or highest}. " + "; ".join(
        f"{row.name}: {row.rate:.0%} for {row.cost:g}" for row in df.itertuples()
    ) + f" ({xlabel})."  # fmt: skip
    return fig


NUMBER_SIZE = 8


def _number_points(fig: Any, ax: Any, df: pd.DataFrame) -> None:
    """Write each row's number beside its point: at the nearest of some places where it covers least."""
    fig.draw_without_rendering()  # the layout decides where the axes, and so the points, lie
    scale = 72 / fig.dpi
    inside = ax.get_window_extent().transformed(_scaled(scale))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = ax.transData.transform((x, y))
        return across * scale, up * scale

    marks, bars = [], []
    for row in df.itertuples():
        (x, y), (_, low), (_, high) = at(row.cost, row.rate), at(row.cost, row.low), at(row.cost, row.high)
        marks.append((x - 4, y - 4, x + 4, y + 4))
        bars.append((x - 1, low, x + 1, high))
    placed: list[tuple] = []
    for number, row in enumerate(df.itertuples(), 1):
        x, y = at(row.cost, row.rate)
        half = text_points(str(number), NUMBER_SIZE) / 2 + 1
        best: tuple[float, tuple] | None = None
        for distance in (9, 14, 20, 27, 35):
            for angle in range(30, 390, 30):
                dx, dy = (distance * f(math.radians(angle)) for f in (math.cos, math.sin))
                box = (x + dx - half, y + dy - 4.5, x + dx + half, y + dy + 4.5)
                covered = sum(_shared(box, other) for other in (*placed, *marks))
                covered += 0.5 * sum(_shared(box, other) for other in bars)
                out = box[0] < inside.x0 or box[2] > inside.x1 or box[1] < inside.y0 or box[3] > inside.y1
                badness = covered + 1000 * out + distance / 1000
                if best is None or badness < best[0]:
                    best = badness, (dx, dy, distance, box)
        dx, dy, distance, box = best[1]
        placed.append(box)
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": SOFT_INK, "shrinkA": 1, "shrinkB": 3}
        ax.annotate(
            str(number), (row.cost, row.rate), xytext=(dx, dy), textcoords="offset points", ha="center", va="center",
            fontsize=NUMBER_SIZE, color=variant_style(str(row.name)).color, arrowprops=line if distance > 9 else None,
        )  # fmt: skip


def _scaled(scale: float) -> Any:
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(scale)


def _shared(a: tuple, b: tuple) -> float:
    """The area that two boxes (left, bottom, right, top) have in common."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
