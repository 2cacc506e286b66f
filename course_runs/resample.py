"""Rates as a table, and an interval for what is counted per token although tokens come in whole answers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

from course_utils.evaluate.stats import wilson

if TYPE_CHECKING:
    import pandas as pd


def rate_table(outcomes: Mapping[tuple[str, str], Sequence[bool]]) -> pd.DataFrame:
    """The rates of `{(label, variant): [True, False, …]}`, one row for each entry, as `plots.plot_rates` takes them.

    Columns: label, variant, n, rate, low, high; the interval is Wilson's at 95 %. Labels come in their first order.
    Raises ValueError for an entry without outcomes, since a rate of nothing is no number.
    """
    import pandas as pd

    rows = []
    for (label, variant), found in outcomes.items():
        if not len(found):
            raise ValueError(f"{label!r} of {variant!r} has no outcomes. Give at least one True or False.")
        low, high = wilson(sum(map(bool, found)), len(found))
        rate = sum(map(bool, found)) / len(found)
        rows.append(
            {"label": label, "variant": variant, "n": len(found), "rate": rate, "low": low, "high": high}
        )
    return pd.DataFrame(rows, columns=["label", "variant", "n", "rate", "low", "high"])


def bootstrap_mean(
    values: Iterable[float], groups: Iterable[Hashable], draws: int = 2_000, seed: int = 0
) -> tuple[float, float, float]:
    """The mean of `values` with its 95 % interval when they come in groups: (mean, low, high).

    Tokens of one answer resemble one another, so an interval that counts them one by one is too narrow. Here whole
    groups (answers) are drawn, with replacement, as many as there are; the interval holds the middle 95 % of the
    means found. Of two measurements on the same tokens, give the differences: the comparison is then paired.
    Source: B. Efron, Annals of Statistics 7 (1979), 1-26. Raises ValueError unless every value has its group and
    there are two groups at least.
    """
    sums: dict[Hashable, list[float]] = {}
    values, groups = list(values), list(groups)
    if len(values) != len(groups):
        raise ValueError(f"Every value needs its group; got {len(values)} values and {len(groups)} groups.")
    for value, group in zip(values, groups):
        kept = sums.setdefault(group, [0.0, 0])
        kept[0] += float(value)
        kept[1] += 1
    if len(sums) < 2:
        raise ValueError(f"Drawing whole groups takes two of them at least; got {len(sums)}.")
    rng, parts = Random(seed), list(sums.values())
    means = []
    for _ in range(draws):
        drawn = rng.choices(parts, k=len(parts))
        means.append(sum(part[0] for part in drawn) / sum(part[1] for part in drawn))
    means.sort()
    return sum(values) / len(values), means[int(0.025 * draws)], means[int(0.975 * draws) - 1]


def share_text(hits: Iterable[bool], groups: Iterable[Hashable]) -> str:
    """A share of tokens as a text with the interval of `bootstrap_mean`: "30% (26% to 34%)".

    Of a single group there is a share without an interval, of none a dash.
    """
    hits, groups = list(hits), list(groups)
    if len(set(groups)) < 2:
        return f"{sum(hits) / len(hits):.0%} (one text, no interval)" if hits else "–"
    share, low, high = bootstrap_mean(hits, groups)
    return f"{share:.0%} ({low:.0%} to {high:.0%})"
