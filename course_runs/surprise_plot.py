"""How surprised a model is by each token of a text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from course_utils.plots import house
from course_utils.tokens import visible_token

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


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
