"""A scoreboard as a figure: rates with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..plots import house
from . import panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


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
    height = 0.78 + 0.21 * len(columns)
    fig, axes = panels.panel_grid(len(parts), per_row, height, 0.75, sharex=True, sharey=True)
    for ax, (name, measure, part) in zip(axes, parts, strict=True):
        for row in part.itertuples():
            style, place = house.variant_style(str(row.column)), columns.index(row.column)
            looks = {"markersize": 5.5, "elinewidth": 1.6}
            panels.interval_marks(ax, row.rate, place, row.low, row.high, style, **looks)
            above = {"ha": "center", "va": "baseline", "fontsize": 7, "color": style.color}
            house.note(ax, f"{row.rate:.0%}", (row.rate, place), (0, 4), **above)
        remark = "lower is better, " if measure in unwanted else ""
        title = house.figure_text(f"{name}\n({remark}n = {panels.count_text(part['n'])})")
        ax.set_title(title, fontsize=8, color=house.INK)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=8.5)
    axes[0].set_yticks(range(len(columns)), [house.figure_text(str(column)) for column in columns])
    axes[0].set(ylim=(len(columns) - 0.45, -0.75), xlim=(-0.08, 1.08))
    axes[0].set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    fig.supxlabel("rate, with its 95% interval", fontsize=9.5)
    finding = finding or _scoreboard_finding(parts)
    house.headline(fig, finding)
    rates = {
        name: ", ".join(f"{r.column} {r.rate:.0%}" for r in part.itertuples()) for name, _, part in parts
    }
    told = (f"{name}: {some}" for name, some in rates.items())
    fig.alt_text = f"{finding}. {'; '.join(told)}."
    return fig


def _named_panels(df: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(title, measure, rows) of each panel; the title names the suite where a measure has several."""
    keys = ["suite", "measure"] if "suite" in df.columns else ["measure"]
    parts = list(df.groupby(keys, sort=False))
    measures = [key[-1] for key, _ in parts]
    several = {measure for measure in measures if measures.count(measure) > 1}
    return [(", ".join(key[::-1]) if key[-1] in several else key[-1], key[-1], part) for key, part in parts]


def _scoreboard_finding(parts: Sequence[tuple[str, str, pd.DataFrame]]) -> str:
    gaps = [(float(part["rate"].max() - part["rate"].min()), name, part) for name, _, part in parts]
    _, name, part = max(gaps, key=lambda gap: gap[0])
    top, bottom = part.loc[part["rate"].idxmax()], part.loc[part["rate"].idxmin()]
    if top["column"] == bottom["column"]:
        return f"{top['column']}, “{name}”: {top['rate']:.0%}"
    return f"Widest gap, “{name}”: {top['column']} {top['rate']:.0%}, {bottom['column']} {bottom['rate']:.0%}"
