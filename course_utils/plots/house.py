"""The house style: colours, text, the figure itself, and the marks that several figures share."""

from __future__ import annotations

import base64
import functools
import io
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..tokens import visible_token

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# --- colours and marks --------------------------------------------------------------------------------------


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

INK, SOFT_INK, GRID, PAPER = "#1A1A1A", "#555555", "#D9D9D9", "#FFFFFF"
WIDTH_INCHES = 7.6
# 1.5 dots for each CSS pixel: sharp on fine screens, small enough for a committed notebook.
DOTS_PER_INCH = 144
CSS_PIXELS_PER_INCH = 96


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


def bar_looks(style: Style) -> dict[str, Any]:
    """What every bar of a variant looks like; the edge has the paper's colour, because a hatch is drawn in it."""
    return {"color": style.color, "hatch": style.hatch, "edgecolor": PAPER, "linewidth": 0}


# --- text in figures ----------------------------------------------------------------------------------------


@functools.cache
def house_settings() -> dict[str, Any]:
    """matplotlib's own defaults, changed by the course's style sheet."""
    import matplotlib

    own = matplotlib.rc_params_from_file(
        Path(__file__).with_name("house.mplstyle"), use_default_template=False
    )
    # The backend stays as it is: reading or setting it would start pyplot.
    return {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key} | own


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


def token_label(text: str, limit: int = 24) -> str:
    """A token as it stands on an axis: what is invisible made visible, a long one cut."""
    shown = visible_token(text)
    return figure_text(shown if len(shown) <= limit else shown[: limit - 1] + "…")


def quoted(text: str, limit: int = 60) -> str:
    """The end of a prompt, which is what decides the next token, in quotation marks."""
    shown = text.replace("\n", "↵").replace("\t", "⇥")
    return f"“{shown if len(shown) <= limit else '…' + shown[1 - limit :]}”"


def prompt_text(prompt: Any) -> str:
    """A prompt as text: a string itself, the last of several messages, or the number of token ids."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    prompt = list(prompt)
    if prompt and isinstance(prompt[-1], Mapping):
        return str(prompt[-1].get("content", ""))
    return f"{len(prompt)} tokens"


def after_text(prompt: Any) -> str:
    """Where a next token stands, in words: after a text, or at the start of an answer in a chat; "" for no prompt."""
    text = prompt_text(prompt)
    if not text:
        return ""
    if not isinstance(prompt, str) and any(isinstance(message, Mapping) for message in prompt):
        return f"at the start of the answer to {quoted(text)} in a chat"
    return f"after {quoted(text)}"


def short_number(value: float) -> str:
    """A probability in two digits that never shows a small one as nothing: 0.41, 0.003, <0.001."""
    if value == 0:
        return "0"
    if value >= 0.0995:
        return f"{value:.2f}"
    return f"{value:.3f}" if value >= 0.0005 else "<0.001"


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


# --- the figure ---------------------------------------------------------------------------------------------


@functools.cache
def figure_class() -> type:
    """`CourseFigure`; made on first use, because its base class needs matplotlib."""
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
    fig.savefig(buffer, format="png", transparent=False, metadata={"Description": alt_text(fig)})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def png_metadata(fig: Figure) -> dict[str, Any]:
    """What a notebook keeps beside the picture: its size in CSS pixels, and the sentence as alt text."""
    width, height = (round(inches * CSS_PIXELS_PER_INCH) for inches in fig.get_size_inches())
    return {"width": width, "height": height, "alt": alt_text(fig)}


def alt_text(fig: Figure) -> str:
    """The sentence that says what a figure of the course shows, for those who do not see it."""
    return getattr(fig, "alt_text", "")


def house_style(function: Any) -> Any:
    """Draw under the course's own settings, whatever style sheet the notebook has chosen."""

    @functools.wraps(function)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(house_settings()):
            return function(*args, **kwargs)

    return drawn


def new_figure(
    height: float, panels: int = 1, width: float = WIDTH_INCHES, rows: int = 1, **subplot_kw: Any
) -> tuple[Any, list[Axes]]:
    """A figure of `rows` × `panels` axes, listed row by row; sizes in inches."""
    fig = figure_class()(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor=PAPER)
    return fig, list(fig.subplots(rows, panels, squeeze=False, **subplot_kw).ravel())


def headline(fig: Any, finding: str, detail: str = "") -> None:
    """The finding as a bold title over the whole figure, wrapped, with `detail` in softer ink below it."""
    points = 72 * fig.get_figwidth()
    title = _wrap(figure_text(finding), 0.98 * points, 11.5, "bold") or " "
    fig.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    if detail:
        wrapped = _wrap(figure_text(detail), 0.85 * points, 9.5)  # it begins where the axes do
        fig.axes[0].set_title(wrapped, loc="left", fontsize=9.5, color=SOFT_INK)


def note(ax: Axes, text: str, at: tuple[float, float], away: tuple[float, float], **looks: Any) -> None:
    """A number beside its mark: `away` is the distance in points, to the right and up."""
    ax.annotate(text, at, xytext=away, textcoords="offset points", **({"va": "center"} | looks))


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
