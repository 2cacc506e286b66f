"""One variant by itself: its next-token distribution under several settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..tokens import visible_token
from . import house

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@house.house_style
def plot_distribution(
    df: pd.DataFrame, by: str | None = None, variant: str = "base", prompt: Any = None, k: int = 10
) -> Figure:
    """One variant's next-token distribution, side by side for several settings of `by` (say "temperature").

    `df` has the columns token and prob, as `Variant.next_token_probs` returns them, and `by` when several
    such tables were put together with `pd.concat`. Each value of `by` gets a panel; all share the axis and
    the order of the `k` likeliest tokens. A token that a setting leaves no probability has an empty bar.
    """
    if by is None and "temperature" in df.columns:
        by = "temperature"
    house.require_columns(df, ["token", "prob", *([by] if by else [])], "Variant.next_token_probs")
    settings = list(dict.fromkeys(df[by])) if by else [None]
    # Two tokens can look alike, so ids tell them apart where the table has them.
    key = "token_id" if "token_id" in df.columns else "token"
    order = list(df.groupby(key)["prob"].max().sort_values(ascending=False, kind="stable").index[:k])
    names = dict(zip(df[key], df["token"], strict=True))
    wide = max(house.WIDTH_INCHES, 1.9 * len(settings) + 1)
    fig, axes = house.new_figure(1.7 + 0.27 * len(order), len(settings), wide, sharex=True, sharey=True)
    style, tops = house.variant_style(variant), []
    for ax, setting in zip(axes, settings, strict=True):
        part = df[df[by] == setting] if by else df
        # A setting such as top-k leaves tokens out of its table; their bars are empty, not missing.
        known = part.set_index(key)["prob"].astype(float).groupby(level=0).max()
        probability = known.reindex(order).fillna(0.0)
        tops.append((setting, float(probability.iloc[0])))
        ax.barh(range(len(order)), probability, 0.7, **house.bar_looks(style))
        for i, value in enumerate(probability):
            house.note(ax, house.short_number(value), (value, i), (3, 0), fontsize=7.5, color=house.INK)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        if by:
            shown = f"{setting:g}" if isinstance(setting, (int, float)) else setting
            ax.set_title(house.figure_text(f"{by} = {shown}"), loc="left", fontsize=9.5, color=house.INK)
    axes[0].set_yticks(range(len(order)), [house.token_label(names[t]) for t in order])
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, max(top for _, top in tops) * 1.3 or 1)
    for ax in axes:
        ax.locator_params(axis="x", nbins=3)
    fig.supxlabel(f"probability of being the next token ({variant})", fontsize=9.5)
    finding = _distribution_finding(by, tops, visible_token(names[order[0]]), variant)
    after = house.prompt_text(prompt)
    house.headline(fig, finding + (f" after {house.quoted(after, 40)}" if after else ""))
    each = f", one panel for each {by}" if by else ""
    fig.alt_text = f"{finding}. Bars of next-token probability of the {len(order)} likeliest tokens{each}."
    return fig


def _distribution_finding(by: str | None, tops: list[tuple[Any, float]], likeliest: str, variant: str) -> str:
    if not by or len(tops) == 1:
        return f"{variant} puts “{likeliest}” first, with probability {house.short_number(tops[0][1])}"
    (first, before), (last, after) = tops[0], tops[-1]
    if isinstance(first, str):  # names of settings have no direction
        each = ", ".join(f"{house.short_number(p)} ({setting})" for setting, p in tops)
        return f"“{likeliest}” has {each}"
    verb = "falls" if after < before else "rises" if after > before else "stays"
    numbers = f"from {house.short_number(before)} to {house.short_number(after)}"
    return f"From {by} {first} to {last}, “{likeliest}” {verb} {numbers}"
