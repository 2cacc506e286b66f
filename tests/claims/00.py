"""What lesson 00 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import chat, pair, written
from course_grading.report import lessons


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


def test_nobodys_progress_but_the_readers_is_shown():
    assert (lessons().state == "open").all()
