"""Exercise 06's open-ended task, and open-ended tasks as such: partial credit for what an answer does."""

import pytest

from course_grading.checks import CORRECT, NOT_ATTEMPTED, WRONG, examine, find
from course_grading.checks.ex06 import my_prompt, whole_sentence
from course_grading.checks.open_task import Measured, OpenTask, Unusable

TWO_GOALS = {"one": 4, "two": 6}


def task(measure) -> OpenTask:
    return OpenTask("half_done", "Half done", 1, TWO_GOALS, measure, ["Do it."])


def test_each_goal_gives_its_share_of_the_points_rounded_down():
    outcome = task(
        lambda answer, rng: Measured({"one": 1.0, "two": 0.9}, ["a", "b"], ("late", "Too late."))
    ).examine(len, 1)
    assert (outcome.status, outcome.points, outcome.mistake) == (WRONG, 4 + 5, "late")
    assert "✔ one, 4 of 4 points: a" in outcome.message and "✘ two, 5 of 6 points: b" in outcome.message
    assert outcome.message.endswith("Too late.")


def test_all_goals_reached_is_correct_and_the_numbers_are_still_told():
    outcome = task(lambda answer, rng: Measured({"one": 1.0, "two": 1.0}, ["50 of 50", "all"])).examine(
        len, 1
    )
    assert (outcome.status, outcome.points) == (CORRECT, 10) and "50 of 50" in str(outcome)


def test_what_cannot_be_measured_gives_nothing_and_says_why():
    def measure(answer, rng):
        raise Unusable("no prompt", "There is no prompt.")

    outcome = task(measure).examine(len, 1)
    assert (outcome.status, outcome.points, outcome.mistake) == (WRONG, 0, "no prompt")


def test_an_error_is_described_and_a_stub_is_not_attempted():
    calls = task(lambda answer, rng: answer())
    assert calls.examine(lambda: 1 / 0, 1).mistake == "an error"
    assert calls.examine(5, 1).mistake == "not a function"

    def stub():
        raise NotImplementedError

    assert calls.examine(stub, 1).status == NOT_ATTEMPTED


@pytest.mark.parametrize(
    "text, whole",
    [
        ("The capital of Norway is Oslo.", True),
        (" The capital of Norway is Oslo.\n", True),
        ("Oslo.", False),
        ("The capital of Norway is Oslo", False),
        ("It is Oslo. It lies in the south.", False),
        ("The capital of Norway\nis Oslo.", False),
        ("", False),
    ],
)
def test_a_whole_sentence_is_one_line_of_several_words_with_one_end(text, whole):
    assert whole_sentence(text) is whole


def test_a_frame_that_gives_bare_values_earns_the_answers_and_not_the_sentences():
    outcome = examine(
        "my_prompt", lambda question: {"prompt": f"Question: {question}\nAnswer:", "stop": "\n"}, 4
    )
    goals = find("my_prompt").goals
    assert (
        goals["right answers"] <= outcome.points < outcome.of and outcome.mistake == "values, not sentences"
    )


def test_questions_are_others_with_another_seed():
    def asked(seed):
        seen = []
        examine("my_prompt", lambda question: seen.append(question) or my_prompt(question), seed)
        return set(seen)

    one, other = asked(1), asked(2)
    assert len(one) >= 40 and len(one & other) < len(one) / 3
