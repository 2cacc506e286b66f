"""Behaviour rates with their intervals: side by side, as a scoreboard, and against something that was varied."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..plots import house
from . import panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@house.house_style
def plot_rates(
    df: pd.DataFrame, finding: str | None = None, xlabel: str = "rate, with its 95% interval"
) -> Figure:
    """Behaviour rates as dots with intervals: one row per label, one dot per variant.

    `df` has the columns label, variant, rate, low, high (all three from 0 to 1) and n (answers counted). The
    title names the widest gap between the first variant and another, unless `finding` is given.
    """
    house.require_columns(
        df, ["label", "variant", "rate", "low", "high", "n"], "a table of rates with intervals"
    )
    labels, variants = list(dict.fromkeys(df["label"])), list(dict.fromkeys(df["variant"]))
    fig, (ax,) = house.new_figure(1.6 + len(labels) * max(0.42, 0.2 * len(variants) + 0.12))
    step = min(0.24, 0.7 / max(1, len(variants)))  # between the dots of one row
    for number, name in enumerate(variants):
        style, part = house.variant_style(str(name)), df[df["variant"] == name]
        places = [labels.index(label) + (number - (len(variants) - 1) / 2) * step for label in part["label"]]
        looks = {"markersize": 6.5, "elinewidth": 1.8, "label": house.figure_text(str(name))}
        panels.interval_marks(ax, part["rate"], places, part["low"], part["high"], style, **looks)
        for place, value, right in zip(places, part["rate"], part["high"], strict=True):
            house.note(ax, f"{value:.0%}", (right, place), (7, 0), fontsize=7.5, color=style.color)
    counted = [f"{label}\n(n = {panels.count_text(df[df['label'] == label]['n'])})" for label in labels]
    ax.set_yticks(range(len(labels)), [house.figure_text(text) for text in counted])
    for i in range(1, len(labels)):
        ax.axhline(i - 0.5, color=house.GRID, linewidth=0.8)
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlim=(-0.02, 1.11), xlabel=xlabel)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    fig.legend(loc="outside lower right", ncols=min(5, len(variants)))
    finding = finding or _rates_finding(df, labels, variants)
    house.headline(fig, finding)
    told = (
        f"{r.label}, {r.variant}: {r.rate:.0%} ({r.low:.0%} to {r.high:.0%}, n = {r.n})"
        for r in df.itertuples()
    )
    fig.alt_text = f"{finding}. {'; '.join(told)}."
    return fig


def _rates_finding(df: pd.DataFrame, labels: Sequence[Any], variants: Sequence[Any]) -> str:
    rates = df.pivot_table(index="label", columns="variant", values="rate").reindex(labels)
    if len(variants) < 2:
        top = rates.iloc[:, 0].idxmax()
        return f"{variants[0]}: highest for “{top}”, {rates.iloc[:, 0].max():.0%}"
    gaps = rates.drop(columns=[variants[0]]).sub(rates[variants[0]], axis=0).abs()
    if not gaps.to_numpy().max():
        return f"No gap anywhere: {' and '.join(map(str, variants))} have the same rates"
    label, other = gaps.stack().idxmax()
    return (
        f"Widest gap, “{label}”: {variants[0]} {rates.at[label, variants[0]]:.0%}, "
        f"{other} {rates.at[label, other]:.0%}"
    )


# --- the scoreboard -----------------------------------------------------------------------------------------


@house.house_style
def plot_scoreboard(
    df: pd.DataFrame, unwanted: Sequence[str] = (), finding: str | None = None, per_row: int = 4
) -> Figure:
    """A scoreboard's rates with their intervals: one panel per measure, one row of dots per column.

    `df` is `Scoreboard.frame` or `Scoreboard.pooled` (columns column, measure, rate, low, high, n, and suite,
    which is named where a measure has several). Rates are shares from 0 to 1. Measures in `unwanted` get the
    remark "lower is better". The title names the widest gap between two columns, unless `finding` is given.
    """
    house.require_columns(df, ["column", "measure", "rate", "low", "high", "n"], "Scoreboard.frame")
    columns = list(dict.fromkeys(df["column"]))
    parts = _named_panels(df)
    fig, axes = panels.panel_grid(
        len(parts), per_row, 0.78 + 0.21 * len(columns), 0.75, sharex=True, sharey=True
    )
    for ax, (name, measure, part) in zip(axes, parts, strict=True):
        for row in part.itertuples():
            style, place = house.variant_style(str(row.column)), columns.index(row.column)
            panels.interval_marks(
                ax, row.rate, place, row.low, row.high, style, markersize=5.5, elinewidth=1.6
            )
            above = {"ha": "center", "va": "baseline", "fontsize": 7, "color": style.color}
            house.note(ax, f"{row.rate:.0%}", (row.rate, place), (0, 4), **above)
        remark = "lower is better, " if measure in unwanted else ""
        ax.set_title(
            house.figure_text(f"{name}\n({remark}n = {panels.count_text(part['n'])})"),
            fontsize=8,
            color=house.INK,
        )
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=8.5)
    axes[0].set_yticks(range(len(columns)), [house.figure_text(str(column)) for column in columns])
    axes[0].set(ylim=(len(columns) - 0.45, -0.75), xlim=(-0.08, 1.08))
    axes[0].set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    fig.supxlabel("rate, with its 95% interval", fontsize=9.5)
    finding = finding or _scoreboard_finding(parts)
    house.headline(fig, finding)
    told = (
        f"{name}: " + ", ".join(f"{r.column} {r.rate:.0%}" for r in part.itertuples())
        for name, _, part in parts
    )
    fig.alt_text = f"{finding}. {'; '.join(told)}."
    return fig


def _named_panels(df: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(title, measure, rows) of each panel; the title names the suite where a measure has several."""
    keys = ["suite", "measure"] if "suite" in df.columns else ["measure"]
    parts = list(df.groupby(keys, sort=False))
    measures = [key[-1] for key, _ in parts]
    return [
        (f"{key[-1]}, {key[0]}" if measures.count(key[-1]) > 1 else key[-1], key[-1], part)
        for key, part in parts
    ]


def _scoreboard_finding(parts: Sequence[tuple[str, str, pd.DataFrame]]) -> str:
    gaps = [(float(part["rate"].max() - part["rate"].min()), name, part) for name, _, part in parts]
    _, name, part = max(gaps, key=lambda gap: gap[0])
    top, bottom = part.loc[part["rate"].idxmax()], part.loc[part["rate"].idxmin()]
    if top["column"] == bottom["column"]:
        return f"{top['column']}, “{name}”: {top['rate']:.0%}"
    return f"Widest gap, “{name}”: {top['column']} {top['rate']:.0%}, {bottom['column']} {bottom['rate']:.0%}"


# --- behaviours against something that was varied -----------------------------------------------------------


@house.house_style
def plot_behaviours(
    df: pd.DataFrame,
    x: str,
    xlabel: str | None = None,
    *,
    line: str | None = None,
    log: bool = False,
    finding: str | None = None,
    per_row: int = 4,
) -> Figure:
    """Rates with 95 % bands against what was varied: one panel per measure.

    `df` has the columns `x` (a number, such as the step or the number of examples), measure, rate, low, high and n.
    `line` names a column that tells several curves apart. With a column source, rows that say "yours" are drawn as
    stars over the curves of all other rows, so that one sees which points are one's own. `log` makes the horizontal
    axis logarithmic. The title names the largest change along a curve or, with several, the widest gap between two
    at their end, unless `finding` is given.
    """
    columns = [x, "measure", "rate", "low", "high", "n", *([line] if line else [])]
    house.require_columns(df, columns, "a table of rates")
    shown, mine = _others_and_yours(df)
    measures = list(dict.fromkeys(df["measure"]))
    curves = list(dict.fromkeys(shown[line])) if line else [""]
    legend_rows = math.ceil((len(curves) * bool(line) + (not mine.empty)) / panels.LEGEND_COLUMNS)
    fig, axes = panels.panel_grid(
        len(measures), per_row, 1.55, 0.9 + 0.3 * legend_rows, sharex=True, sharey=True
    )
    for ax, measure in zip(axes, measures, strict=True):
        panel = shown[shown["measure"] == measure].sort_values(x)
        for number, name in enumerate(curves):
            part = panel[panel[line] == name] if line else panel
            panels.curve(ax, part, x, "rate", number, linewidth=1.4, label=house.figure_text(str(name)))
        _stars(ax, mine[mine["measure"] == measure], x)
        n = panels.count_text(df[df["measure"] == measure]["n"])
        wrapped = "\n".join(textwrap.wrap(house.figure_text(measure), 24))
        ax.set_title(f"{wrapped}\n(n = {n})", fontsize=8, color=house.INK)
        ax.grid(axis="y")
    if log:
        _log_axis(axes[0], sorted(shown[x].unique()))
    axes[0].set_ylim(-0.05, 1.08)
    axes[0].set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    handles, names = axes[0].get_legend_handles_labels()
    kept = [
        (h, name) for h, name in zip(handles, names, strict=True) if name and (name != "yours" or len(mine))
    ]
    panels.label_above_legend(
        fig, xlabel or x, [h for h, _ in kept], [name for _, name in kept], panels.LEGEND_COLUMNS
    )
    finding = finding or _behaviours_finding(shown, x, line)
    house.headline(fig, finding)
    fig.alt_text = f"{finding}. " + "; ".join(
        _along_curve(key, part, x) for key, part in _curves(df, x, line)
    )
    return fig


def _others_and_yours(df: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows drawn as curves, rows drawn as stars); when all rows are one's own, they are the curves."""
    own = df["source"] == "yours" if "source" in df.columns else df["rate"] < 0  # no rate is: nobody's
    return (df, df[:0]) if own.all() else (df[~own], df[own])


def _stars(ax: Axes, part: pd.DataFrame, x: str) -> None:
    looks = {
        "markersize": 11,
        "markerfacecolor": house.PAPER,
        "elinewidth": 1.2,
        "zorder": 5,
        "label": "yours",
    }
    star = house.Style(house.INK, "", "*")
    panels.interval_marks(ax, part[x], part["rate"], part["low"], part["high"], star, along="y", **looks)


def _log_axis(ax: Axes, values: Sequence[float]) -> None:
    ax.set_xscale("log")
    if len(values) <= 8:  # the stars between them get no ticks
        ax.set_xticks(values, [_short(v) for v in values])
        ax.minorticks_off()


def _short(value: float) -> str:
    """A number in few characters: 1e-4, 0.01, 50, 3k."""
    if value < 0.01:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:g}" if value < 1000 else f"{value / 1000:g}k"


def _curves(df: pd.DataFrame, x: str, line: str | None) -> list[tuple[str, pd.DataFrame]]:
    """(measure and curve in words, its rows along `x`) of every curve."""
    keys = ["measure", *([line] if line else []), *(["source"] if "source" in df.columns else [])]
    return [(", ".join(map(str, key)), part.sort_values(x)) for key, part in df.groupby(keys, sort=False)]


def _along_curve(key: str, part: pd.DataFrame, x: str) -> str:
    return f"{key}: " + ", ".join(f"{r.rate:.0%} at {getattr(r, x):g}" for r in part.itertuples())


def _behaviours_finding(df: pd.DataFrame, x: str, line: str | None) -> str:
    if line is None or df[line].nunique() == 1:
        curves = _curves(df.drop(columns="source", errors="ignore"), x, None)
        ends = [(key, part.iloc[0], part.iloc[-1]) for key, part in curves]
        key, first, last = max(ends, key=lambda end: abs(end[2]["rate"] - end[1]["rate"]))
        return (
            f"Most changed, “{key}”: {first['rate']:.0%} at {first[x]:g}, {last['rate']:.0%} at {last[x]:g}"
        )
    at_end = df.sort_values(x).groupby([line, "measure"], sort=False).last()["rate"].unstack(0)
    measure = (at_end.max(axis=1) - at_end.min(axis=1)).idxmax()
    top, bottom = at_end.loc[measure].idxmax(), at_end.loc[measure].idxmin()
    return (
        f"Widest gap at the end, “{measure}”: {top} {at_end.at[measure, top]:.0%}, "
        f"{bottom} {at_end.at[measure, bottom]:.0%}"
    )
