"""Figures from DataFrames, in one house style. This module knows no model.

Every figure compares variants in the same two colours (blue and vermillion from Okabe and Ito's
colour-blind-safe palette), and says the same a second time by hatch, marker or label. The background is
opaque and light, so a figure reads the same in JupyterLab's dark theme, on GitHub and on paper. The title
states what the data show.

Each function returns a `CourseFigure`: a matplotlib Figure that draws itself once in a notebook, and that
carries a sentence saying what it shows (`fig.alt_text`, or `describe(fig)`).

matplotlib is imported when the first figure is drawn, not when this module is.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .stats import wilson
from .tokens import visible_token

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# --- the house style ----------------------------------------------------------------------------------------


class Style(NamedTuple):
    """How one variant is drawn everywhere in the course: colour, bar hatch, point marker."""

    color: str
    hatch: str
    marker: str


VARIANT_STYLES: dict[str, Style] = {
    "base": Style("#0072B2", "", "o"),
    "instruct": Style("#D55E00", "////", "D"),
    "sft": Style("#009E73", "....", "^"),
    "rl": Style("#CC79A7", "xxxx", "s"),
    "chat": Style("#7A5C00", "----", "v"),
}
_SAME_AS = {"dpo": "instruct", "it": "instruct"}
_OTHER = Style("#6B6B6B", "\\\\\\\\", "P")


class Category(NamedTuple):
    """One class of token shift: fill, text colour on it, glyph, and the words of the legend."""

    color: str
    ink: str
    glyph: str
    meaning: str


SHIFT_CATEGORIES: dict[str, Category] = {
    "unshifted": Category("#EDEDED", "#1A1A1A", "·", "unshifted: rank 1 under the base"),
    "marginal": Category("#F0E442", "#1A1A1A", "▴", "marginal: rank 2 or 3"),
    "shifted": Category("#882255", "#FFFFFF", "■", "shifted: rank 4 or beyond"),
}

INK, SOFT_INK, GRID, PAPER = "#1A1A1A", "#555555", "#D9D9D9", "#FFFFFF"
WIDTH_INCHES = 7.6
DOTS_PER_INCH = 144
CSS_PIXELS_PER_INCH = 96

_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT_INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlecolor": SOFT_INK,
    "axes.titlelocation": "left",
    "axes.unicode_minus": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.facecolor": PAPER,
}


def variant_style(name: str) -> Style:
    """The style of a variant called `name` ("base", "pebble-sft", "SmolLM2-135M-Instruct", …).

    The last known word in the name decides; a name without one gets a neutral grey, hatched, with its own
    marker.
    """
    words = name.lower().replace("_", "-").replace(" ", "-").split("-")
    for word in reversed(words):
        word = _SAME_AS.get(word, word)
        if word in VARIANT_STYLES:
            return VARIANT_STYLES[word]
    return _OTHER


# --- text in figures ----------------------------------------------------------------------------------------


@functools.cache
def _house_font() -> Any:
    from matplotlib import font_manager

    return font_manager.get_font(font_manager.findfont("DejaVu Sans"))


def figure_text(text: str) -> str:
    """`text` as it may stand in a figure: no `$` starts a formula, and no character is left without a glyph.

    A character that the font lacks becomes its code point, ⟨U+6771⟩, instead of an empty box and a warning.
    """
    font = _house_font()
    shown = (c if c == "\n" or font.get_char_index(ord(c)) else f"⟨U+{ord(c):04X}⟩" for c in text)
    return "".join(shown).replace("$", r"\$")


def _token(text: str, limit: int = 24) -> str:
    shown = visible_token(text)
    return figure_text(shown if len(shown) <= limit else shown[: limit - 1] + "…")


def _quoted(text: str, limit: int = 60) -> str:
    """The end of a prompt, which is what decides the next token, in quotation marks."""
    shown = text.replace("\n", "↵").replace("\t", "⇥")
    return f"“{shown if len(shown) <= limit else '…' + shown[1 - limit :]}”"


def _prompt_text(prompt: Any) -> str:
    """A prompt as text: a string itself, the last of several messages, or the number of token ids."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    prompt = list(prompt)
    if prompt and isinstance(prompt[-1], Mapping):
        return str(prompt[-1].get("content", ""))
    return f"{len(prompt)} tokens"


# --- the figure ---------------------------------------------------------------------------------------------


@functools.cache
def figure_class() -> type:
    from matplotlib.figure import Figure

    class CourseFigure(Figure):
        """A Figure that shows itself once in a notebook and carries a sentence that says what it shows.

        It is not registered with pyplot, so a cell that ends in `plot_…(…)` shows it once, and nothing needs
        closing.
        """

        alt_text: str = ""

        def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
            data = {"text/plain": self.alt_text or repr(self), "image/png": png_base64(self)}
            return data, {"image/png": png_metadata(self)}

    return CourseFigure


def png_base64(fig: Figure) -> str:
    """The figure as base64 text of a PNG file, with its sentence in the file's Description."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", transparent=False, metadata={"Description": describe(fig)})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def png_metadata(fig: Figure) -> dict[str, Any]:
    """What a notebook keeps beside the picture: its size in CSS pixels, and the sentence as alt text."""
    width, height = (round(inches * CSS_PIXELS_PER_INCH) for inches in fig.get_size_inches())
    return {"width": width, "height": height, "alt": describe(fig)}


def describe(fig: Figure) -> str:
    """The sentence that says what a figure of this module shows, for those who do not see it."""
    return getattr(fig, "alt_text", "")


def new_figure(
    height: float, panels: int = 1, width: float = WIDTH_INCHES, **subplot_kw: Any
) -> tuple[Any, list[Axes]]:
    fig = figure_class()(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor=PAPER)
    axes = fig.subplots(1, panels, squeeze=False, **subplot_kw)[0]
    return fig, list(axes)


def house_style(function: Any) -> Any:
    """Draw under the course's own settings, whatever style sheet the notebook has chosen."""

    @functools.wraps(function)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        # The backend stays as it is: reading or setting it would start pyplot.
        defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
        with matplotlib.rc_context(defaults | _RC):
            return function(*args, **kwargs)

    return drawn


def headline(fig: Any, finding: str, detail: str = "") -> None:
    """The finding as a bold title over the whole figure, wrapped, with `detail` in softer ink below it."""
    points = 72 * fig.get_figwidth()
    title = _wrap(figure_text(finding), 0.98 * points, 11.5, "bold") or " "
    fig.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    if detail:
        wrapped = _wrap(figure_text(detail), 0.85 * points, 9.5)  # it begins where the axes do
        fig.axes[0].set_title(wrapped, loc="left", fontsize=9.5, color=SOFT_INK)


def text_points(text: str, size: float, weight: str = "normal") -> float:
    """The width of one line of text in points, in the house font at this size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def _wrap(text: str, points: float, size: float, weight: str = "normal") -> str:
    """`text` in lines no wider than this many points."""
    columns = max(1, int(points / (0.4 * size)))  # more than fit: the narrowest text
    while True:
        lines = textwrap.wrap(text, columns)
        if columns == 1 or all(text_points(line, size, weight) <= points for line in lines):
            return "\n".join(lines)
        columns -= 1


def label_above_legend(fig: Any, label: str, handles: Sequence, names: Sequence[str], columns: int) -> None:
    """One label for the horizontal axes of all panels and, below it, the legend, if it has entries."""
    rows = math.ceil(len(handles) / columns)
    room = "\n " * math.ceil(1.4 * rows)  # the layout keeps no room between the two by itself
    fig.supxlabel(label + room, fontsize=9.5)
    if handles:
        fig.legend(handles, names, loc="outside lower right", ncols=min(columns, len(handles)), fontsize=8)


def require_columns(df: pd.DataFrame, columns: Iterable[str], maker: str) -> None:
    """Raise ValueError unless `df` has these columns and at least one row."""
    missing = [column for column in columns if column not in df.columns]
    if missing:
        raise ValueError(
            f"The table lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has "
            f"{', '.join(map(str, df.columns)) or 'none'}. Pass what {maker} returns."
        )
    if len(df) == 0:
        raise ValueError(f"The table has no rows, so there is nothing to draw. Pass what {maker} returns.")


def short_number(value: float) -> str:
    """A probability in two digits that never shows a small one as nothing: 0.41, 0.003, <0.001."""
    if value == 0:
        return "0"
    if value >= 0.0995:
        return f"{value:.2f}"
    return f"{value:.3f}" if value >= 0.0005 else "<0.001"


# --- next-token distributions -------------------------------------------------------------------------------


def plot_next_token(pair: Any, prompt: Any = None, k: int = 10, **settings: Any) -> Figure:
    """Both variants' probabilities of the next token, on one axis.

    `pair` is a pair of models, asked about `prompt` (further `settings` reach `compare.next_token_table`); or
    the DataFrame that it returns (columns token, prob_base, prob_instruct), one row a token. The tokens drawn
    are the likeliest of either variant: the first `k` of each for a pair, all rows for a table.
    """
    if hasattr(pair, "columns"):
        table = pair
    else:
        from . import compare

        table = compare.next_token_table(pair, prompt, k=k, **settings)
    return _draw_next_token(table, _prompt_text(prompt))


@house_style
def _draw_next_token(table: pd.DataFrame, prompt: str) -> Figure:
    require_columns(table, ["token", "prob_base", "prob_instruct"], "compare.next_token_table")
    order = (
        table[["prob_base", "prob_instruct"]].max(axis=1).sort_values(ascending=False, kind="stable").index
    )
    rows = table.loc[order].reset_index(drop=True)
    fig, (ax,) = new_figure(1.55 + 0.42 * len(rows))
    height = 0.38
    for name, offset in (("base", -height / 2), ("instruct", height / 2)):
        style, probabilities = variant_style(name), rows[f"prob_{name}"].astype(float)
        places = [i + offset for i in range(len(rows))]
        ax.barh(
            places,
            probabilities,
            height,
            color=style.color,
            hatch=style.hatch,
            edgecolor=PAPER,
            linewidth=0,
            label=name,
        )
        for i, (place, probability) in enumerate(zip(places, probabilities, strict=True)):
            words = f"{name} {short_number(probability)}" if i == 0 else short_number(probability)
            ax.annotate(
                words,
                (probability, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=style.color,
                fontweight="bold" if i == 0 else "normal",
            )
    ax.set_yticks(range(len(rows)), [_token(t) for t in rows["token"]])
    ax.invert_yaxis()
    ax.set_xlim(0, min(1.0, max(0.05, 1.02 * float(rows[["prob_base", "prob_instruct"]].max().max()))) * 1.14)
    _probability_ticks(ax)
    ax.set_xlabel("probability of being the next token")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    fig.legend(loc="outside lower right", ncols=2)
    finding = _next_token_finding(rows)
    headline(fig, finding, f"next token after {_quoted(prompt)}" if prompt else "")
    fig.alt_text = (
        f"{finding}. Paired bars of next-token probability{' after ' + _quoted(prompt) if prompt else ''}: "
        + "; ".join(
            f"{visible_token(r.token)} base {short_number(r.prob_base)}, "
            f"instruct {short_number(r.prob_instruct)}"
            for r in rows.itertuples()
        )
        + "."
    )
    return fig


def _probability_ticks(ax: Axes) -> None:
    """Ticks of a probability axis stop at 1, although the axis goes on to make room for labels."""
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= 1.0001])


def _next_token_finding(rows: pd.DataFrame) -> str:
    tops = {name: rows.loc[rows[f"prob_{name}"].astype(float).idxmax()] for name in ("base", "instruct")}
    numbers = {name: short_number(float(row[f"prob_{name}"])) for name, row in tops.items()}
    tokens = {name: visible_token(row["token"]) for name, row in tops.items()}
    if tops["base"].name == tops["instruct"].name:
        return f"Both put “{tokens['base']}” first: base {numbers['base']}, instruct {numbers['instruct']}"
    return (
        f"They differ: base “{tokens['base']}” {numbers['base']}, "
        f"instruct “{tokens['instruct']}” {numbers['instruct']}"
    )


@house_style
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
    require_columns(df, ["token", "prob", *([by] if by else [])], "Variant.next_token_probs")
    settings = list(dict.fromkeys(df[by])) if by else [None]
    key = "token_id" if "token_id" in df.columns else "token"
    order = list(df.groupby(key)["prob"].max().sort_values(ascending=False, kind="stable").index[:k])
    names = dict(zip(df[key], df["token"], strict=True))
    fig, axes = new_figure(
        1.7 + 0.27 * len(order),
        panels=len(settings),
        sharex=True,
        sharey=True,
        width=max(WIDTH_INCHES, 1.9 * len(settings) + 1),
    )
    style, tops = variant_style(variant), []
    for ax, setting in zip(axes, settings, strict=True):
        part = df[df[by] == setting] if by else df
        probability = (
            part.set_index(key)["prob"].astype(float).groupby(level=0).max().reindex(order).fillna(0.0)
        )
        tops.append((setting, float(probability.iloc[0])))
        ax.barh(
            range(len(order)),
            probability,
            0.7,
            color=style.color,
            hatch=style.hatch,
            edgecolor=PAPER,
            linewidth=0,
        )
        for i, value in enumerate(probability):
            ax.annotate(
                short_number(value),
                (value, i),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=INK,
            )
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        if by:
            ax.set_title(
                figure_text(
                    f"{by} = {setting:g}" if isinstance(setting, (int, float)) else f"{by} = {setting}"
                ),
                loc="left",
                fontsize=9.5,
                color=INK,
            )
    axes[0].set_yticks(range(len(order)), [_token(names[t]) for t in order])
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, max(top for _, top in tops) * 1.3 or 1)
    for ax in axes:
        ax.locator_params(axis="x", nbins=3)
    fig.supxlabel(f"probability of being the next token ({variant})", fontsize=9.5)
    likeliest = visible_token(names[order[0]])
    if by and len(settings) > 1:
        (first, high), (last, low) = tops[0], tops[-1]
        verb = "falls" if low < high else "rises" if low > high else "stays"
        finding = (
            f"From {by} {first} to {last}, “{likeliest}” {verb} "
            f"from {short_number(high)} to {short_number(low)}"
        )
    else:
        finding = f"{variant} puts “{likeliest}” first, with probability {short_number(tops[0][1])}"
    after = _prompt_text(prompt)
    headline(fig, finding + (f" after {_quoted(after, 40)}" if after else ""))
    fig.alt_text = f"{finding}. Bars of next-token probability of the {len(order)} likeliest tokens" + (
        f", one panel for each {by}." if by else "."
    )
    return fig


# --- token shift --------------------------------------------------------------------------------------------

_SHIFT_COLUMNS = ["position", "token", "rank_base", "category"]


def plot_token_shift(pair: Any, prompt: Any = None, **settings: Any) -> Figure:
    """The instruct's own answer, each token coloured by where the base would have ranked it.

    `pair` is a pair of models, asked about `prompt` (further `settings` reach `compare.token_shift`); or the
    DataFrame that it returns (columns position, token, rank_base, category, and prompt when it holds several
    answers: each then gets its own strip). Categories after Lin et al. 2023 (arXiv 2312.01552): unshifted is
    rank 1 under the base, marginal 2 or 3, shifted beyond. The glyph and the rank under each token say what
    the colour says.
    """
    if hasattr(pair, "columns"):
        return _draw_token_shift(pair, _prompt_text(prompt))
    from . import compare

    return _draw_token_shift(compare.token_shift(pair, prompt, **settings), _prompt_text(prompt))


@house_style
def _draw_token_shift(df: pd.DataFrame, prompt: str, columns: int = 74, max_lines: int = 30) -> Figure:
    from matplotlib.patches import Patch, Rectangle

    require_columns(df, _SHIFT_COLUMNS, "compare.token_shift")
    answers = (
        [(_prompt_text(key), part) for key, part in df.groupby("prompt", sort=False)]
        if "prompt" in df.columns
        else [(prompt, df)]
    )
    cells, captions, line = [], [], 0.0
    drawn = 0
    for caption, part in answers:
        if line >= max_lines:
            break
        if len(answers) > 1:
            captions.append((line, caption))
            line += 0.62
        x = 0.0
        for row in part.itertuples():
            text = _token(row.token, 20)
            below = f"{SHIFT_CATEGORIES[row.category].glyph}{_rank(row.rank_base)}"
            # Units of the axis: a character of the token is 1.06 of them wide, one of the smaller rank below 0.6.
            width = max(2.0, len(text) * 1.06 + 0.9, len(below) * 0.6 + 0.5)
            if x and x + width > columns:
                x, line = 0.0, line + 1
            cells.append((x, line, width, text, below, row))
            x += width + 0.25
        line += 1.15
        drawn += 1
    fig, (ax,) = new_figure(1.35 + 0.47 * line)
    for x, y, width, text, below, row in cells:
        category = SHIFT_CATEGORIES[row.category]
        ax.add_patch(
            Rectangle((x, y + 0.06), width, 0.5, facecolor=category.color, edgecolor=SOFT_INK, linewidth=0.6)
        )
        ax.text(
            x + width / 2,
            y + 0.32,
            text,
            ha="center",
            va="center",
            fontsize=8.5,
            color=category.ink,
            family="DejaVu Sans Mono",
        )
        ax.text(
            x + width / 2,
            y + 0.74,
            below,
            ha="center",
            va="center",
            fontsize=7,
            color=SOFT_INK,
        )
    for y, caption in captions:
        ax.text(
            0,
            y + 0.34,
            figure_text(_quoted(caption, 80)),
            ha="left",
            va="center",
            fontsize=8.5,
            color=INK,
            style="italic",
        )
    ax.set(xlim=(-0.3, columns + 0.3), ylim=(line, -0.1))
    ax.axis("off")
    share = df["category"].value_counts(normalize=True)
    handles = [
        Patch(
            facecolor=c.color, edgecolor=SOFT_INK, label=f"{c.glyph} {c.meaning} ({share.get(name, 0):.0%})"
        )
        for name, c in SHIFT_CATEGORIES.items()
    ]
    fig.legend(
        handles=handles, loc="outside lower left", ncols=3, fontsize=8, handlelength=1.4, columnspacing=1.2
    )
    finding = (
        f"{share.get('unshifted', 0):.0%} of the instruct's tokens are the base's own first choice; "
        f"{share.get('shifted', 0):.0%} are shifted"
    )
    detail = (
        f"{len(df)} tokens of {len(answers)} answer{'s' if len(answers) > 1 else ''}"
        + (f" to {_quoted(prompt)}" if prompt and len(answers) == 1 else "")
        + (f" (the first {drawn} drawn)" if drawn < len(answers) else "")
        + "; below each token its rank under the base"
    )
    headline(fig, finding, detail)
    moved = [
        f"{visible_token(r.token)} (rank {_rank(r.rank_base)})" for *_, r in cells if r.category == "shifted"
    ][:8]
    fig.alt_text = f"{finding}, of {len(df)} tokens. " + (
        f"Shifted tokens: {', '.join(moved)}." if moved else "No token is shifted."
    )
    return fig


def _rank(rank: Any) -> str:
    """A rank as text; a token that the base does not have has none."""
    return "–" if rank is None or str(rank) in ("<NA>", "nan") else str(int(rank))


@house_style
def plot_shift_by_position(df: pd.DataFrame, max_position: int = 30) -> Figure:
    """How the share of tokens that are not the base's first choice changes along the answer.

    `df` is what `compare.token_shift` returns, over as many prompts as there are. One point a position,
    counted from the answer's first token, with Wilson's 95 % interval; beyond `max_position` nothing is
    drawn. Where `df` has the column kl, its mean (nats) is drawn below.
    """
    require_columns(df, ["position", "category"], "compare.token_shift")
    start = int(df["position"].min())
    near = df.assign(moved=df["category"] != "unshifted", place=df["position"] - start + 1)
    near = near[near["place"] <= max_position]
    grouped = near.groupby("place")["moved"].agg(["sum", "count"])
    rate = grouped["sum"] / grouped["count"]
    bounds = [wilson(s, n) for s, n in zip(grouped["sum"], grouped["count"], strict=True)]
    fig = figure_class()(
        figsize=(WIDTH_INCHES, 4.6 if "kl" in df else 3.4),
        dpi=DOTS_PER_INCH,
        layout="constrained",
        facecolor=PAPER,
    )
    axes = fig.subplots(
        2 if "kl" in df else 1, 1, sharex=True, squeeze=False, height_ratios=[3, 2] if "kl" in df else [1]
    )
    ax = axes[0, 0]
    style = variant_style("instruct")
    spread = [
        [max(0.0, r - low) for r, (low, _) in zip(rate, bounds, strict=True)],
        [max(0.0, high - r) for r, (_, high) in zip(rate, bounds, strict=True)],
    ]
    ax.errorbar(
        rate.index,
        rate,
        yerr=spread,
        color=style.color,
        marker=style.marker,
        markersize=5,
        linewidth=1.2,
        elinewidth=1.2,
        capsize=2,
    )
    ax.set(ylim=(-0.03, 1.03), ylabel="share not the base's\nfirst choice")
    ax.grid(axis="y")
    if "kl" in df:
        kl = near.groupby("place")["kl"].mean()
        axes[1, 0].bar(kl.index, kl, 0.6, color=SOFT_INK)
        axes[1, 0].set_ylabel("mean KL (nats)")
        axes[1, 0].grid(axis="y")
    bottom = axes[-1, 0]
    bottom.set_xlabel("position in the answer (tokens, from 1)")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    bottom.set_xlim(0.4, float(rate.index.max()) + 0.6)
    early, late = near[near["place"] <= 3]["moved"], near[near["place"] > 10]["moved"]
    if len(early) and len(late):
        (early_low, early_high), (late_low, late_high) = (
            wilson(part.sum(), len(part)) for part in (early, late)
        )
        clear = late_high < early_low or late_low > early_high  # the two intervals lie apart
        verb = "does not clearly change" if not clear else "falls" if late_high < early_low else "rises"
        finding = (
            f"The shift {verb} along the answer: {early.mean():.0%} in the first 3 tokens, "
            f"{late.mean():.0%} after the 10th"
        )
    else:
        finding = f"{near['moved'].mean():.0%} of the answer's tokens are not the base's first choice"
    counts = grouped["count"]
    headline(
        fig,
        finding,
        f"bars: 95% interval; answers: {counts.iloc[0]} at the first position, {counts.iloc[-1]} at the last",
    )
    fig.alt_text = (
        f"{finding}. A line over {len(rate)} positions, from {rate.iloc[0]:.0%} to {rate.iloc[-1]:.0%}."
    )
    return fig


# --- weights, rates, log-probabilities ----------------------------------------------------------------------


@house_style
def plot_weight_change(df: pd.DataFrame) -> Figure:
    """How far post-training moved the weights, by layer and kind: ‖instruct − base‖ / ‖base‖.

    `df` is what `compare.weight_change` returns (columns layer, kind, relative_change), one row a tensor, in
    the model's order; tensors outside the layers have no layer and get a row of their own. Several tensors of
    one layer and kind are shown by their mean.
    """
    require_columns(df, ["layer", "kind", "relative_change"], "compare.weight_change")
    rows = [_weight_row(layer, kind) for layer, kind in zip(df["layer"], df["kind"], strict=True)]
    means = df.assign(row=rows).groupby(["row", "kind"], sort=False)["relative_change"].mean()
    rows, kinds = list(dict.fromkeys(rows)), list(dict.fromkeys(df["kind"]))
    fig, (ax,) = new_figure(max(2.8, 1.5 + 0.34 * len(rows)))
    for kind in kinds:
        color, marker = _KIND_LOOKS.get(kind, (SOFT_INK, "P"))
        places = [(float(means[row, kind]), i) for i, row in enumerate(rows) if (row, kind) in means.index]
        ax.scatter(
            *zip(*places, strict=True),
            s=52,
            marker=marker,
            color=color,
            edgecolor=INK,
            linewidth=0.5,
            label=kind,
        )
    ax.set_yticks(range(len(rows)), [figure_text(row) for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, float(means.max()) * 1.1 or 1))
    ax.set_xlabel("relative change of the weights, ‖instruct − base‖ / ‖base‖ (mean over tensors)")
    ax.grid(axis="both")
    fig.legend(loc="outside lower right", ncols=min(5, len(kinds)))
    least, most = (_weight_place(*index) for index in (means.idxmin(), means.idxmax()))
    finding = (
        f"The weights moved least in {least} ({float(means.min()):.1%} of their norm) "
        f"and most in {most} ({float(means.max()):.1%})"
    )
    headline(fig, finding)
    fig.alt_text = f"{finding}. Points, one row a layer ({len(rows)} rows), one marker a kind of tensor."
    return fig


_KIND_LOOKS = {
    "attention": ("#009E73", "o"),
    "mlp": ("#CC79A7", "s"),
    "norm": ("#56B4E9", "^"),
    "embedding": ("#7A5C00", "D"),
    "head": ("#F0E442", "v"),
}


def _weight_row(layer: Any, kind: str) -> str:
    if layer is None or str(layer) in ("<NA>", "nan"):
        return "final norm" if kind == "norm" else kind
    return f"layer {layer}"


def _weight_place(row: str, kind: str) -> str:
    return f"{row}’s {kind}" if row.startswith("layer ") else f"the {row}"


@house_style
def plot_rates(
    df: pd.DataFrame, finding: str | None = None, xlabel: str = "rate, with its 95% interval"
) -> Figure:
    """Behaviour rates as dots with intervals: one row a label, one dot a variant.

    `df` has the columns label, variant, rate, low, high (all three from 0 to 1) and n (answers counted). The
    title names the widest gap between the first variant and another, unless `finding` is given.
    """
    require_columns(df, ["label", "variant", "rate", "low", "high", "n"], "a table of rates with intervals")
    labels, variants = list(dict.fromkeys(df["label"])), list(dict.fromkeys(df["variant"]))
    fig, (ax,) = new_figure(1.6 + len(labels) * max(0.42, 0.2 * len(variants) + 0.12))
    step = min(0.24, 0.7 / max(1, len(variants)))
    for number, name in enumerate(variants):
        style, part = variant_style(str(name)), df[df["variant"] == name]
        places = [labels.index(label) + (number - (len(variants) - 1) / 2) * step for label in part["label"]]
        rate, low, high = (part[c].astype(float) for c in ("rate", "low", "high"))
        ax.errorbar(
            rate,
            places,
            xerr=[(rate - low).clip(lower=0), (high - rate).clip(lower=0)],
            linestyle="none",
            marker=style.marker,
            markersize=6.5,
            color=style.color,
            elinewidth=1.8,
            label=figure_text(str(name)),
        )
        for place, value, right in zip(places, rate, high, strict=True):
            ax.annotate(
                f"{value:.0%}",
                (right, place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=style.color,
            )
    counts = df.groupby("label", sort=False)["n"].agg(["min", "max"])
    n_of = [str(lo) if lo == hi else f"{lo}–{hi}" for lo, hi in counts.loc[labels].itertuples(index=False)]
    ax.set_yticks(
        range(len(labels)),
        [figure_text(f"{label}\n(n = {n})") for label, n in zip(labels, n_of, strict=True)],
    )
    for i in range(1, len(labels)):
        ax.axhline(i - 0.5, color=GRID, linewidth=0.8)
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlim=(-0.02, 1.11), xlabel=xlabel)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    fig.legend(loc="outside lower right", ncols=min(5, len(variants)))
    finding = finding or _rates_finding(df, labels, variants)
    headline(fig, finding)
    fig.alt_text = (
        f"{finding}. "
        + "; ".join(
            f"{r.label}, {r.variant}: {r.rate:.0%} ({r.low:.0%} to {r.high:.0%}, n = {r.n})"
            for r in df.itertuples()
        )
        + "."
    )
    return fig


def _rates_finding(df: pd.DataFrame, labels: Sequence[Any], variants: Sequence[Any]) -> str:
    rates = df.pivot_table(index="label", columns="variant", values="rate").reindex(labels)
    if len(variants) < 2:
        top = rates.iloc[:, 0].idxmax()
        return f"{variants[0]}: highest for “{top}”, {rates.iloc[:, 0].max():.0%}"
    gaps = rates.drop(columns=[variants[0]]).sub(rates[variants[0]], axis=0).abs()
    label, other = gaps.stack().idxmax()
    return (
        f"Widest gap, “{label}”: {variants[0]} {rates.at[label, variants[0]]:.0%}, "
        f"{other} {rates.at[label, other]:.0%}"
    )


@house_style
def plot_logprobs(df: pd.DataFrame, variant: str = "base", max_tokens: int = 60) -> Figure:
    """How surprised a model is by each token of a text: −log p, in nats.

    `df` is what `Variant.token_logprobs` returns (columns token, logprob; a first token without a prediction
    may hold NaN). With a column variant, each variant gets its own line. Only the first `max_tokens` are
    drawn; the mean in the title is over all.
    """
    require_columns(df, ["token", "logprob"], "Variant.token_logprobs")
    parts = (
        [(str(n), p) for n, p in df.groupby("variant", sort=False)]
        if "variant" in df.columns
        else [(variant, df)]
    )
    tokens = list(parts[0][1]["token"])[:max_tokens]
    fig, (ax,) = new_figure(3.6, width=max(WIDTH_INCHES, min(12.0, 0.24 * len(tokens) + 1.5)))
    means = []
    for number, (name, part) in enumerate(parts):
        style = variant_style(name)
        surprise = -part["logprob"].astype(float)
        means.append((name, float(surprise.mean())))
        shown = surprise.iloc[:max_tokens].to_numpy()
        width = 0.8 / len(parts)
        places = [i - 0.4 + width * (number + 0.5) for i in range(len(shown))]
        ax.bar(
            places,
            shown,
            width,
            color=style.color,
            hatch=style.hatch,
            edgecolor=PAPER,
            linewidth=0,
            label=name,
        )
    ax.set_xticks(
        range(len(tokens)),
        [_token(t, 16) for t in tokens],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
    )
    ax.set(xlim=(-0.6, len(tokens) - 0.4), ylabel="surprise, −log p (nats)")
    ax.set_xlabel("token of the text")
    ax.grid(axis="y")
    if len(parts) > 1:
        fig.legend(loc="outside upper right", ncols=len(parts))
    if len(parts) > 1:
        finding = "Mean surprise a token: " + ", ".join(f"{n} {m:.2f} nats" for n, m in means)
    else:
        worst = parts[0][1].loc[parts[0][1]["logprob"].astype(float).idxmin()]
        finding = (
            f"Mean surprise {means[0][1]:.2f} nats a token (perplexity {math.exp(means[0][1]):.1f}); "
            f"most at “{visible_token(worst['token'])}”, {-float(worst['logprob']):.1f} nats"
        )
    headline(fig, finding)
    fig.alt_text = f"{finding}. Bars of −log p over {len(tokens)} tokens."
    return fig


# --- the scoreboard -----------------------------------------------------------------------------------------


@house_style
def plot_scoreboard(
    df: pd.DataFrame, unwanted: Sequence[str] = (), finding: str | None = None, per_row: int = 4
) -> Figure:
    """A scoreboard's rates with their intervals: one panel a measure, one row of dots a column.

    `df` is `Scoreboard.frame` or `Scoreboard.pooled` (columns column, measure, rate, low, high, n, and suite,
    which is named where a measure has several). Rates are shares from 0 to 1. Measures in `unwanted` get the
    remark "lower is better". The title names the widest gap between two columns, unless `finding` is given.
    """
    require_columns(df, ["column", "measure", "rate", "low", "high", "n"], "Scoreboard.frame")
    columns = list(dict.fromkeys(df["column"]))
    keys = ["suite", "measure"] if "suite" in df.columns else ["measure"]
    panels = list(df.groupby(keys, sort=False))
    repeated = {m for m in df["measure"] if sum(key[-1] == m for key, _ in panels) > 1}
    titled = [
        (f"{key[-1]}, {key[0]}" if key[-1] in repeated else key[-1], key[-1] in unwanted, part)
        for key, part in panels
    ]
    wide = min(per_row, len(panels))
    high = math.ceil(len(panels) / wide)
    fig = figure_class()(
        figsize=(WIDTH_INCHES, 0.75 + high * (0.78 + 0.21 * len(columns))),
        dpi=DOTS_PER_INCH,
        layout="constrained",
        facecolor=PAPER,
    )
    axes = fig.subplots(high, wide, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.axis("off")
    for ax, (name, lower_is_better, part) in zip(axes, titled, strict=False):
        for row in part.itertuples():
            style, place = variant_style(str(row.column)), columns.index(row.column)
            ax.errorbar(
                row.rate,
                place,
                xerr=[[max(0.0, row.rate - row.low)], [max(0.0, row.high - row.rate)]],
                linestyle="none",
                marker=style.marker,
                markersize=5.5,
                color=style.color,
                elinewidth=1.6,
            )
            ax.annotate(
                f"{row.rate:.0%}",
                (row.rate, place),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=style.color,
            )
        counts = sorted({int(n) for n in part["n"]})
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
        remark = "lower is better, " if lower_is_better else ""
        ax.set_title(figure_text(f"{name}\n({remark}n = {n})"), fontsize=8, color=INK)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(columns)), [figure_text(str(column)) for column in columns])
    axes[0].set(ylim=(len(columns) - 0.45, -0.75), xlim=(-0.08, 1.08))
    axes[0].set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    for ax in axes[max(0, len(panels) - wide) : len(panels)]:
        ax.tick_params(axis="x", labelbottom=True, labelsize=8.5)
    fig.supxlabel("rate, with its 95% interval", fontsize=9.5)
    finding = finding or _scoreboard_finding(titled)
    headline(fig, finding)
    fig.alt_text = (
        f"{finding}. "
        + "; ".join(
            f"{name}: " + ", ".join(f"{r.column} {r.rate:.0%}" for r in part.itertuples())
            for name, _, part in titled
        )
        + "."
    )
    return fig


def _scoreboard_finding(panels: Sequence[tuple[str, bool, pd.DataFrame]]) -> str:
    gaps = [(float(part["rate"].max() - part["rate"].min()), name, part) for name, _, part in panels]
    _, name, part = max(gaps, key=lambda gap: gap[0])
    top, bottom = part.loc[part["rate"].idxmax()], part.loc[part["rate"].idxmin()]
    if top["column"] == bottom["column"]:
        return f"{top['column']}, “{name}”: {top['rate']:.0%}"
    return f"Widest gap, “{name}”: {top['column']} {top['rate']:.0%}, {bottom['column']} {bottom['rate']:.0%}"


# --- behaviours against something that was varied -----------------------------------------------------------


LEGEND_COLUMNS = 3


@house_style
def plot_behaviours(
    df: pd.DataFrame,
    x: str,
    xlabel: str | None = None,
    *,
    line: str | None = None,
    log: bool = False,
    finding: str | None = None,
    per_row: int = 4,
) -> Figure:
    """Rates with 95 % bands against what was varied: one panel a measure.

    `df` has the columns `x` (a number, such as the step or the number of examples), measure, rate, low, high and n.
    `line` names a column that tells several curves apart. With a column source, rows that say "yours" are drawn as
    stars over the curves of all other rows, so that one sees which points are one's own. `log` makes the horizontal
    axis logarithmic. The title names the largest change along a curve or, with several, the widest gap between two
    at their end, unless `finding` is given.
    """
    require_columns(
        df, [x, "measure", "rate", "low", "high", "n", *([line] if line else [])], "a table of rates"
    )
    own = df["source"] == "yours" if "source" in df.columns else df["rate"] < 0
    shown, mine = df[~own], df[own]
    if shown.empty:
        shown, mine = df, df[:0]
    measures = list(dict.fromkeys(df["measure"]))
    curves = list(dict.fromkeys(shown[line])) if line else [""]
    wide = min(per_row, len(measures))
    high = math.ceil(len(measures) / wide)
    legend_rows = math.ceil((len(curves) * bool(line) + (not mine.empty)) / LEGEND_COLUMNS)
    fig = figure_class()(
        figsize=(WIDTH_INCHES, 0.9 + 1.55 * high + 0.3 * legend_rows),
        dpi=DOTS_PER_INCH,
        layout="constrained",
        facecolor=PAPER,
    )
    axes = fig.subplots(high, wide, sharex=True, sharey=True, squeeze=False).ravel()
    styles = list(VARIANT_STYLES.values())
    for ax in axes[len(measures) :]:
        ax.axis("off")
    for ax, measure in zip(axes, measures, strict=False):
        for number, curve in enumerate(curves):
            part = shown[shown["measure"] == measure]
            part = (part[part[line] == curve] if line else part).sort_values(x)
            style = styles[number % len(styles)]
            ax.fill_between(part[x], part["low"], part["high"], color=style.color, alpha=0.15, linewidth=0)
            ax.plot(
                part[x],
                part["rate"],
                color=style.color,
                marker=style.marker,
                markersize=4,
                linewidth=1.4,
                linestyle=("-", "--", "-.", ":")[number % 4],
                label=figure_text(str(curve)),
            )
        part = mine[mine["measure"] == measure]
        errors = [(part["rate"] - part["low"]).clip(lower=0), (part["high"] - part["rate"]).clip(lower=0)]
        ax.errorbar(
            part[x],
            part["rate"],
            yerr=errors,
            linestyle="none",
            marker="*",
            markersize=11,
            color=INK,
            markerfacecolor=PAPER,
            elinewidth=1.2,
            zorder=5,
            label="yours",
        )
        counts = sorted({int(n) for n in df[df["measure"] == measure]["n"]})
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
        wrapped = "\n".join(textwrap.wrap(figure_text(measure), 24))
        ax.set_title(f"{wrapped}\n(n = {n})", fontsize=8, color=INK)
        ax.grid(axis="y")
    if log:
        axes[0].set_xscale("log")
        values = sorted(shown[x].unique())  # the stars between them need no ticks of their own
        if len(values) <= 8:
            axes[0].set_xticks(values, [f"{v:g}" if v < 1000 else f"{v / 1000:g}k" for v in values])
            axes[0].minorticks_off()
    axes[0].set_ylim(-0.05, 1.08)
    axes[0].set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    for ax in axes[max(0, len(measures) - wide) : len(measures)]:
        ax.tick_params(axis="x", labelbottom=True)
    handles, names = axes[0].get_legend_handles_labels()
    kept = [(h, name) for h, name in zip(handles, names) if name and (name != "yours" or len(mine))]
    label_above_legend(fig, xlabel or x, [h for h, _ in kept], [name for _, name in kept], LEGEND_COLUMNS)
    finding = finding or _behaviours_finding(shown, x, line)
    headline(fig, finding)
    fig.alt_text = f"{finding}. " + "; ".join(
        _along_curve(key, part, x) for key, part in _curves(df, x, line)
    )
    return fig


def _curves(df: pd.DataFrame, x: str, line: str | None) -> list[tuple[str, pd.DataFrame]]:
    """(measure and curve in words, its rows along `x`) of every curve."""
    keys = ["measure", *([line] if line else []), *(["source"] if "source" in df.columns else [])]
    return [(", ".join(map(str, key)), part.sort_values(x)) for key, part in df.groupby(keys, sort=False)]


def _along_curve(key: str, part: pd.DataFrame, x: str) -> str:
    return f"{key}: " + ", ".join(f"{r.rate:.0%} at {getattr(r, x):g}" for r in part.itertuples())


def _behaviours_finding(df: pd.DataFrame, x: str, line: str | None) -> str:
    ends = [
        (key, part.iloc[0], part.iloc[-1])
        for key, part in _curves(df.drop(columns="source", errors="ignore"), x, None)
    ]
    if line is None or df[line].nunique() == 1:
        key, first, last = max(ends, key=lambda end: abs(end[2]["rate"] - end[1]["rate"]))
        return (
            f"Most changed, “{key}”: {first['rate']:.0%} at {first[x]:g}, {last['rate']:.0%} at {last[x]:g}"
        )
    at_end = df.sort_values(x).groupby([line, "measure"], sort=False).last()["rate"].unstack(0)
    measure = (at_end.max(axis=1) - at_end.min(axis=1)).idxmax()
    top, bottom = at_end.loc[measure].idxmax(), at_end.loc[measure].idxmin()
    return (
        f"Widest gap at the end, “{measure}”: {top} {at_end.at[measure, top]:.0%}, "
        f"{bottom} {at_end.at[measure, bottom]:.0%}"
    )
