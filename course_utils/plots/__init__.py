"""Figures from DataFrames, in one house style. A drawing function takes a table; it knows no model.

Every figure compares variants in the same two colours (blue and vermillion from Okabe and Ito's
colour-blind-safe palette), and says the same a second time by hatch, marker or label. The background is
opaque and light, so a figure reads the same in JupyterLab's dark theme, on GitHub and on paper. The title
states what the data show.

Each function returns a `CourseFigure`: a matplotlib Figure that draws itself once in a notebook, and that
carries a sentence saying what it shows (`fig.alt_text`, or `alt_text(fig)`).

A module per subject; each is imported when one of its names is first used, and matplotlib with the first figure.
"""

from importlib import import_module

_NAMES = {
    ".house": (
        "GRID INK PAPER SOFT_INK VARIANT_STYLES WIDTH_INCHES alt_text figure_text headline house_style new_figure "
        "png_base64 require_columns short_number text_points variant_style"
    ),
    ".next_token": "draw_next_token",
    # Figures of a subject or a lesson stand beside it; this package knows them by name alone.
    "..evaluate.figures": "plot_scoreboard",
    "course_runs.rates_plot": "plot_rates",
    "course_runs.one_variant": "plot_distribution plot_logprobs",
    "course_runs.shift_plot": "SHIFT_CATEGORIES plot_token_shift",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
