"""Lesson 04's clinic: the same conversations and questions for every run, and verdicts from paired counts."""

from types import SimpleNamespace

import pytest
import torch
from tiny import TEXT, tiny_llama, tiny_tokenizer

from course_runs import lesson04
from course_runs.lesson08 import option_probs
from course_utils.variant import Variant
from pebble_lm.factory.tokenizer import CHAT_TEMPLATE
from pebble_lm.world import knowledge


def run(stops: list[bool], answers: list[bool], losses=(2.0, 1.0, 1.0, 1.0, 1.0, 1.0)) -> lesson04.ClinicRun:
    return lesson04.ClinicRun(list(losses), 0.5, ["…"] * len(stops), stops, answers)


def test_the_conversations_are_short_repeatable_and_not_those_of_another_seed():
    found = lesson04.short_talks(40, seed=404)
    assert len(found) == 40 and found == lesson04.short_talks(40, seed=404)
    assert all(sum(len(m["content"]) for m in talk) < lesson04.CHARACTERS for talk in found)
    assert found != lesson04.short_talks(40, seed=505)


def test_the_questions_are_different_and_about_entities_of_the_test_split():
    found = lesson04.unseen_questions(30, seed=4)
    held = {fact.value for fact in knowledge.facts() if fact.split == "test"}
    assert len(found) == 30 and set(found.values()) <= held


def test_the_table_counts_each_run_and_its_repetition_where_there_is_one():
    runs = {
        "good": run([True] * 40, [True] * 20 + [False] * 20),
        "never stops": run([False] * 40, [True] * 21 + [False] * 19),
    }
    table = lesson04.prices(runs, {"good": run([True] * 40, [True] * 12 + [False] * 28)})
    assert table.loc["good", ["stops", "answers", "answers, another order"]].tolist() == [
        "40 of 40",
        "20 of 40",
        "12 of 40",
    ]
    assert table.loc["never stops", ["stops", "answers, another order"]].tolist() == ["0 of 40", ""]
    assert table.loc["good", "printed loss"] == "1.00"


def test_a_run_is_compared_with_the_good_one_by_what_only_one_of_two_got_right():
    good, other = (
        run([True] * 40, [True] * 20 + [False] * 20),
        run([True] * 40, [False] * 20 + [True] * 5 + [False] * 15),
    )
    paired = lesson04.compared(other, good, "answers")
    assert (paired.only_a, paired.only_b) == (5, 20) and paired.more_than_noise
    assert not lesson04.compared(good, good, "stops").more_than_noise


@pytest.fixture
def tiny_pair():
    tokenizer = tiny_tokenizer(chat=True, extra_text=TEXT[0])
    tokenizer.chat_template, tokenizer.pad_token = CHAT_TEMPLATE, "<|pad|>"
    stops = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    model = tiny_llama(len(tokenizer), seed=3, eos=stops)
    return SimpleNamespace(base=Variant("base", model, tokenizer), instruct=Variant("chat", model, tokenizer))


def test_a_training_takes_all_conversations_in_order_and_leaves_the_base_as_it_was(tiny_pair):
    clinic = lesson04.Clinic(tiny_pair)
    clinic.talks = clinic.talks[:8]
    before = {name: part.clone() for name, part in tiny_pair.base.model.state_dict().items()}
    seen = []

    def make(talks):
        seen.extend(talks)
        return clinic.good_batch(talks)

    variant, losses = clinic.train(make, rows=4)
    assert seen == clinic.talks and len(losses) == 2
    after = tiny_pair.base.model.state_dict()
    assert all(torch.equal(after[name], part) for name, part in before.items())
    assert any(not torch.equal(variant.model.state_dict()[name], part) for name, part in before.items())


def test_another_order_has_the_same_conversations_and_is_the_same_each_time(tiny_pair):
    clinic = lesson04.Clinic(tiny_pair)
    clinic.talks = clinic.talks[:8]
    seen = {}
    for attempt in range(2):
        for order in (0, 1):
            talks = seen.setdefault((attempt, order), [])
            clinic.train(
                lambda some, talks=talks: (talks.extend(some), clinic.good_batch(some))[1], order, rows=4
            )
    assert seen[0, 1] == seen[1, 1] != seen[0, 0] == clinic.talks
    assert all(talk in seen[0, 1] for talk in clinic.talks)


def test_a_training_moves_its_batches_to_where_the_model_is(tiny_pair):
    clinic, moved = lesson04.Clinic(tiny_pair), []
    clinic.talks = clinic.talks[:4]

    def make(talks):
        def parked(values):
            return SimpleNamespace(to=lambda device: moved.append(device) or values)

        return {name: parked(values) for name, values in clinic.good_batch(talks).items()}

    clinic.train(make, rows=4)
    assert set(moved) == {tiny_pair.base.device}


def test_the_options_of_lesson_08_are_read_where_the_model_is():
    def model(ids, logits_to_keep):
        assert ids.device.type == "meta"
        return SimpleNamespace(logits=torch.zeros(*ids[:, -logits_to_keep:].shape, 384))

    variant = Variant("elsewhere", model, tiny_tokenizer())
    model.device = torch.device("meta")
    variant._check_ids = lambda ids: None
    assert option_probs(variant, "Who?", ["a", "bc"], "plain").shape == (2,)
