"""Exercise 05's pieces: the small model, the examples in a house style, what is measured of a training."""

from random import Random

import pytest
import torch

from course_grading.checks import WRONG, ex05, examine
from course_utils import Variant
from course_utils.train.rows import encode


def test_the_small_model_is_causal():
    model = ex05.SmallModel(Random(1))
    ids = torch.tensor([[3, 4, 5, 6]])
    changed = ids.clone()
    changed[0, -1] = 9
    assert torch.equal(model(ids).logits[0, :3], model(changed).logits[0, :3])
    assert not torch.equal(model(ids).logits[0, 3], model(changed).logits[0, 3])


def test_every_bug_and_every_group_of_bugs_of_the_loop_gives_other_losses():
    given = ex05._small_run(Random(3), 5)
    found = [tuple(ex05._trained(*given))]
    found += [tuple(mistake.answer(*given)) for mistake in ex05.TRAIN_LOSSES.mistakes]
    assert len(set(found)) == len(found) == 1 + 15 + 5


def test_the_padding_has_the_id_of_the_end_of_turn_and_the_mask_tells_them_apart():
    for ids, mask in ex05._batches(Random(2), 4):
        for row, learned in zip(ids.tolist(), mask.tolist()):
            last = max(i for i, m in enumerate(learned) if m)
            assert row[last] == 0 and not any(row[last:]) and not any(learned[last + 1 :])


def test_the_examples_are_new_for_each_seed_and_all_in_one_style_that_is_learned():
    talks, opener = ex05.house_style(Random(1), 20)
    assert talks != ex05.house_style(Random(2), 20)[0]
    said = [turn["content"] for talk in talks for turn in talk if turn["role"] == "assistant"]
    assert said and all(text.startswith(opener + " ") for text in said)
    assert len(encode(ex05.pebble().instruct.tokenizer, talks)) >= len(talks)


@pytest.mark.parametrize(
    "style, ends, facts, mistake",
    [
        (0.1, 1.0, 1.0, "too little training"),
        (1.0, 1.0, 0.2, "facts are overwritten"),
        (1.0, 0.6, 1.0, "it does not end yet"),
    ],
)
def test_a_training_is_diagnosed_by_what_it_lacks(style, ends, facts, mistake):
    assert ex05._why({ex05.STYLE: style, ex05.ENDS: ends, ex05.FACTS: facts})[0] == mistake


def test_the_shipped_instruct_does_not_pass_for_a_training_on_the_given_examples():
    shipped = ex05.pebble().instruct
    outcome = examine(
        "keep_facts",
        lambda base, tokenizer, examples, old: Variant("shipped", shipped.model, shipped.tokenizer),
        2,
    )
    assert (outcome.status, outcome.mistake) == (WRONG, "too little training") and outcome.points == 0


@pytest.mark.parametrize("rates, step", [({0: 1, 4: 0.2, 8: 0}, 4), ({0: 0, 4: 0.4, 8: 0.6, 12: 1}, 8)])
def test_half_of_the_way_counts_where_it_is_first_done(rates, step):
    assert ex05._half_way(rates) == step
