"""The history of a training as a figure, and the same figure growing in a notebook while it is trained."""

from __future__ import annotations

import math
import time

import pandas as pd

from ..plots import INK, VARIANT_STYLES, WIDTH_INCHES, headline, house_style, new_figure, text_points

NOT_DRAWN = ("step", "lr", "tokens", "seconds", "grad_norm", "loss")
NO_RATES = ("reward", "margin", "kl", "length")  # beginnings of names whose values are no rates, even below 1
LEAST_SECONDS, MOST_SHARE = 1.0, 0.1  # between two drawings; of the time that may go into drawing


def plot_history(history: pd.DataFrame, title: str = "training", steps: int | None = None):
    """Draw loss against step and, beside it, everything else the history holds.

    `history` is what a training returned (columns step, loss, …). Rates and other numbers get a panel each; the axes
    reach to `steps`, where a training that still runs is to have so many. Raises ValueError for a table without steps.
    """
    if "loss" not in history.columns or history["loss"].notna().sum() == 0:
        raise ValueError(
            "The history has no step yet, so there is nothing to draw. Pass the history of a training."
        )
    return _draw(history, title, steps)


@house_style
def _draw(history: pd.DataFrame, title: str, steps: int | None = None):
    others = [c for c in history.columns if c not in NOT_DRAWN and history[c].notna().any()]
    rates = [c for c in others if not c.startswith(NO_RATES) and history[c].dropna().between(0, 1).all()]
    panels = [("loss (nats)", ["loss"])] + [
        (label, names)
        for label, names in (("rate", rates), ("value", [c for c in others if c not in rates]))
        if names
    ]
    room = 0.9 * 72 * WIDTH_INCHES / len(panels)  # for a legend, in points

    def columns(names: list[str]) -> int:
        widest = max(text_points(name, 7.5) for name in names) + 30  # the line and the gaps
        return max(1, min(len(names), int(room / widest)))

    rows = max(math.ceil(len(names) / columns(names)) for _, names in panels)
    fig, axes = new_figure(2.9 + 0.15 * rows, panels=len(panels))
    styles = list(VARIANT_STYLES.values())
    for ax, (label, names) in zip(axes, panels):
        for number, name in enumerate(names):
            style = styles[number % len(styles)]
            known = history[["step", name]].dropna()
            few = len(known) <= 25
            ax.plot(
                known["step"],
                known[name],
                color=INK if name == "loss" else style.color,
                marker=style.marker if few else "",
                markersize=4,
                linewidth=1.4,
                linestyle=("-", "--", "-.", ":")[number % 4],
                label=name,
            )
        ax.set(xlabel="step", ylabel=label)
        if steps:
            ax.set_xlim(-0.02 * steps, 1.02 * steps)
        if label == "rate":
            ax.set_ylim(-0.03, 1.03)
        ax.grid(axis="y")
        if names != ["loss"]:  # above the panel, where no curve runs
            ax.legend(
                loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=7.5, ncols=columns(names),
                columnspacing=1,
            )  # fmt: skip
    losses = history["loss"].dropna()
    finding = (
        f"{title}: loss {losses.iloc[0]:.2f} → {losses.iloc[-1]:.2f} in {int(history['step'].max())} steps"
    )
    headline(fig, finding)
    ends = ", ".join(
        f"{c} {history[c].dropna().iloc[0]:.2f} → {history[c].dropna().iloc[-1]:.2f}" for c in others
    )
    fig.alt_text = finding + (f"; {ends}." if ends else ".")
    return fig


class LivePlot:
    """Shows `plot_history` under the running cell and redraws it from time to time (no widgets needed)."""

    def __init__(self, title: str, steps: int | None = None):
        self.title, self.steps, self.handle = title, steps, None
        self.drawn_at, self.cost = float("-inf"), 0.0

    def update(self, history, last: bool = False) -> None:
        wait = max(LEAST_SECONDS, self.cost / MOST_SHARE)
        now = time.perf_counter()
        if not last and now - self.drawn_at < wait:
            return
        try:
            from IPython.display import display
        except ImportError:  # plain Python: the bar has to do
            return
        frame = history.frame()
        if "loss" not in frame or frame["loss"].notna().sum() == 0:
            return
        figure = plot_history(frame, self.title, self.steps)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.drawn_at = time.perf_counter()
        self.cost = self.drawn_at - now
