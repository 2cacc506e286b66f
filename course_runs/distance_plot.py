"""How far the weights moved, by layer and kind of tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from course_utils.plots import house

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Kinds of tensors are not variants, so they share neither the variants' two colours nor their markers.
KIND_LOOKS = {
    "attention": ("#009E73", "o"),
    "mlp": ("#CC79A7", "s"),
    "norm": ("#56B4E9", "^"),
    "embedding": ("#7A5C00", "D"),
    "head": ("#F0E442", "v"),
}


@house.house_style
def plot_weight_change(df: pd.DataFrame) -> Figure:
    """How far post-training moved the weights, by layer and kind: ‖instruct − base‖ / ‖base‖.

    `df` is what `distance.weight_change` returns (columns layer, kind, relative_change), one row per tensor, in
    the model's order; tensors outside the layers have no layer and get a row of their own. Several tensors of
    one layer and kind are shown by their mean.
    """
    house.require_columns(df, ["layer", "kind", "relative_change"], "distance.weight_change")
    df = df.dropna(subset="relative_change")  # what moved from nothing has no share to draw
    house.require_columns(df, [], "distance.weight_change")
    rows = [_row(layer, kind) for layer, kind in zip(df["layer"], df["kind"], strict=True)]
    means = df.assign(row=rows).groupby(["row", "kind"], sort=False)["relative_change"].mean()
    rows, kinds = list(dict.fromkeys(rows)), list(dict.fromkeys(df["kind"]))
    fig, (ax,) = house.new_figure(max(2.8, 1.5 + 0.34 * len(rows)))
    in_row = {row: [kind for kind in kinds if (row, kind) in means.index] for row in rows}
    for kind in kinds:
        color, marker = KIND_LOOKS.get(kind, (house.SOFT_INK, "P"))
        places = [  # two kinds that moved equally far stay visible: a little above and below the row's line
            (float(means[row, kind]), i + 0.14 * (in_row[row].index(kind) - (len(in_row[row]) - 1) / 2))
            for i, row in enumerate(rows)
            if kind in in_row[row]
        ]
        x, y = zip(*places, strict=True)
        ax.scatter(x, y, s=52, marker=marker, color=color, edgecolor=house.INK, linewidth=0.5, label=kind)
    ax.set_yticks(range(len(rows)), [house.figure_text(row) for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, float(means.max()) * 1.1 or 1))
    ax.set_xlabel("relative change of the weights, ‖instruct − base‖ / ‖base‖ (mean over tensors)")
    ax.grid(axis="both")
    fig.legend(loc="outside lower right", ncols=min(5, len(kinds)))
    least, most = (_place(*index) for index in (means.idxmin(), means.idxmax()))
    finding = (
        f"The weights moved least in {least} ({float(means.min()):.1%} of their length) "
        f"and most in {most} ({float(means.max()):.1%})"
    )
    if not means.max():
        finding = "No weight moved: the two are the same"
    house.headline(fig, finding)
    fig.alt_text = (
        f"{finding}. Points, one row for each layer ({len(rows)} rows), one marker for each kind of tensor."
    )
    return fig


def _row(layer: Any, kind: str) -> str:
    if layer is None or str(layer) in ("<NA>", "nan"):
        return "final norm" if kind == "norm" else kind
    return f"layer {layer}"


def _place(row: str, kind: str) -> str:
    return f"{row}’s {kind}" if row.startswith("layer ") else f"the {row}"
