"""What lesson 01 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

import torch

from __main__ import (
    by_hand,
    difference,
    ends,
    helper,
    library,
    ours,
    own_loss,
    pair,
    rows,
    saved,
    sentence,
    words,
    wrong_loss,
)


def test_the_probabilities_worked_out_in_the_open_are_those_of_the_figure():
    assert float(difference) < 1e-4


def test_the_loss_by_hand_is_the_librarys():
    assert abs(float(by_hand) - float(library)) < 1e-4


def test_labels_that_are_moved_twice_give_a_far_higher_loss():
    assert float(wrong_loss) > float(own_loss) + 1


def test_the_same_words_in_another_order_surprise_the_base_more():
    assert (
        pair.base.token_logprobs(sentence).logprob.mean()
        > pair.base.token_logprobs(" ".join(words)).logprob.mean()
    )


def test_an_invented_name_is_cheaper_the_second_time():
    assert saved > 0.3


def test_temperature_top_k_and_top_p_in_the_open_are_the_helpers():
    assert float((ours - torch.tensor(helper["prob"].tolist())).abs().max()) < 1e-4


def test_greedy_always_writes_the_same_text_heat_many():
    assert rows[0]["different texts of 40"] == 1
    assert rows[-1]["different texts of 40"] > 20


def test_after_an_answer_the_instruct_expects_the_end_of_turn_the_base_does_not():
    assert float(ends["instruct"][-1, 1]) > 0.3
    assert float(ends["base"][-1, 1]) < 0.01
