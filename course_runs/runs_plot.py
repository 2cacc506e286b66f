"""What a training buys and what it pays: several measures of several runs, along the run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_utils.plots import house, panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    legend_rows = math.ceil(len(runs) / panels.LEGEND_COLUMNS) if len(runs) > 1 else 0
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
    panels.label_above_legend(fig, xlabel, handles, names, panels.LEGEND_COLUMNS)
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
