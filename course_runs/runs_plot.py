"""What runs bring and what they cost: several measures of several runs, along the run or against what was varied."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_utils.evaluate import panels
from course_utils.plots import house

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_COLUMNS = 3
MOST_MARKED = 20  # a curve of more points is drawn without a marker for each


@house.house_style
def plot_runs(
    df: pd.DataFrame,
    xlabel: str,
    scale: str = "linear",
    finding: str | None = None,
    per_row: int = 4,
    alike: Sequence[Sequence[str]] = (),
) -> Figure:
    """Measures of one or several runs along x, a panel for each measure and a line for each run.

    `df` has the columns run, x, measure and value, and, where an interval is known, low and high. `scale` of the
    x axis is "linear", "sqrt" (usual for KL divergences) or "log2". The title says how each run's measures ended,
    unless `finding` is given. `alike` holds groups of measures whose panels get one vertical axis, so that their
    heights can be compared. Raises ValueError for an unknown scale or a table without rows.
    """
    house.require_columns(df, ["run", "x", "measure", "value"], "a table of measures along a run")
    if scale not in ("linear", "sqrt", "log2"):
        raise ValueError(f"scale must be 'linear', 'sqrt' or 'log2', got {scale!r}.")
    df = df.dropna(subset=["x", "value"])
    measures, runs = list(dict.fromkeys(df["measure"])), list(dict.fromkeys(df["run"]))
    legend_rows = math.ceil(len(runs) / LEGEND_COLUMNS) if len(runs) > 1 else 0
    fig, axes = panels.panel_grid(len(measures), per_row, 2.1, 0.9 + 0.3 * legend_rows)
    band = {"low", "high"} <= set(df.columns)
    for ax, measure in zip(axes, measures, strict=True):
        panel = df[df["measure"] == measure].sort_values("x")
        for number, run in enumerate(runs):
            part = panel[panel["run"] == run]
            looks = {} if len(part) <= MOST_MARKED else {"marker": ""}
            panels.curve(
                ax,
                part,
                "x",
                "value",
                number,
                band,
                linewidth=1.5,
                label=house.figure_text(str(run)),
                **looks,
            )
        _scale_axis(ax, scale, sorted(set(panel["x"])))
        ax.set_title(
            house.figure_text("\n".join(textwrap.wrap(str(measure), 30))), fontsize=9, color=house.INK
        )
        ax.tick_params(labelsize=8)
        ax.grid(True)
    for group in alike:
        _one_scale([ax for ax, measure in zip(axes, measures, strict=True) if measure in group])
    handles, names = axes[0].get_legend_handles_labels() if len(runs) > 1 else ([], [])
    _label_above_legend(fig, xlabel, handles, names)
    ends = _ends(df, measures, runs)
    house.headline(fig, finding or ends)
    fig.alt_text = f"{finding}. {ends}." if finding else f"{ends}."
    return fig


def runs_table(
    histories: Mapping[str, pd.DataFrame], measures: Mapping[str, str], x: str = "step", smooth: int = 1
) -> pd.DataFrame:
    """The histories of runs as `plot_runs` takes them; `measures` gives the columns to show, and what to call each.

    `smooth` takes the mean of so many rows up to each: what is measured on a single batch jumps about.
    """
    import pandas as pd

    found = []
    for run, history in histories.items():
        for column, name in measures.items():
            known = history[[x, column]].dropna()
            values = known[column].rolling(smooth, min_periods=1).mean()
            found.append(pd.DataFrame({"run": run, "x": known[x], "measure": name, "value": values}))
    return pd.concat(found, ignore_index=True)


def _label_above_legend(fig: Any, label: str, handles: Sequence, names: Sequence[str]) -> None:
    """One label for the horizontal axes of all panels and, below it, the legend, if it has entries."""
    rows = math.ceil(len(handles) / LEGEND_COLUMNS)
    room = "\n " * math.ceil(1.4 * rows)  # the layout keeps no room between the two by itself
    fig.supxlabel(label + room, fontsize=9.5)
    if handles:
        columns = min(LEGEND_COLUMNS, len(handles))
        fig.legend(handles, names, loc="outside lower right", ncols=columns, fontsize=8)


def _one_scale(axes: Sequence[Axes]) -> None:
    """Give these panels the vertical axis that holds them all."""
    bounds = [bound for ax in axes for bound in ax.get_ylim()]
    for ax in axes:
        ax.set_ylim(min(bounds), max(bounds))


def _scale_axis(ax: Axes, scale: str, places: list[float]) -> None:
    if scale == "log2":
        ax.set_xscale("log", base=2)
        ax.set_xticks(places, [f"{x:g}" for x in places])
        ax.minorticks_off()
    elif scale == "sqrt":
        # A mean can come out a hair below 0; the axis begins at 0 all the same.
        ax.set_xscale("function", functions=(_signed_root, _signed_square))
        ax.set_xlim(left=0)


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
    legend_rows = math.ceil((len(curves) * bool(line) + (not mine.empty)) / LEGEND_COLUMNS)
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
    _label_above_legend(fig, xlabel or x, [h for h, _ in kept], [name for _, name in kept])
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
    if top == bottom:
        alone = at_end.loc[measure].count() == 1  # each measure has a curve of its own
        start = f"At the end: {top}," if alone else "No gap at the end: all curves meet,"
        return f"{start} “{measure}” at {at_end.at[measure, top]:.0%}"
    return (
        f"Widest gap at the end, “{measure}”: {top} {at_end.at[measure, top]:.0%}, "
        f"{bottom} {at_end.at[measure, bottom]:.0%}"
    )
