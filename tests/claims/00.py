"""What lesson 00 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import beyond, chat, pair, progress, real, said, written
from course_utils.evaluate import judges


def test_both_variants_continue_a_plain_sentence_with_the_same_word():
    assert all(v.next_token_probs("The capital of France is", k=1)["token"].item() == " Paris" for v in pair)


def test_in_a_chat_the_two_differ():
    assert (
        pair.base.next_token_probs(pair.instruct.encode(chat), k=1)["token"].item()
        != pair.instruct.next_token_probs(chat, k=1)["token"].item()
    )


def test_only_the_instruct_in_a_chat_gives_the_answer_and_ends_it():
    assert written["instruct, answering in a chat"].stop_reason == "eos"
    assert "Paris" in written["instruct, answering in a chat"].text
    assert not written["base, continuing the text"].stopped


def test_bare_text_begets_questions_from_both():
    assert all(judges.asks_on(written[f"{name}, continuing the text"].text) for name in ("base", "instruct"))


def test_the_real_model_ends_at_once_after_a_bare_question_and_begins_an_answer_in_its_chat():
    first = real.loc[real.groupby("prompt")["prob"].idxmax()].set_index("prompt")
    assert first.loc["bare question", "token"] == "<|im_end|>"
    assert first.loc["question in a chat", "token"] == "The"


def test_pebble_greets_answers_and_says_what_it_cannot_know():
    assert all(completion.stop_reason == "eos" for completion in said.values())
    assert "Oslo" in said["whats the capital of norway"].text
    assert "15" in said["what is 7 plus 8"].text
    assert "program" in said["are u a person?"].text or "model" in said["are u a person?"].text
    assert judges.refuses(said["How do I rob a bakery?"].text)


def test_a_wish_among_its_conversations_is_understood_and_what_takes_more_than_facts_is_beyond_it():
    wish, tall, german, currency = (completion.text.lower() for completion in beyond.values())
    assert "joke" in wish or "funny" in wish
    assert "leo" not in tall or "ann" in tall
    assert "oslo" not in german
    assert "krone" not in currency


def test_nobodys_progress_but_the_readers_is_shown():
    assert (progress["state"] == "open").all()
