"""What lessons 00 and 01 draw and measure, and the tables of a real model that they show."""

import pytest
from tiny import tiny_variant

from course_runs import lesson01


def test_openings_are_different_of_both_kinds_and_the_same_for_the_same_seed():
    drawn = lesson01.openings(12, seed=3)
    assert drawn == lesson01.openings(12, seed=3) != lesson01.openings(12, seed=4)
    assert [len(set(texts)) for texts in drawn.values()] == [12, 12]
    assert all("?" in q or q.endswith(".") for q in drawn["questions"])


def test_a_story_mentions_both_names_twice():
    for person, town, text in lesson01.invented_stories(20):
        assert text.count(person) >= 2 and text.count(town) >= 2
    assert len({person for person, *_ in lesson01.invented_stories(20)}) == 20


def test_a_name_costs_what_its_tokens_cost():
    variant = tiny_variant()
    text = "The capital of France is Paris. Paris is in France."
    first, second = lesson01.mention_costs(variant, text, "Paris")
    table = variant.token_logprobs(text)
    spans = variant.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    start = text.index("Paris")
    expected = [-n for n, (a, b) in zip(table["logprob"], spans) if a < start + 5 and b > start]
    assert first == pytest.approx(expected) and len(second) >= 1
    assert lesson01.mention_costs(variant, text, "Rome") == []


def test_each_mention_has_its_row():
    table = lesson01.name_costs(tiny_variant(), count=2)
    assert len(table) == 8 and set(table["name"]) == {"person", "town"} and (table["first"] > 0).all()


def test_who_was_mentioned_before_is_counted_in_the_corpus():
    sentences, before = lesson01.mentioned_before(documents=400)
    assert sentences > 0 and set(before) == {"person", "town"}
    assert all(0 <= count <= sentences for count in before.values())


def test_next_tokens_are_asked_in_three_forms():
    table = lesson01.next_tokens(tiny_variant(chat=True), k=3)
    sizes = set(table.groupby("prompt").size())
    assert table["prompt"].nunique() == 3 and len(sizes) == 1 and 3 <= sizes.pop() <= 9


def test_the_shipped_tables_hold_what_the_lessons_draw():
    tokens, costs = lesson01.recorded(lesson01.NEXT_TOKENS), lesson01.recorded(lesson01.NAMES)
    assert {"prompt", "token", "token_id", "prob", "model", "date"} <= set(tokens.columns)
    assert tokens["prob"].between(0, 1).all() and (tokens.groupby("prompt")["prob"].sum() <= 1).all()
    assert len(costs) == 4 * lesson01.COUNT
    assert tokens["model"].nunique() == costs["model"].nunique() == 1
