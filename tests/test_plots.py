"""Figures say what the data show, in the title, in a sentence and without relying on colour."""

import base64
import io
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from tiny import tiny_variant

from course_runs.distance_plot import plot_weight_change
from course_utils import plot_next_token, plots, token_shift
from course_utils.pairs import Pair


@pytest.fixture(autouse=True)
def no_warning():
    """A missing glyph, an empty axis or a layout that does not fit would be a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def next_token_table(base=(0.41, 0.2), instruct=(0.93, 0.01), tokens=(" Paris", " the")) -> pd.DataFrame:
    return pd.DataFrame({"token": tokens, "prob_base": base, "prob_instruct": instruct})


def shift_table(categories: str, seed: int = 0) -> pd.DataFrame:
    """A token-shift table from letters: u(nshifted), m(arginal), s(hifted)."""
    names = {"u": "unshifted", "m": "marginal", "s": "shifted"}
    ranks = {"u": 1, "m": 2, "s": 40}
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "position": range(len(categories)),
            "token": [f" w{i}" for i in range(len(categories))],
            "rank_base": pd.array([ranks[c] for c in categories], dtype="Int64"),
            "kl": random.random(len(categories)),
            "category": [names[c] for c in categories],
        }
    )


def rates_table() -> pd.DataFrame:
    rows = [
        ("stops", "base", 0.05),
        ("stops", "instruct", 0.98),
        ("answers", "base", 0.3),
        ("answers", "instruct", 0.5),
    ]
    return pd.DataFrame(
        [
            {"label": la, "variant": v, "rate": r, "low": max(0, r - 0.1), "high": min(1, r + 0.1), "n": 64}
            for la, v, r in rows
        ]
    )


def weights_table() -> pd.DataFrame:
    rows = [
        (None, "embedding", 0.05),
        (0, "attention", 0.02),
        (0, "mlp", 0.2),
        (1, "attention", 0.1),
        (None, "norm", 0.01),
    ]
    table = pd.DataFrame(rows, columns=["layer", "kind", "relative_change"])
    return table.astype({"layer": "Int64"})


def logprobs_table() -> pd.DataFrame:
    return pd.DataFrame({"token": ["<|endoftext|>", "The", " cat"], "logprob": [float("nan"), -1.0, -3.0]})


FIGURES = {
    "next token": lambda: plots.draw_next_token(next_token_table(), "The capital of France is"),
    "distribution": lambda: plots.plot_distribution(
        pd.DataFrame({"token": [" a", " b"], "prob": [0.7, 0.3]})
    ),
    "token shift": lambda: plots.plot_token_shift(shift_table("uusmu"), "Hi"),
    "weight change": lambda: plot_weight_change(weights_table()),
    "rates": lambda: plots.plot_rates(rates_table()),
    "logprobs": lambda: plots.plot_logprobs(logprobs_table()),
}
every_figure = pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())


def title(fig: Figure) -> str:
    return fig.get_suptitle().replace("\n", " ")


def texts(fig: Figure) -> list[str]:
    from matplotlib.text import Text

    fig.draw_without_rendering()
    return [text.get_text() for text in fig.findobj(Text) if text.get_text()]


def png(fig: Figure) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(plots.png_base64(fig))))


@every_figure
def test_a_figure_has_a_title_axis_labels_and_a_sentence_that_begins_with_the_title(make):
    fig = make()
    assert isinstance(fig, Figure)
    assert len(title(fig)) > 10
    assert plots.alt_text(fig).startswith(title(fig))
    assert len(plots.alt_text(fig)) > len(title(fig))
    labelled = [ax for ax in fig.axes if ax.axison]
    assert all(ax.get_xlabel() or ax.get_ylabel() or fig.get_supxlabel() for ax in labelled)


def test_the_style_sheet_has_the_colours_that_the_code_names():
    from matplotlib import rc_params_from_file

    sheet = rc_params_from_file(Path(plots.__file__).parent / "house.mplstyle", use_default_template=False)
    colours = {value.upper() for name, value in sheet.items() if name.endswith("color")}
    assert colours == {plots.INK, plots.SOFT_INK, plots.GRID, plots.PAPER}


@every_figure
def test_a_figure_is_opaque_and_light_whatever_the_notebooks_style(make):
    import matplotlib

    with matplotlib.rc_context(
        {"figure.facecolor": "black", "savefig.transparent": True, "text.color": "white"}
    ):
        picture = png(make())
    red, green, blue, alpha = picture.convert("RGBA").getpixel((1, picture.height - 2))
    assert (alpha, min(red, green, blue)) == (255, 255)


@every_figure
def test_nothing_is_cut_off_at_the_figures_edge(make):
    fig = make()
    fig.draw_without_rendering()
    width, height = fig.get_size_inches()
    drawn = fig.get_tightbbox()
    assert drawn.x0 >= -0.02 and drawn.y0 >= -0.02
    assert drawn.x1 <= width + 0.02 and drawn.y1 <= height + 0.02


@pytest.mark.parametrize("letter", ["i", "m", "W"])  # narrow and wide ones
def test_a_long_title_is_broken_before_the_figures_edge(letter):
    words = " ".join([letter * 7] * 30)
    fig = plots.plot_rates(rates_table(), finding=words)
    fig.draw_without_rendering()
    width = fig.get_size_inches()[0]
    assert title(fig) == words
    assert 0.6 * width < fig.get_tightbbox().x1 <= width


def test_a_word_longer_than_the_figure_is_broken_too():
    fig = plots.plot_rates(rates_table(), finding="W" * 200)
    fig.draw_without_rendering()
    assert fig.get_tightbbox().x1 <= fig.get_size_inches()[0]


@every_figure
def test_a_notebook_gets_one_picture_with_the_sentence_as_its_text_and_alt_text(make):
    fig = make()
    data, metadata = fig._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == plots.alt_text(fig)
    picture = png(fig)
    assert picture.format == "PNG"
    assert picture.info["Description"] == plots.alt_text(fig)
    assert picture.width / metadata["image/png"]["width"] == pytest.approx(
        1.5, rel=0.02
    )  # sharp on fine screens


def test_drawing_does_not_start_pyplot_so_nothing_is_shown_twice():
    code = (
        "import sys, pandas as pd\nfrom course_utils import plots\nassert 'matplotlib' not in sys.modules\n"
        "plots.draw_next_token(pd.DataFrame({'token': ['a'], 'prob_base': [.5], 'prob_instruct': [.6]}), 'x')\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_two_variants_have_their_own_colour_and_a_second_mark_everywhere():
    base, instruct = plots.variant_style("base"), plots.variant_style("instruct")
    assert base.color != instruct.color and base.hatch != instruct.hatch and base.marker != instruct.marker
    assert plots.variant_style("pebble-base") == plots.variant_style("SmolLM2-135M-base") == base
    assert plots.variant_style("SmolLM2-135M-Instruct") == plots.variant_style("pebble-dpo") == instruct
    marks = [tuple(style[1:]) for style in plots.VARIANT_STYLES.values()]
    assert len(set(marks)) == len(marks)
    assert plots.variant_style("who knows") not in plots.VARIANT_STYLES.values()


def test_bars_carry_the_variants_colours_and_hatches():
    fig = plots.draw_next_token(next_token_table(), "x")
    from matplotlib.colors import to_hex

    looks = {(to_hex(bar.get_facecolor()).upper(), bar.get_hatch() or "") for bar in fig.axes[0].patches}
    assert looks == {plots.variant_style(name)[:2] for name in ("base", "instruct")}


def test_the_title_says_whether_the_variants_agree():
    assert (
        title(plots.draw_next_token(next_token_table()))
        == "Both put “␣Paris” first: base 0.41, instruct 0.93"
    )
    differ = title(plots.draw_next_token(next_token_table(base=(0.1, 0.2))))
    assert "␣the” 0.20" in differ and "␣Paris” 0.93" in differ
    open_place = title(plots.draw_next_token(next_token_table(base=(0.05, 0.04), instruct=(0.03, 0.06))))
    assert open_place.startswith("No token stands out") and "0.050" in open_place and "0.060" in open_place


def test_a_chat_is_not_taken_for_the_bare_question():
    chat = [{"role": "user", "content": "Which city?"}]
    for prompt, said in (("Which city?", "after “Which city?”"), (chat, "answer to “Which city?” in a chat")):
        fig = plots.draw_next_token(next_token_table(), prompt)
        assert said in " ".join(texts(fig)) and said in fig.alt_text
    assert plots.draw_next_token(next_token_table()).axes[0].get_title(loc="left") == ""


def test_bars_are_as_long_as_the_probabilities():
    fig = plots.draw_next_token(next_token_table())
    lengths = sorted(bar.get_width() for bar in fig.axes[0].patches)
    assert lengths == pytest.approx([0.01, 0.2, 0.41, 0.93])


def test_a_pair_is_asked_and_drawn():
    pair = Pair(tiny_variant(), tiny_variant(chat=True, seed=1), "tiny")
    fig = plot_next_token(pair, "The capital of France is", k=4)
    assert 4 <= len(fig.axes[0].get_yticklabels()) <= 8
    shown = plots.plot_token_shift(token_shift(pair, "Hi", max_new_tokens=5), "Hi")
    assert "5 tokens of 1 answer" in " ".join(texts(shown))


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.41, "0.41"), (0.003, "0.003"), (0.0004, "<0.001"), (1, "1.00")]
)
def test_small_probabilities_are_never_shown_as_nothing(value, shown):
    assert plots.short_number(value) == shown


@settings(deadline=None, max_examples=12)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4))
def test_any_token_can_be_drawn(tokens):
    share = [1 / len(tokens)] * len(tokens)
    fig = plots.draw_next_token(
        pd.DataFrame({"token": tokens, "prob_base": share, "prob_instruct": share}), tokens[0]
    )
    assert png(fig).width > 100


def test_dollar_signs_are_no_formula():
    fig = plots.draw_next_token(next_token_table(tokens=("$x^2$", "$")), "costs $5 or $6")
    assert r"\$x^2\$" in texts(fig)


def test_temperatures_get_a_panel_each_and_the_title_names_the_change():
    cold = pd.DataFrame({"token": [" a", " b"], "token_id": [1, 2], "prob": [0.9, 0.1], "temperature": 0.5})
    hot = pd.DataFrame({"token": [" b", " a"], "token_id": [2, 1], "prob": [0.4, 0.6], "temperature": 2.0})
    fig = plots.plot_distribution(pd.concat([cold, hot]), prompt="x", variant="instruct")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["temperature = 0.5", "temperature = 2"]
    assert "“␣a” falls from 0.90 to 0.60" in title(fig)
    assert [bar.get_width() for bar in fig.axes[1].patches] == pytest.approx(
        [0.6, 0.4]
    )  # one order in all panels


def test_a_token_that_a_setting_rules_out_has_an_empty_bar():
    all_of_it = pd.DataFrame({"token": ["a", "b"], "prob": [0.7, 0.3], "top_k": 0})
    greedy = pd.DataFrame({"token": ["a"], "prob": [1.0], "top_k": 1})
    fig = plots.plot_distribution(pd.concat([all_of_it, greedy]), by="top_k")
    assert [bar.get_width() for bar in fig.axes[1].patches] == pytest.approx([1.0, 0.0])


def test_the_shift_map_counts_categories_and_marks_each_token_by_glyph_and_rank():
    fig = plots.plot_token_shift(shift_table("uuus" + "m"))
    assert title(fig).startswith("60% of the instruct's tokens") and "20% are shifted" in title(fig)
    shown = texts(fig)
    assert {"■40", "▴2", "·1"} <= set(shown)
    assert "␣w3 (rank 40)" in plots.alt_text(fig)


def test_a_token_that_the_base_does_not_have_is_drawn_without_a_rank():
    table = shift_table("us")
    table.loc[1, "rank_base"] = pd.NA
    assert "■–" in texts(plots.plot_token_shift(table))


def test_the_ranks_below_narrow_tokens_do_not_touch():
    ranks = [49151, 12345, 3358, 1, 49151, 2]
    table = pd.DataFrame(
        {"position": range(6), "token": list("I'm t,"), "rank_base": ranks, "category": ["shifted"] * 6}
    )
    fig = plots.plot_token_shift(table)
    fig.draw_without_rendering()
    boxes = [t.get_window_extent() for t in fig.axes[0].texts if t.get_text().startswith("■")]
    assert len(boxes) == 6
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_several_answers_get_a_strip_each_and_what_is_left_out_is_said():
    some = pd.concat([shift_table("us").assign(prompt=f"question {i}") for i in range(3)])
    assert {"“question 0”", "“question 2”"} <= set(texts(plots.plot_token_shift(some)))
    many = pd.concat([shift_table("us").assign(prompt=f"question {i}") for i in range(90)])
    fig = plots.plot_token_shift(many)
    assert "180 tokens of 90 answers" in " ".join(texts(fig)) and "drawn)" in " ".join(texts(fig))
    assert png(fig).height < 5000


def test_the_weights_title_names_the_extremes():
    assert title(plot_weight_change(weights_table())) == (
        "The weights moved least in the final norm (1.0% of their length) and most in layer 0’s mlp (20.0%)"
    )


def test_the_rates_title_names_the_widest_gap_and_every_rate_is_in_the_sentence():
    fig = plots.plot_rates(rates_table())
    assert title(fig) == "Widest gap, “stops”: base 5%, instruct 98%"
    assert "answers, instruct: 50% (40% to 60%, n = 64)" in plots.alt_text(fig)
    assert title(plots.plot_rates(rates_table(), finding="What I say it shows")) == "What I say it shows"


def test_surprise_leaves_the_first_token_out_of_the_mean():
    assert title(plots.plot_logprobs(logprobs_table())) == (
        "Mean surprise 2.00 nats per token (perplexity 7.4); most at “␣cat”, 3.0 nats"
    )
    both = pd.concat([logprobs_table().assign(variant="base"), logprobs_table().assign(variant="instruct")])
    assert title(plots.plot_logprobs(both)) == "Mean surprise per token: base 2.00 nats, instruct 2.00 nats"


def test_a_table_of_the_wrong_kind_is_named_with_what_makes_the_right_one():
    with pytest.raises(ValueError, match=r"prob_base, prob_instruct.*compare\.next_token_table"):
        plots.draw_next_token(pd.DataFrame({"token": ["a"]}))
    with pytest.raises(ValueError, match="no rows"):
        plots.plot_token_shift(shift_table(""))
