"""Both variants' next-token probabilities on one axis: the course's first figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..tokens import visible_token
from . import house

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BAR = 0.38  # of the height of a row; two bars and a gap fill it
STANDS_OUT = 0.2  # below, the likeliest token is one of many, and which of them it is says little


@house.house_style
def draw_next_token(table: pd.DataFrame, prompt: Any = None) -> Figure:
    """Paired bars, one pair per token, the likeliest of either variant first.

    `table` is what `compare.next_token_table` returns (columns token, prob_base, prob_instruct); `prompt` is named
    in the figure. Raises ValueError for a table without these columns or without rows.
    """
    columns = ["prob_base", "prob_instruct"]
    house.require_columns(table, ["token", *columns], "compare.next_token_table")
    highest = table[columns].max(axis=1).sort_values(ascending=False, kind="stable")
    rows = table.loc[highest.index].reset_index(drop=True)
    fig, (ax,) = house.new_figure(1.55 + 0.42 * len(rows))
    for name, offset in (("base", -BAR / 2), ("instruct", BAR / 2)):
        style, probabilities = house.variant_style(name), rows[f"prob_{name}"].astype(float)
        places = [i + offset for i in range(len(rows))]
        ax.barh(places, probabilities, BAR, label=name, **house.bar_looks(style))
        for i, (place, probability) in enumerate(zip(places, probabilities, strict=True)):
            # The first pair of bars is named, so that the figure can be read without its colours.
            text = f"{name} {house.short_number(probability)}" if i == 0 else house.short_number(probability)
            weight = "bold" if i == 0 else "normal"
            house.note(
                ax, text, (probability, place), (4, 0), fontsize=8, color=style.color, fontweight=weight
            )
    ax.set_yticks(range(len(rows)), [house.token_label(t) for t in rows["token"]])
    ax.invert_yaxis()  # matplotlib counts upwards; the likeliest token belongs on top
    longest = min(1.0, max(0.05, 1.02 * float(highest.max())))
    ax.set_xlim(0, longest * 1.14)  # room for the numbers
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= 1.0001])  # no probability is above 1
    ax.set_xlabel("probability of being the next token")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    fig.legend(loc="outside lower right", ncols=2)
    after = house.after_text(prompt)
    finding = _finding(rows)
    house.headline(fig, finding, f"next token {after}" if after else "")
    fig.alt_text = _alt_text(finding, rows, after)
    return fig


def _finding(rows: pd.DataFrame) -> str:
    tops = {name: rows.loc[rows[f"prob_{name}"].astype(float).idxmax()] for name in ("base", "instruct")}
    numbers = {name: house.short_number(float(row[f"prob_{name}"])) for name, row in tops.items()}
    tokens = {name: visible_token(row["token"]) for name, row in tops.items()}
    if max(float(row[f"prob_{name}"]) for name, row in tops.items()) < STANDS_OUT:
        bests = ", ".join(f"{name} “{tokens[name]}” {numbers[name]}" for name in tops)
        return f"No token stands out: {bests}"
    if tops["base"].name == tops["instruct"].name:  # the same row, not only the same text
        return f"Both put “{tokens['base']}” first: base {numbers['base']}, instruct {numbers['instruct']}"
    return (
        f"They differ: base “{tokens['base']}” {numbers['base']}, "
        f"instruct “{tokens['instruct']}” {numbers['instruct']}"
    )


def _alt_text(finding: str, rows: pd.DataFrame, after: str) -> str:
    number = house.short_number
    bars = (
        f"{visible_token(r.token)} base {number(r.prob_base)}, instruct {number(r.prob_instruct)}"
        for r in rows.itertuples()
    )
    place = f" {after}" if after else ""
    return f"{finding}. Paired bars of next-token probability{place}: {'; '.join(bars)}."
