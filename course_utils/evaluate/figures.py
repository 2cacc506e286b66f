"""A scoreboard as a figure: rates with their intervals."""

from __future__ import annotations

import textwrap
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
    labels = [house.figure_text("\n".join(textwrap.wrap(str(column), 24))) for column in columns]
    titles = _titles(parts, unwanted, labels, min(per_row, len(parts)))
    rows, lines = (max(text.count("\n") for text in texts) for texts in (labels, titles))
    height = 0.78 + (0.21 + 0.2 * rows) * len(columns) + 0.13 * (lines - 1)
    fig, axes = panels.panel_grid(len(parts), per_row, height, 0.75, sharex=True, sharey=True)
    for ax, (_, _, part), title in zip(axes, parts, titles, strict=True):
        for row in part.itertuples():
            style, place = house.variant_style(str(row.column)), columns.index(row.column)
            looks = {"markersize": 5.5, "elinewidth": 1.6}
            panels.interval_marks(ax, row.rate, place, row.low, row.high, style, **looks)
            above = {"ha": "center", "va": "baseline", "fontsize": 7, "color": style.color}
            house.note(ax, f"{row.rate:.0%}", (row.rate, place), (0, 4), **above)
        ax.set_title(title, fontsize=8, color=house.INK)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=8.5)
    axes[0].set_yticks(range(len(columns)), labels)
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


def _titles(parts: Sequence, unwanted: Sequence[str], labels: Sequence[str], wide: int) -> list[str]:
    """What stands over each panel, in lines no wider than one of `wide` panels beside the labels."""
    label = max(house.text_points(line, 9.5) for text in labels for line in text.split("\n"))
    room = (72 * house.WIDTH_INCHES - label - 20) / wide - 8  # points; a letter takes some 4.3
    letters = max(8, int(room / 4.3))
    found = []
    for name, measure, part in parts:
        remark = "lower is better, " if measure in unwanted else ""
        below = f"({remark}n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{panels.count_text(part['n'])})"
        lines = [*textwrap.wrap(name, letters), *textwrap.wrap(below, letters)]
        found.append(house.figure_text("\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")))
    return found


def _scoreboard_finding(parts: Sequence[tuple[str, str, pd.DataFrame]]) -> str:
    gaps = [(float(part["rate"].max() - part["rate"].min()), name, part) for name, _, part in parts]
    _, name, part = max(gaps, key=lambda gap: (gap[0], len(gap[2])))
    top, bottom = part.loc[part["rate"].idxmax()], part.loc[part["rate"].idxmin()]
    if top["rate"] == bottom["rate"] and len(part) > 1:
        who = "both columns" if len(part) == 2 else f"all {len(part)} columns"
        return f"No gap anywhere: {who} have the same rates, “{name}”: {top['rate']:.0%}"
    if top["column"] == bottom["column"]:
        return f"{top['column']}, “{name}”: {top['rate']:.0%}"
    return f"Widest gap, “{name}”: {top['column']} {top['rate']:.0%}, {bottom['column']} {bottom['rate']:.0%}"
