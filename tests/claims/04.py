"""What lesson 04 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    alone,
    batches,
    counted,
    dropped,
    encode_by_hand,
    falling,
    good,
    headers,
    loss,
    lost,
    matrix,
    questions,
    report,
    runs,
    size,
    stated,
    talk,
    talks,
    tokenizer,
    turns,
    unstated,
)
from course_utils import audit_batch, formats


def test_the_mask_by_hand_is_the_librarys():
    ids, mask = encode_by_hand(talk)
    asked = {"return_dict": True, "return_assistant_tokens_mask": True}
    encoded = tokenizer.apply_chat_template(talk, **asked)
    assert encoded["input_ids"] == ids
    assert encoded["assistant_masks"] == mask


def test_sharegpt_becomes_messages_and_comes_back_the_same():
    assert formats.convert(turns, "sharegpt") == formats.sample("sharegpt")
    assert len(dropped) > 0


def test_some_conversions_lose_something_some_are_impossible():
    assert {"yes", "loses", "no"} <= set(matrix.to_numpy().ravel())


def test_the_broken_file_has_many_kinds_of_problem_a_special_token_in_a_text_among_them():
    assert report.problems["problem"].nunique() >= 5
    assert "special token in text" in set(report.problems["problem"])


def test_the_last_token_of_the_header_is_where_the_answers_first_is_learned():
    ids, mask = encode_by_hand(talk)
    assert mask[:2] == [0, 0]
    assert [i for i, m in enumerate(mask) if m][-1] == len(ids) - 2
    assert ids[-2] == tokenizer.eos_token_id


def test_cutting_at_the_median_length_takes_ends_first_then_answers():
    assert lost["end_lost"].sum() > lost["nothing_left"].sum() > 0


def test_packed_conversations_are_apart_only_where_boundaries_are_stated():
    assert float((stated - alone).abs().max()) < 1e-3
    assert float((unstated - alone).abs().max()) > 0.1


def test_a_good_batch_teaches_to_stop():
    assert runs["nothing wrong"]["stops"] > 0.7 * len(questions)


def test_without_the_end_of_turn_in_the_loss_the_model_does_not_stop():
    assert runs["pad is eos"]["stops"] < 0.1 * len(questions)


def test_an_empty_mask_gives_no_loss_and_no_gradient():
    assert size == 0
    assert loss.item() != loss.item()


def test_searching_for_a_word_puts_much_into_the_loss_that_is_no_answer():
    assert counted[headers] > 1.1 * counted[good]


def test_labels_shifted_twice_cost_the_answers():
    assert (
        runs["labels shifted twice"]["loss on good batches"]
        > runs["nothing wrong"]["loss on good batches"] + 0.5
    )
    assert runs["labels shifted twice"]["answers"] < runs["nothing wrong"]["answers"]


def test_the_printed_loss_falls_in_every_run():
    assert falling == len(runs) == 5


def test_the_audit_names_each_bug_and_nothing_else():
    assert {
        name: set(audit_batch(make(talks[:16]), used)["bug"]) for name, (make, used) in batches.items()
    } == {
        "nothing wrong": set(),
        "pad is eos": {"pad is eos"},
        "double_bos": {"double BOS"},
        "empty_mask": {"empty mask"},
        "headers": {"headers in the loss"},
        "shifted": {"labels shifted"},
    }
