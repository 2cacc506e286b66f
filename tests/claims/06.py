"""What lesson 06 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

import pandas as pd

from __main__ import (
    LABELS,
    base,
    best,
    best_prompt,
    document,
    ends,
    examples,
    forms,
    from_anywhere,
    grid,
    ladder,
    page_rows,
    pair,
    parts,
    persona,
    question,
    ranks,
    rates,
    rungs,
    sft,
    shown_words,
    steps,
    success,
    versus,
    with_system,
)
from course_utils import query_base_as_instruct, token_shift
from course_utils.evaluate import judges
from pebble_lm.world import knowledge


def at(measure, column):
    return rates[(rates.measure == measure) & (rates.column == column)].iloc[0]


one_of = pd.concat(parts).pivot(index="measure", columns="column", values="rate")


def word(suite, column):
    return float(shown_words[(shown_words.suite == suite) & (shown_words.column == column)].rate.iloc[0])


labelled_columns = [f"base + {a}/{b}" for a, b in LABELS]
pages_no = {(r[0], r[1]): int(r[4].split()[0]) / int(r[4].split()[2]) for r in page_rows}


def kept(name):
    return persona[persona.variant == name].rate


def test_the_third_rung_is_query_base_as_instruct():
    assert query_base_as_instruct(base, question).prompt == with_system(question)


def test_no_example_in_a_prompt_asks_about_an_entity_of_the_test_split():
    assert not any(
        judges.says(q, f.entity)
        for q, _ in examples
        for f in knowledge.facts()
        if f.split == "test" and len(f.entity) > 3 and f.table != "opposites"
    )


def test_the_frame_makes_the_step_from_no_answer_to_answers():
    assert at("answers", "base alone").high < 0.5 < at("answers", "base + frame").low


def test_a_published_frame_that_the_base_has_not_read_does_worse_than_our_labels():
    assert at("answers", "base + URIAL").high < at("answers", "base + URIAL, our labels").low


def test_the_template_does_not_make_a_base_answer_as_the_tuned_model_does():
    assert at("answers", "base + template").high < at("answers", sft.name).low


def test_no_prompt_refuses_as_the_tuned_model_does():
    assert best_prompt("refuses").high < at("refuses", sft.name).low


def test_json_on_request_is_fine_tunings():
    assert forms.loc["JSON keys", sft.name] > 0.5 > 0.2 > forms.loc["JSON keys", list(ladder)].max()


def test_one_word_is_kept_without_being_asked_for():
    assert forms.loc["one word", "base + system prompt, stop"] > 0.7


def test_without_stop_strings_a_prompted_base_does_not_end_in_time_with_them_it_does():
    assert at("ends in time", "base + system prompt").high < 0.3
    assert at("ends in time", "base + system prompt, stop").low > 0.8


def test_an_end_comes_with_a_full_page_not_with_an_answer():
    assert ends[6] > 5 * ends[1]
    assert ends[1] < 0.2


def test_the_rule_says_no_to_harmless_acts_as_well():
    assert pages_no[("a rule", "comply")] > 0.5


def test_stop_strings_are_more_than_noise():
    assert versus(*steps[0]).more_than_noise
    assert versus(*steps[0]).difference > 0


def test_the_best_prompt_is_one_that_ends():
    assert rungs[best][1] is not None


def test_the_first_example_says_what_the_task_is():
    assert grid[0][1] > grid[0][0] + 0.2


def test_wrong_values_cost_less_than_other_relations():
    assert sum(success(wrong=1)) > sum(success(draw=from_anywhere))


def test_four_examples_of_its_own_kind_give_no_json_and_no_refusal():
    assert all(
        one_of.loc[m, "base + 4 of its kind"] < 0.2 < one_of.loc[m, sft.name]
        for m in ("JSON keys", "refuses")
    )


def test_other_labels_on_the_prompt_break_the_base_and_new_wordings_cost_the_tuned_model_too():
    assert (
        min(word("facts", c) for c in labelled_columns) < 0.4 < 0.7 < word("facts", "base + Question/Answer")
    )
    assert word("phrasings", sft.name) < word("facts", sft.name)


def test_told_a_role_the_tuned_model_is_in_character_in_its_first_turn_the_shown_base_is_not():
    assert kept(sft.name).iloc[0] > kept("base + 2 examples").iloc[0]


def test_the_ranks_in_the_open_are_those_of_token_shift():
    assert ranks == token_shift(pair, question, base_prompt=document).rank_base.tolist()
