"""Behaviour rates with their intervals, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from course_utils.evaluate import panels
from course_utils.plots import house

if TYPE_CHECKING:
    import pandas as pd
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
