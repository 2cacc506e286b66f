"""What figures of several panels or curves share: the grid, points with intervals, curves, and counts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..plots import house

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LINES = ("-", "--", "-.", ":")  # curves that stand for no variant: told apart by line as well as by colour


def panel_grid(
    count: int, per_row: int, panel_height: float, other_height: float, **subplot_kw: Any
) -> tuple[Any, list[Axes]]:
    """`count` panels, at most `per_row` beside each other; `other_height` (inches) is for what is around them."""
    wide = min(per_row, count)
    high = math.ceil(count / wide)
    fig, axes = house.new_figure(other_height + high * panel_height, wide, rows=high, **subplot_kw)
    for ax in axes[count:]:
        ax.axis("off")
    # With a shared axis only the last row has numbers; a panel above an empty place needs its own.
    for ax in axes[count - wide : count]:
        ax.tick_params(axis="x", labelbottom=True)
    return fig, axes[:count]


def interval_marks(
    ax: Axes, x: Any, y: Any, low: Any, high: Any, style: house.Style, along: str = "x", **looks: Any
) -> None:
    """Points with a bar from `low` to `high` along "x" or "y"; each of the four is a number or as many as points."""
    import numpy as np

    value, low, high = (np.array(v, float, ndmin=1) for v in (x if along == "x" else y, low, high))
    # An interval may miss its own estimate by a rounding error, and matplotlib takes no negative length.
    lengths = [np.maximum(0.0, value - low), np.maximum(0.0, high - value)]
    usual = {"linestyle": "none", "marker": style.marker, "color": style.color, f"{along}err": lengths}
    ax.errorbar(x, y, **(usual | looks))


def curve(
    ax: Axes, table: pd.DataFrame, x: str, y: str, number: int, band: bool = True, **looks: Any
) -> None:
    """One of several curves: column `y` against `x`, in the look number `number`; a band from "low" to "high"."""
    style = list(house.VARIANT_STYLES.values())[number % len(house.VARIANT_STYLES)]
    usual = {"color": style.color, "marker": style.marker, "markersize": 4}
    usual["linestyle"] = LINES[number % len(LINES)]
    ax.plot(table[x], table[y], **(usual | looks))
    if band:
        low, high = (table[column].astype(float) for column in ("low", "high"))
        ax.fill_between(table[x], low, high, color=style.color, alpha=0.15, linewidth=0)


def count_text(counts: Iterable[int]) -> str:
    """How many answers were counted: "64", or "10–64" where panels or rows differ."""
    counts = sorted({int(n) for n in counts})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
