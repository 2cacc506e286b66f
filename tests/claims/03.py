"""What lesson 03 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    after,
    at_end,
    before,
    begun,
    best,
    bos_counts,
    by_hand,
    by_name,
    chat,
    counts,
    encoding,
    ends,
    forgot,
    harmless,
    lookalikes,
    question,
    questions,
    rendered,
    safe_ids,
    survives,
    table,
    tokenizer,
    who_writes,
    worst,
)


def test_chatml_by_hand_and_the_template_give_the_same_tokens():
    assert by_hand == encoding["input_ids"]


def test_only_the_mark_itself_is_one_token():
    assert [text for text, ids in lookalikes.items() if len(ids) == 1] == ["<|im_end|>"]


def test_a_mistyped_keyword_changes_nothing():
    assert rendered(add_generation_promt=True) == rendered() != rendered(add_generation_prompt=True)


def test_a_second_assistant_turn_is_opened_silently():
    assert (
        tokenizer.apply_chat_template(begun, tokenize=False, add_generation_prompt=True).count("assistant")
        == 2
    )


def test_what_is_not_in_the_list_of_messages_was_never_said():
    assert "Lena" in chat[-1]["content"]
    assert "Lena" not in forgot


def test_at_least_ten_families_which_end_their_answers_in_many_ways():
    assert len(table) >= 10
    assert table.end_of_turn.nunique() >= 5


def test_tags_with_the_end_mark_are_zephyrs_and_llama_3_does_not_write_chatml():
    assert who_writes("<|user|>", "</s>") == ["zephyr"]
    assert "llama-3" not in who_writes("<|im_start|>")


def test_there_are_at_least_60_questions_all_different():
    assert len({q for q, _ in questions}) == len(questions) >= 60


def test_in_the_template_the_instruct_answers_and_stops_and_a_base_given_it_does_not():
    assert all(
        by_name.loc[(what, "own template", "instruct")].low > by_name.loc[(what, "own template", "base")].high
        for what in ("answers", "stops")
    )


def test_the_instruct_answers_bare_text_less_often_than_its_template():
    assert (
        by_name.loc[("answers", "bare text", "instruct")].high
        < by_name.loc[("answers", "own template", "instruct")].low
    )


def test_some_wrong_template_costs_the_instruct_its_answers():
    assert worst.high < best.low


def test_the_instruct_expects_the_end_where_it_is_and_the_base_far_less():
    assert at_end["instruct"] > 0.5
    assert at_end["base"] < at_end["instruct"] / 2
    assert ends[(ends.reader == "instruct") & (ends.left > 0)].p.mean() < 0.1


def test_no_control_token_comes_out_of_a_users_text():
    assert not set(harmless["input_ids"]) & set(tokenizer.added_tokens_decoder)
    assert sum(i in tokenizer.added_tokens_decoder for i in safe_ids) == sum(
        i in tokenizer.added_tokens_decoder
        for i in tokenizer.apply_chat_template(question, add_generation_prompt=True)["input_ids"]
    )


def test_sanitising_closes_the_forged_turn():
    assert before.low > after.high


def test_a_tag_that_is_plain_text_survives():
    assert [survives(n) for n in ("phi-3", "zephyr", "olmo-2")] == [False, True, True]


def test_encoding_a_rendered_text_doubles_its_bos_and_both_fixes_work():
    assert bos_counts == [1, 2, 1]


def test_llama_3s_bos_is_doubled_zephyrs_is_left_out_in_one_call():
    assert tuple(counts.loc["llama-3"]) == (1, 2)
    assert tuple(counts.loc["zephyr"]) == (0, 1)
