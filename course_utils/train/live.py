"""The history of a training as a figure, and the same figure growing in a notebook while it is trained."""

from __future__ import annotations

import math
import time

import pandas as pd

from ..evaluate.panels import curve
from ..plots import INK, WIDTH_INCHES, headline, house_style, new_figure, text_points

NOT_DRAWN = ("step", "lr", "tokens", "seconds", "grad_norm", "loss")
NO_RATES = ("reward", "margin", "kl", "length")  # beginnings of names whose values are no rates, even below 1
MOST_MARKED = 25  # a curve of more points is drawn without a marker for each
LEAST_SECONDS, MOST_SHARE = 1.0, 0.05  # between two drawings; of the time that may go into drawing


@house_style
def plot_history(history: pd.DataFrame, title: str = "training", steps: int | None = None):
    """Draw loss against step and, beside it, everything else the history holds.

    `history` is what a training returned (columns step, loss, …). Rates and other numbers get a panel each; the axes
    reach to `steps`, where a training that still runs is to have so many. Raises ValueError for a table without steps.
    """
    if not _has_steps(history):
        raise ValueError(
            "The history has no step yet, so there is nothing to draw. Pass the history of a training."
        )
    others = [c for c in history.columns if c not in NOT_DRAWN and history[c].notna().any()]
    rates = [c for c in others if not c.startswith(NO_RATES) and history[c].dropna().between(0, 1).all()]
    shown = {"loss (nats)": ["loss"], "rate": rates, "value": [c for c in others if c not in rates]}
    shown = {label: names for label, names in shown.items() if names}
    # As many names of a legend beside each other as its panel is wide.
    room = 0.9 * 72 * WIDTH_INCHES / len(shown)  # in points
    columns = {}
    for label, names in shown.items():
        widest = max(text_points(name, 7.5) for name in names) + 30  # the line and the gaps
        columns[label] = max(1, min(len(names), int(room / widest)))
    rows = max(math.ceil(len(names) / columns[label]) for label, names in shown.items())
    fig, axes = new_figure(2.9 + 0.15 * rows, panels=len(shown))
    for ax, (label, names) in zip(axes, shown.items()):
        for number, name in enumerate(names):
            known = history[["step", name]].dropna()
            looks = {"color": INK} if name == "loss" else {}
            looks |= {} if len(known) <= MOST_MARKED else {"marker": ""}
            curve(ax, known, "step", name, number, band=False, linewidth=1.4, label=name, **looks)
        ax.set(xlabel="step", ylabel=label)
        if steps:
            ax.set_xlim(-0.02 * steps, 1.02 * steps)
        if label == "rate":
            ax.set_ylim(-0.03, 1.03)
        ax.grid(axis="y")
        # Above the panel, where no curve runs.
        if names != ["loss"]:
            looks = {"fontsize": 7.5, "ncols": columns[label], "columnspacing": 1}
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **looks)
    ends = {c: "{:.2f} → {:.2f}".format(*history[c].dropna().iloc[[0, -1]]) for c in ("loss", *others)}
    finding = f"{title}: loss {ends.pop('loss')} in {int(history['step'].max())} steps"
    headline(fig, finding)
    told = "; " * bool(ends) + ", ".join(f"{name} {values}" for name, values in ends.items())
    fig.alt_text = f"{finding}{told}."
    return fig


def _has_steps(history: pd.DataFrame) -> bool:
    return "loss" in history.columns and bool(history["loss"].notna().any())


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
        # In plain Python the bar has to do.
        except ImportError:
            return
        frame = history.frame()
        if not _has_steps(frame):
            return
        figure = plot_history(frame, self.title, self.steps)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.drawn_at = time.perf_counter()
        self.cost = self.drawn_at - now
