"""The judges on what a real model wrote: their agreement with a reader is measured and stated, and may not fall."""

from collections import Counter

from course_utils.evaluate.stats import wilson
from tools import judges as agreement


def test_the_labelled_file_is_large_and_mixed():
    rows = agreement.outputs()
    assert len(rows) >= 200 and len({row["number"] for row in rows}) == len(rows)
    labels = Counter((name, value) for row in rows for name, value in row["labels"].items())
    for name in agreement.JUDGES:
        assert min(labels[name, True], labels[name, False]) >= 5, name


def test_the_page_states_what_the_judges_give_now():
    assert agreement.PAGE.read_text(encoding="utf-8") == agreement.page(), "run python tools/judges.py"


def test_the_judges_find_most_of_what_a_reader_finds_and_little_else():
    rows = [row for row in agreement.outputs() if "begun" not in row]
    for name, judge in agreement.JUDGES.items():
        found = [(judge(row), row["labels"][name]) for row in rows if name in row["labels"]]
        both = sum(said and true for said, true in found)
        assert wilson(both, sum(said for said, _ in found))[0] > 0.6, f"precision of {name}"
        assert wilson(both, sum(true for _, true in found))[0] > 0.6, f"recall of {name}"
