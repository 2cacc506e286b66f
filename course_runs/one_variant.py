"""One variant by itself: its next-token distribution under several settings, and its surprise at each token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from course_utils.plots import house
from course_utils.tokens import visible_token

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


@house.house_style
def plot_logprobs(df: pd.DataFrame, variant: str = "base", max_tokens: int = 60) -> Figure:
    """How surprised a model is by each token of a text: −log p, in nats.

    `df` is what `Variant.token_logprobs` returns (columns token, logprob; a first token without a prediction
    may hold NaN). With a column variant, each variant gets its own bars. Only the first `max_tokens` are
    drawn; the mean in the title is over all.
    """
    house.require_columns(df, ["token", "logprob"], "Variant.token_logprobs")
    several = "variant" in df.columns
    parts = [(str(n), p) for n, p in df.groupby("variant", sort=False)] if several else [(variant, df)]
    tokens = list(parts[0][1]["token"])[:max_tokens]
    fig, (ax,) = house.new_figure(3.6, width=max(house.WIDTH_INCHES, min(12.0, 0.24 * len(tokens) + 1.5)))
    means, width = [], 0.8 / len(parts)
    for number, (name, part) in enumerate(parts):
        # The mean is over the whole text, and skips a first token that nothing predicts (NaN).
        surprise = -part["logprob"].astype(float)
        means.append((name, float(surprise.mean())))
        shown = surprise.iloc[:max_tokens].to_numpy()
        places = [i - 0.4 + width * (number + 0.5) for i in range(len(shown))]
        ax.bar(places, shown, width, label=name, **house.bar_looks(house.variant_style(name)))
    labels = [house.token_label(t, 16) for t in tokens]
    ax.set_xticks(range(len(tokens)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set(xlim=(-0.6, len(tokens) - 0.4), ylabel="surprise, −log p (nats)", xlabel="token of the text")
    ax.grid(axis="y")
    if len(parts) > 1:
        fig.legend(loc="outside upper right", ncols=len(parts))
        finding = "Mean surprise per token: " + ", ".join(f"{n} {m:.2f} nats" for n, m in means)
    else:
        worst = parts[0][1].loc[parts[0][1]["logprob"].astype(float).idxmin()]
        finding = (
            f"Mean surprise {means[0][1]:.2f} nats per token (perplexity {math.exp(means[0][1]):.1f}); "
            f"most at “{visible_token(worst['token'])}”, {-float(worst['logprob']):.1f} nats"
        )
    house.headline(fig, finding)
    fig.alt_text = f"{finding}. Bars of −log p over {len(tokens)} tokens."
    return fig
