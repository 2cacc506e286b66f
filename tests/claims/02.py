"""What lesson 02 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    both,
    change,
    differing,
    ends,
    judges,
    moved,
    pair,
    questions,
    ranks,
    rates,
    runs,
    scenarios,
    shapes,
    shifts,
)
from course_utils import token_shift
from pebble_lm.world import knowledge

rows_of_scenarios = scenarios.to_dict("records")


def at(label, variant):
    return rates[(rates.label == label) & (rates.variant == variant)].iloc[0]


def test_the_two_have_the_same_tensors():
    assert shapes(pair.base) == shapes(pair.instruct)


def test_the_settings_that_differ_are_about_ends_and_templates():
    assert {"generation_config.eos_token_id", "tokenizer.eos_token", "tokenizer.chat_template"} <= set(
        differing.index
    )
    assert len(differing) < len(both) / 4


def test_most_of_the_tensors_moved_none_by_as_much_as_its_own_length():
    assert (change.relative_change > 0).mean() > 0.5
    assert change.relative_change.max() < 1


def test_the_loop_in_the_open_gives_what_weight_change_gives():
    assert abs(moved["relative change"].max() - change.relative_change.max()) < 1e-6


def test_the_instruct_adds_two_and_two():
    assert "4" in rows_of_scenarios[0]["instruct, greedy"].text


def test_the_instruct_refuses_what_is_wrong():
    assert judges.refuses(rows_of_scenarios[2]["instruct, greedy"].text)


def test_a_summary_copies_the_invented_names():
    assert all(name in rows_of_scenarios[3]["instruct, greedy"].text for name in ("Tavo Relmin", "Orvelton"))


def test_both_continue_the_sentence_with_paris():
    assert "Paris" in rows_of_scenarios[5]["base, greedy"].text


def test_there_are_at_least_100_questions_all_different():
    assert len({q for q, _ in questions}) == len(questions) >= 100


def test_every_question_is_about_an_entity_that_was_kept_out_of_sft():
    assert all(
        any(
            f.split == "test"
            and f.value == answer
            and any(judges.says(q, name) for name in (f.entity, f.name, f.plural))
            for f in knowledge.facts()
        )
        for q, answer in questions
    )


def test_in_the_template_the_instruct_answers_and_the_base_answers_less():
    assert at("answers, in the template", "instruct").low > at("answers, in the template", "base").high


def test_in_the_template_the_instruct_stops_by_itself_and_the_base_does_not():
    assert at("stops, in the template", "instruct").low > 0.8
    assert at("stops, in the template", "base").high < 0.5


def test_a_bare_question_makes_the_base_ask_on():
    assert at("asks on, bare text", "base").low > 0.5 > at("answers, bare text", "base").high


def test_the_instruct_answers_bare_text_less_often_than_a_message():
    assert at("answers, bare text", "instruct").high < at("answers, in the template", "instruct").low


def test_without_its_end_of_turn_in_the_loops_list_the_answer_runs_on():
    with_it, without = runs
    assert len(without) > len(with_it)
    assert without[: len(with_it)].tolist() == with_it.tolist()


def test_the_instruct_knows_where_its_answer_ends_the_base_far_less():
    assert ends.loc["instruct", "at its end"] > 0.5
    assert ends.loc["instruct", "before its end"] < 0.1
    assert ends.loc["base", "at its end"] < ends.loc["instruct", "at its end"] / 2


def test_most_tokens_of_an_answer_are_unshifted():
    assert (shifts["the chat template"].category == "unshifted").mean() > 0.5


def test_the_shift_falls_along_the_answer():
    shift = shifts["the chat template"]
    moved_there = shift.category != "unshifted"
    assert moved_there[shift.position < 3].mean() > moved_there[shift.position >= 10].mean()


def test_the_ranks_in_the_open_are_those_of_token_shift():
    assert ranks == token_shift(pair, "What is the capital of Japan?").rank_base.tolist()
