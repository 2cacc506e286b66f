"""What is gained against what it costs: numbered points, with a key beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import house, panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NUMBER_SIZE = 8

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points


@house.house_style
def plot_cost(
    df: pd.DataFrame, xlabel: str, ylabel: str = "rate, with its 95% interval", finding: str | None = None
) -> Figure:
    """What is gained against what it costs: a numbered point for each row, and a key that names the numbers.

    `df` has the columns name, cost (in the unit that `xlabel` names), rate, low and high (shares from 0 to 1). The
    numbers keep as clear of each other and of the points as they can; one that had to move has a line to its point.
    The title names the highest rate, unless `finding` is given. Raises ValueError for a table without these columns
    or without rows.
    """
    house.require_columns(df, ["name", "cost", "rate", "low", "high"], "a table of costs and rates")
    fig, (ax,) = house.new_figure(max(3.4, 0.9 + 0.2 * len(df)))
    for number, row in enumerate(df.itertuples(), 1):
        looks = {"markersize": 5.5, "elinewidth": 1.1, "label": house.figure_text(f"{number} {row.name}")}
        style = house.variant_style(str(row.name))
        panels.interval_marks(ax, row.cost, row.rate, row.low, row.high, style, along="y", **looks)
    ax.margins(x=0.08)
    top = min(1.06, float(df["high"].max()) + 0.08)
    ticks = [tick for tick in (0, 0.25, 0.5, 0.75, 1) if tick <= top]
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.06, top))
    ax.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    ax.grid(True)
    fig.legend(loc="outside right center", fontsize=7.5, handletextpad=0.2)
    best = df.iloc[df["rate"].to_numpy(float).argmax()]
    finding = finding or f"The highest: {best['name']}, {best['rate']:.0%}"
    house.headline(fig, finding)
    _number_points(fig, ax, df)
    told = "; ".join(f"{row.name}: {row.rate:.0%} for {row.cost:g}" for row in df.itertuples())
    fig.alt_text = f"{finding}. {told} ({xlabel})."
    return fig


def _number_points(fig: Any, ax: Any, df: pd.DataFrame) -> None:
    """Write each row's number beside its point: at the nearest of some places where it covers least."""
    from matplotlib.transforms import Affine2D

    fig.draw_without_rendering()  # the layout decides where the axes, and so the points, lie
    to_points = Affine2D().scale(72 / fig.dpi)
    inside = ax.get_window_extent().transformed(to_points).extents

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (ax.transData + to_points).transform((x, y))
        return float(across), float(up)

    marks, bars = [], []
    for row in df.itertuples():
        (x, y), (_, low), (_, high) = (at(row.cost, rate) for rate in (row.rate, row.low, row.high))
        marks.append((x - 4, y - 4, x + 4, y + 4))
        bars.append((x - 1, low, x + 1, high))

    placed: list[Box] = []

    def badness(box: Box) -> float:
        """What a number here would cover; a bar counts half, the figure's edge more than everything."""
        covered = sum(_shared(box, other) for other in (*placed, *marks))
        covered += 0.5 * sum(_shared(box, other) for other in bars)
        out = box[0] < inside[0] or box[2] > inside[2] or box[1] < inside[1] or box[3] > inside[3]
        return covered + 1000 * out

    for number, row in enumerate(df.itertuples(), 1):
        half = house.text_points(str(number), NUMBER_SIZE) / 2 + 1
        dx, dy, distance, box = _best_place(at(row.cost, row.rate), half, badness)
        placed.append(box)
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": house.SOFT_INK, "shrinkA": 1, "shrinkB": 3}
        looks = {"ha": "center", "va": "center", "fontsize": NUMBER_SIZE}
        looks |= {
            "color": house.variant_style(str(row.name)).color,
            "arrowprops": line if distance > 9 else None,
        }
        ax.annotate(str(number), (row.cost, row.rate), xytext=(dx, dy), textcoords="offset points", **looks)


def _best_place(
    point: Sequence[float], half: float, badness: Callable[[Box], float]
) -> tuple[float, float, float, Box]:
    """(right, up, distance, box) of the least bad of sixty places around `point`, the nearer if two are alike."""
    places = []
    for distance in (9, 14, 20, 27, 35):
        for angle in range(30, 390, 30):
            dx, dy = (distance * f(math.radians(angle)) for f in (math.cos, math.sin))
            x, y = point[0] + dx, point[1] + dy
            places.append((dx, dy, distance, (x - half, y - 4.5, x + half, y + 4.5)))
    return min(places, key=lambda place: badness(place[3]) + place[2] / 1000)


def _shared(a: Box, b: Box) -> float:
    """The area that two boxes have in common."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
