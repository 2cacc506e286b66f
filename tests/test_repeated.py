"""Means over questions: the quantiles of a table, intervals that hold what they should, pairs that are kept."""

import random

import pytest

from course_runs.repeated import changed, over_questions, student_95


@pytest.mark.parametrize(
    "degrees, quantile",
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (23, 2.069), (100, 1.984)],
)
def test_students_quantiles_are_those_of_the_tables(degrees, quantile):
    assert student_95(degrees) == pytest.approx(quantile, abs=0.03)


def test_the_interval_holds_the_true_mean_in_nineteen_of_twenty_draws():
    rng = random.Random(1)
    held = 0
    for _ in range(2000):
        found = over_questions(rng.gauss(3, 2) for _ in range(12))
        held += found.low <= 3 <= found.high
    assert 0.935 <= held / 2000 <= 0.965


def test_a_change_is_told_on_the_same_questions_though_the_questions_differ_widely():
    before = [0.0, 1.0, 5.0, 9.0, 2.0, 7.0]
    now = [x + change for x, change in zip(before, [0.4, 0.5, 0.6, 0.5, 0.4, 0.6])]
    assert changed(now, before).more_than_noise
    assert over_questions(now).low < over_questions(before).high
    assert changed(now, before).signed == "+0.50 (+0.41 to +0.59)"


def test_a_change_needs_the_same_questions_and_more_than_one():
    with pytest.raises(ValueError):
        changed([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="two of them or more, got 1"):
        over_questions([1.0])
