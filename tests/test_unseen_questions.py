"""The questions that lessons 02 and 03 ask: about entities that no conversation of the fine-tuning was about."""

from course_runs.lesson02 import unseen_questions
from course_utils.evaluate.judges import says
from pebble_lm.world import knowledge


def test_questions_are_different_and_the_same_for_the_same_seed():
    asked = unseen_questions(40)
    assert len({question for question, _ in asked}) == 40
    assert asked == unseen_questions(40) != unseen_questions(40, seed=1)


def test_each_is_about_an_entity_of_the_test_split_and_has_its_value():
    held_out = [fact for fact in knowledge.facts() if fact.split == "test"]
    for question, answer in unseen_questions(40):
        assert any(
            fact.value == answer
            and any(says(question, name) for name in (fact.entity, fact.name, fact.plural))
            for fact in held_out
        ), question
