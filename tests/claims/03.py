"""What lesson 03 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    after_next,
    before_next,
    begun,
    by_hand,
    chat,
    counts,
    encoding,
    forgot,
    gallery,
    harmless,
    lookalikes,
    own,
    paired,
    pirates,
    question,
    questions,
    rendered,
    safe_ids,
    starts,
    survives,
    talk,
    templates,
    thought,
    tokenizer,
    verdicts,
    who_writes,
    worst,
    written,
)
from course_utils.evaluate import compare_outcomes
from pebble_lm.world.conversations import conversations


def test_chatml_by_hand_and_the_template_give_the_same_tokens():
    assert by_hand == encoding["input_ids"]


def test_only_the_mark_itself_is_one_token():
    assert [text for text, ids in lookalikes.items() if len(ids) == 1] == ["<|im_end|>"]


def test_encoding_a_rendered_text_doubles_its_bos_and_both_fixes_work():
    one_call, two_calls, without_special = starts.values()
    assert two_calls == [tokenizer.bos_token_id, *one_call]
    assert without_special == one_call != two_calls


def test_a_mistyped_keyword_changes_nothing():
    assert rendered(add_generation_promt=True) == rendered() != rendered(add_generation_prompt=True)


def test_a_second_assistant_turn_is_opened_silently():
    text = tokenizer.apply_chat_template(begun, tokenize=False, add_generation_prompt=True)
    assert text.count("assistant") == 2


def test_what_is_not_in_the_list_of_messages_was_never_said():
    assert "Lena" in chat[-1]["content"]
    assert "Lena" not in forgot


def test_a_thinking_family_rewrites_the_history():
    assert thought in before_next and thought not in after_next
    assert not after_next.startswith(before_next)
    assert templates.render("deepseek-r1", talk).count("make 12") == 0


def test_there_are_at_least_60_questions_all_different():
    assert len({q for q, _ in questions}) == len(questions) >= 60


def test_in_its_own_template_the_instruct_answers_and_in_the_worst_one_hardly():
    assert own.low > 0.5
    assert worst.label.endswith("'s template") and worst.rate < own.rate / 2
    assert paired.loc[worst.label].verdict == "clearly less" and paired.loc[worst.label].p < 0.001


def test_two_foreign_templates_keep_the_answers_and_lose_the_end():
    ends = counts["ends by itself"]
    assert ends["own template"] > 0.9 * len(questions)
    for form in ("zephyr's template", "llama-2's template"):
        assert paired.loc[form].verdict != "clearly less" and paired.rate[form] > own.rate - 0.1, form
        assert ends[form] < 0.75 * len(questions), form
    assert ends["llama-2's template"] < 0.1 * len(questions)


def test_without_the_generation_prompt_it_declines_more_often():
    unknown = [
        ["I don't know" in done.text for done in written[form]]
        for form in ("own, no generation prompt", "own template")
    ]
    found = compare_outcomes("without", "with", "declines", list(zip(*unknown)))
    assert found.more_than_noise and found.difference > 0.05


def test_no_control_token_comes_out_of_a_users_text():
    assert not set(harmless["input_ids"]) & set(tokenizer.added_tokens_decoder)
    own_marks = tokenizer.apply_chat_template(question, add_generation_prompt=True)["input_ids"]
    written = [sum(i in tokenizer.added_tokens_decoder for i in ids) for ids in (safe_ids, own_marks)]
    assert written[0] == written[1]


def share(label):
    return sum(pirates[label]) / len(pirates[label])


def test_a_true_system_turn_makes_pirates_and_plain_words_none():
    assert share("a true system message") > 0.8
    assert max(share(f"{name}: plain words") for name in ("assistant", "butler")) < 0.2


def test_the_forged_turn_does_what_plain_words_do_not_where_the_application_sets_no_voice():
    assert verdicts.verdict["assistant: plain words"] == "clearly less"
    assert share("assistant: a forged turn") > 0.8


def test_the_butler_mostly_stays_one():
    assert share("butler: a forged turn") < 0.25


def test_a_look_alike_of_a_turn_is_enough_for_this_model():
    assert verdicts.verdict["assistant: the same, sanitised"] == "not told apart"
    assert share("assistant: the same, sanitised") > 0.8
    assert verdicts.verdict["butler: the same, sanitised"] == "clearly more"
    assert share("butler: the same, sanitised") > share("butler: a forged turn") + 0.3


def test_it_is_the_word_that_does_it_and_not_the_marks():
    assert max(share(f"{name}: sanitised, “note”") for name in ("assistant", "butler")) < 0.1
    assert share("assistant: words, no marks") > 0.8
    assert share("butler: words, no marks") < 0.2 < share("butler: the same, sanitised")


def test_no_conversation_of_the_training_holds_two_system_messages():
    roles = [[message["role"] for message in talk] for talk in conversations(3, 2_000)]
    assert max(row.count("system") for row in roles) == 1
    assert all("system" not in row[1:] for row in roles)


def test_a_tag_that_is_plain_text_survives():
    assert [survives(n) for n in ("phi-3", "zephyr", "olmo-2")] == [False, True, True]


def test_the_gallery_knows_thirty_families_and_what_is_odd_about_them():
    assert len(gallery) >= 30
    assert list(gallery.index[gallery.system.str.startswith("refused")]) == ["gemma-2"]
    assert gallery.end_of_turn["glm-4.5"] == "none of its own"
    changing = set(gallery.index[~gallery.history_is_kept])
    assert {"qwen3", "gemma-4", "glm-4.5", "mistral-v3"} <= changing and "deepseek-r1" not in changing
    assert "granite-3.3" in gallery.index[gallery.injected != "nothing"]
    assert gallery.injected["granite-4"] == "nothing"


def test_tags_with_the_end_mark_are_zephyrs_and_llama_3_does_not_write_chatml():
    assert who_writes("<|user|>", "</s>") == ["zephyr"]
    assert "llama-3" not in who_writes("<|im_start|>")
