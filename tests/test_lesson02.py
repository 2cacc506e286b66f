"""What lesson 02 takes from the helper package: rates and intervals, texts side by side, requests of several kinds."""

import re
from random import Random

import pytest

from course_runs.distance import differing_settings
from course_runs.lesson02 import requests_by_kind
from course_runs.reading import CUT, ENDED, side_by_side
from course_runs.resample import bootstrap_mean, rate_table, share_text
from course_utils.evaluate.stats import wilson
from course_utils.pairs import load_pair
from course_utils.variant import Completion
from pebble_lm.world import knowledge

# -- rates and intervals ---------------------------------------------------------------------------------------


def test_a_table_of_rates_has_a_row_for_each_label_and_variant_with_wilsons_interval():
    table = rate_table({("stops", "base"): [True, False, False, False], ("stops", "instruct"): [True]})
    assert table[["label", "variant", "n", "rate"]].values.tolist() == [
        ["stops", "base", 4, 0.25],
        ["stops", "instruct", 1, 1.0],
    ]
    assert (table.low[0], table.high[0]) == wilson(1, 4)
    with pytest.raises(ValueError, match="'stops' of 'base' has no outcomes"):
        rate_table({("stops", "base"): []})


def test_where_the_values_of_a_group_agree_the_interval_is_as_wide_as_that_of_the_groups():
    rng = Random(0)
    of_group = [rng.random() < 0.5 for _ in range(100)]
    values = [value for value in of_group for _ in range(20)]
    groups = [number for number in range(100) for _ in range(20)]
    mean, low, high = bootstrap_mean(values, groups)
    one_by_one = bootstrap_mean(values, range(len(values)), draws=200)
    assert mean == pytest.approx(sum(of_group) / 100) == pytest.approx(one_by_one[0])
    assert high - low == pytest.approx(2 * 1.96 * (mean * (1 - mean) / 100) ** 0.5, rel=0.15)
    assert high - low > 3 * (one_by_one[2] - one_by_one[1])


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        rng = Random(seed)
        rates = [rng.choice([0.1, 0.5]) for _ in range(40)]
        data = [(rng.random() < rate, i) for i, rate in enumerate(rates) for _ in range(10)]
        _, low, high = bootstrap_mean(*zip(*data), draws=300, seed=seed)
        covered += low <= 0.3 <= high
    assert 86 <= covered <= 100


def test_groups_of_unlike_size_count_by_their_tokens():
    mean, _, _ = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert mean == 0.75
    assert share_text([True, True, False, False], [1, 1, 2, 2]).startswith("50% (0% to 100%")
    assert share_text([True, False], [1, 1]) == "50% (one text, no interval)" and share_text([], []) == "–"


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [([1, 0], ["a"], "2 values and 1 groups"), ([1, 0], ["a", "a"], "two of them at least; got 1")],
)
def test_what_cannot_be_drawn_is_said(values, groups, said):
    with pytest.raises(ValueError, match=said):
        bootstrap_mean(values, groups)


# -- reading ---------------------------------------------------------------------------------------------------


def test_texts_stand_side_by_side_with_a_mark_for_how_they_ended():
    ended = Completion(" It is 4.\n", [1], [0.0], "eos", "")
    cut = Completion("<b> and\nmore", [1], [0.0], "length", "")
    shown = side_by_side(["2+2?"], base=[cut], instruct=[ended])
    assert shown.columns == ["base", "instruct"]
    html = shown._repr_html_()
    assert f"It is 4. {ENDED}" in html and f"&lt;b&gt; and<br>more {CUT}" in html and "<b>" not in html
    assert re.findall(r'width="(\d+)%"', html) == ["24", "38", "38"]
    assert html.count('valign="top"') == html.count("<th ") + html.count("<td ")
    assert repr(shown) == f"prompt: 2+2?\n  base: <b> and\nmore {CUT}\n  instruct: It is 4. {ENDED}"
    with pytest.raises(ValueError, match="Column 'base' has 1 texts for 2 prompts"):
        side_by_side(["a", "b"], base=["x"])


# -- the world and the pair ------------------------------------------------------------------------------------


def listed(found: str | list[str]) -> list[str]:
    return [found] if isinstance(found, str) else found


@pytest.mark.parametrize("split", ["dev", "test"])
def test_requests_of_every_kind_are_of_the_split_and_differ_from_the_other_splits(split):
    found = requests_by_kind(12, split=split)
    assert list(found) == ["question", "Python function", "harmless act", "wrong act", "article"]
    assert all(len(set(several)) == 12 for several in found.values())
    assert found == requests_by_kind(12, split=split) != requests_by_kind(12, seed=1, split=split)
    functions = [f for f in knowledge.data("functions")["functions"] if f["split"] == split]
    asks = [ask for f in functions for field in ("ask", "asks") for ask in listed(f.get(field, []))]
    assert all(any(ask in request for ask in asks) for request in found["Python function"])
    objects = {
        kind: [o for act in knowledge.data("actions")[kind] for o in act.get(f"objects_{split}", [])]
        for kind in ("benign", "harmful")
    }
    assert all(any(o in request for o in objects["benign"]) for request in found["harmless act"])
    assert all(any(o in request for o in objects["harmful"]) for request in found["wrong act"])


def test_the_settings_that_differ_are_counted_among_all_and_long_ones_are_cut():
    differing, count = differing_settings(load_pair("pebble"))
    assert set(differing.columns) == {"base", "instruct"} and len(differing) < count
    template = differing.loc["tokenizer.chat_template"]
    assert template["base"] == "None" and template["instruct"].endswith("characters)")
    assert not differing.index.str.contains(r"\._").any()
    assert (differing["base"] != differing["instruct"]).all()


def test_a_prompt_asked_twice_keeps_both_rows():
    shown = side_by_side(["a", "b", "a", "a"], base=["1", "2", "3", "4"])
    assert shown.rows == {
        "a": {"base": "1"},
        "b": {"base": "2"},
        "a (2)": {"base": "3"},
        "a (3)": {"base": "4"},
    }
