"""Worked examples come from the training half of the world, what is asked after them from the test half."""

import json

import pytest

from course_runs import shots
from course_utils.evaluate.judges import refuses
from pebble_lm.world import knowledge


@pytest.mark.parametrize("kind", ["facts", "refusals", "JSON", "instructions", "lists"])
def test_an_exchange_is_short_whole_and_the_same_again(kind):
    found = [shots.exchange(kind, seed) for seed in range(20)]
    assert found == [shots.exchange(kind, seed) for seed in range(20)]
    assert len(set(found)) > 10
    assert all(asked.strip() and reply.strip() and len(asked + reply) < 160 for asked, reply in found)


def test_exchanges_are_of_their_kind():
    assert all(json.loads(shots.exchange("JSON", seed)[1]) for seed in range(10))
    assert sum(refuses(shots.exchange("refusals", seed)[1]) for seed in range(20)) >= 15
    assert not any(refuses(shots.exchange("instructions", seed)[1]) for seed in range(20))


def test_questions_are_about_entities_that_fine_tuning_asks_about():
    facts = {f.fill(f.relation.answers[0]): f for f in knowledge.facts()}
    told = [answer for _, answer in shots.questions("x", 40, "{}")]
    assert {facts[answer].split for answer in told} == {"seen"}
    assert all(answer.startswith("Zing! ") for _, answer in shots.questions("x", 5, "Zing! {}"))


def test_open_facts_are_of_the_test_half_and_come_once():
    found = shots.open_facts(1, 50)
    assert {fact.split for fact in found} == {"test"}
    assert len({fact.entity for fact in found}) == 50


def test_the_three_kinds_of_values():
    true = {(f.table, f.relation.name, f.entity): f.value for f in knowledge.facts()}
    for fact in shots.open_facts(2, 20):
        key = (fact.table, fact.relation.name)
        right, wrong = shots.right_values(fact, 4), shots.wrong_values_of(fact, 4)
        assert [entity for entity, _ in right] == [entity for entity, _ in wrong]
        assert all(true[*key, entity] == value for entity, value in right)
        assert all(true[*key, entity] != value for entity, value in wrong)
        assert shots.right_values(fact, 2) == right[:2]
        assert len(shots.other_relations(fact, 8)) == 8


def test_the_two_wordings_are_about_the_same_facts():
    familiar, new = shots.in_two_wordings(3, 30).values()
    assert [row["expected"] for row in familiar] == [row["expected"] for row in new]
    assert all(a["prompt"] != b["prompt"] for a, b in zip(familiar, new))
