"""Lesson 06's bill: what a column served and what its answers cost; and questions to be answered in a manner."""

from types import SimpleNamespace

import pandas as pd

from course_runs import lesson06


def tokenizer(texts, add_special_tokens):
    assert add_special_tokens is False, "a document brings its own beginning"
    return {"input_ids": [text.split() for text in texts]}


def board():
    rows = [
        ("short", "a b", 3),
        ("short", "a b c d", 5),
        ("long", "a b c d e f", 3),
        ("long", "a b c d e f", 5),
    ]
    return SimpleNamespace(answers=pd.DataFrame(rows, columns=["column", "seen", "new_tokens"]))


def served(**passed):
    index = [(column, "suite", i) for column, found in passed.items() for i in range(len(found))]
    index = pd.MultiIndex.from_tuples(index, names=["column", "suite", "item"])
    return pd.Series([one for found in passed.values() for one in found], index=index, name="passed")


def test_a_bill_says_for_each_column_what_was_served_read_and_written():
    bill = lesson06.bill(board(), served(short=[True, False], long=[True, True]), tokenizer)
    assert bill["tokens read"].to_dict() == {"short": 3, "long": 6}
    assert bill["tokens written"].to_dict() == {"short": 4, "long": 4}
    assert bill.served["short"].startswith("50% (") and bill.rate["long"] == 1


def test_the_best_column_serves_most_and_of_equals_reads_least():
    equal = lesson06.bill(board(), served(short=[True, True], long=[True, True]), tokenizer)
    assert lesson06.best_of(equal, ["long", "short"]) == "short"
    better = lesson06.bill(board(), served(short=[True, False], long=[True, True]), tokenizer)
    assert lesson06.best_of(better, ["short", "long"]) == "long"
    assert lesson06.best_of(better, ["short"]) == "short"


def test_a_manners_marks_are_the_words_around_the_answer():
    facts = [SimpleNamespace(prompt="Capital of Norway?", expected="Oslo")]
    [item] = lesson06.manner_suite(facts, {"Capital of Norway?": "Dear colleague, {} With kind regards."})
    assert item["expected"] == ["Dear colleague", "With kind regards"] and item["answer"] == "Oslo"
