"""Token shift: an answer's tokens by their rank under the base, and the shifted share along the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from course_utils.plots import house
from course_utils.tokens import visible_token

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
COLUMNS = 74  # units of the axis in a line of the map
MAX_LINES = 30


class Cell(NamedTuple):
    """One token's box in the map: its left edge, its line, its width, and the texts in it and below it."""

    x: float
    line: float
    width: float
    text: str
    below: str
    row: Any


@house.house_style
def plot_token_shift(df: pd.DataFrame, prompt: Any = None) -> Figure:
    """The instruct's own answer, each token coloured by where the base would have ranked it.

    `df` is what `shift.token_shift` returns (columns position, token, rank_base, category, and prompt when it holds
    several answers: each then gets its own strip). Categories after Lin et al. 2023 (arXiv 2312.01552): unshifted
    is rank 1 under the base, marginal 2 or 3, shifted beyond. The glyph and the rank under each token say what the
    colour says. `prompt`, where there is one answer, is named in the figure.
    """
    house.require_columns(df, ["position", "token", "rank_base", "category"], "shift.token_shift")
    asked = house.prompt_text(prompt)
    several = "prompt" in df.columns
    answers = (
        [(house.prompt_text(k), p) for k, p in df.groupby("prompt", sort=False)] if several else [(asked, df)]
    )
    cells, captions, drawn, lines = _laid_out(answers)
    fig, (ax,) = house.new_figure(1.35 + 0.47 * lines)
    for cell in cells:
        _draw_cell(ax, cell)
    for y, caption in captions:
        words = house.figure_text(house.quoted(caption, 80))
        ax.text(0, y + 0.34, words, ha="left", va="center", fontsize=8.5, color=house.INK, style="italic")
    ax.set(xlim=(-0.3, COLUMNS + 0.3), ylim=(lines, -0.1))
    ax.axis("off")
    share = df["category"].value_counts(normalize=True)
    _draw_legend(fig, share)
    finding = (
        f"{share.get('unshifted', 0):.0%} of the instruct's tokens are the base's own first choice; "
        f"{share.get('shifted', 0):.0%} are shifted"
    )
    detail = (
        f"{len(df)} tokens of {len(answers)} answer{'s' if len(answers) > 1 else ''}"
        + (f" to {house.quoted(asked)}" if asked and len(answers) == 1 else "")
        + (f" (the first {drawn} drawn)" if drawn < len(answers) else "")
        + "; below each token its rank under the base"
    )
    house.headline(fig, finding, detail)
    shifted = [cell.row for cell in cells if cell.row.category == "shifted"][:8]
    moved = ", ".join(f"{visible_token(r.token)} (rank {_rank(r.rank_base)})" for r in shifted)
    told = f"Shifted tokens: {moved}." if moved else "No token is shifted."
    fig.alt_text = f"{finding}, of {len(df)} tokens. {told}"
    return fig


def _laid_out(answers: list[tuple[str, pd.DataFrame]]) -> tuple[list[Cell], list[tuple], int, float]:
    """Where everything goes: (cells, (line, caption) of each answer, answers that had room, lines used)."""
    cells, captions, drawn, line = [], [], 0, 0.0
    for caption, part in answers:
        if line >= MAX_LINES:
            break
        if len(answers) > 1:
            captions.append((line, caption))
            line += 0.62
        x = 0.0
        for row in part.itertuples():
            text = house.token_label(row.token, 20)
            below = f"{SHIFT_CATEGORIES[row.category].glyph}{_rank(row.rank_base)}"
            # Units of the axis: a character of the token is 1.06 of them wide, one of the smaller rank below 0.6.
            width = max(2.0, len(text) * 1.06 + 0.9, len(below) * 0.6 + 0.5)
            if x and x + width > COLUMNS:
                x, line = 0.0, line + 1
            cells.append(Cell(x, line, width, text, below, row))
            x += width + 0.25
        line += 1.15
        drawn += 1
    return cells, captions, drawn, line


def _draw_cell(ax: Axes, cell: Cell) -> None:
    from matplotlib.patches import Rectangle

    category, corner = SHIFT_CATEGORIES[cell.row.category], (cell.x, cell.line + 0.06)
    box = Rectangle(
        corner, cell.width, 0.5, facecolor=category.color, edgecolor=house.SOFT_INK, linewidth=0.6
    )
    ax.add_patch(box)
    middle, centred = cell.x + cell.width / 2, {"ha": "center", "va": "center"}
    font = {"fontsize": 8.5, "family": "DejaVu Sans Mono"}
    ax.text(middle, cell.line + 0.32, cell.text, color=category.ink, **font, **centred)
    ax.text(middle, cell.line + 0.74, cell.below, fontsize=7, color=house.SOFT_INK, **centred)


def _draw_legend(fig: Any, share: pd.Series) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=c.color,
            edgecolor=house.SOFT_INK,
            label=f"{c.glyph} {c.meaning} ({share.get(name, 0):.0%})",
        )
        for name, c in SHIFT_CATEGORIES.items()
    ]
    looks = {"ncols": 3, "fontsize": 8, "handlelength": 1.4, "columnspacing": 1.2}
    fig.legend(handles=handles, loc="outside lower left", **looks)


def _rank(rank: Any) -> str:
    """A rank as text; a token that the base does not have has none."""
    return "–" if rank is None or str(rank) in ("<NA>", "nan") else str(int(rank))
