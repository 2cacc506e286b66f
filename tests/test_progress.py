"""The learner's progress: lessons, questions and points in one file, as a table, a sentence and a picture."""

import json

import nbformat
import pytest

from course_grading import progress, quizzes, report
from course_utils import plot_progress
from tools import notebooks


@pytest.fixture(autouse=True)
def own_progress(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


def answer(lesson: str, right: list[bool]) -> None:
    questions = quizzes.load(lesson)
    for question, good in zip(questions, right, strict=False):
        progress.record_answer(lesson, question.key, good, [known.key for known in questions])


def state(lesson: str) -> str:
    return report.lessons().set_index("lesson").state[lesson]


def test_the_titles_are_those_of_the_lessons():
    for path in sorted(notebooks.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        title = nbformat.read(path, 4).cells[0].source.splitlines()[0]
        assert title == f"# {path.stem[:2]} · {report.TITLES[path.stem[:2]]}"


def test_a_lesson_is_open_then_begun_then_done():
    assert state("01") == "open"
    answer("01", [False])
    assert state("01") == "begun"
    answer("01", [True, True, True])
    assert state("01") == "begun" and report.lessons().questions.sum() == 3
    answer("01", [True] * 4)
    assert state("01") == "done" and state("02") == "open"


def test_points_of_an_exercise_count_with_its_lesson(own_progress):
    (task, *_) = report.points("01").task
    own_progress.write_text(json.dumps({"format": 1, "tasks": {task: {"points": 3, "of": 10}}}))
    row = report.lessons().set_index("lesson").loc["01"]
    assert (row.points, row.state) == (3, "begun") and row.points_of == 100


def test_a_file_of_the_first_format_is_kept(own_progress):
    old = {"format": 1, "tasks": {"softmax": {"points": 5, "of": 10}}, "note": "mine"}
    own_progress.write_text(json.dumps(old))
    answer("00", [True])
    kept = json.loads(own_progress.read_text())
    assert kept["tasks"] == old["tasks"] and kept["note"] == "mine" and len(kept["questions"]["00"]) == 1


def test_what_a_file_of_an_earlier_numbering_keeps_of_lesson_08_is_lesson_09_s(own_progress):
    (key, *_) = (question.key for question in quizzes.load("09"))
    old = {"format": 2, "questions": {"08": {key: True}, "07": {"a": True}}, "lessons": ["07", "08"]}
    own_progress.write_text(json.dumps(old))
    assert progress.answers("09") == {key: True} and progress.answers("08") == {}
    assert state("09") == "done" and state("07") == "done"
    answer("00", [True])  # written as it is read, so that nothing moves a second time
    kept = json.loads(own_progress.read_text())
    assert kept["format"] == progress.FORMAT and kept["lessons"] == ["07", "09"]
    assert progress.read()["questions"] == kept["questions"] and set(kept["questions"]) == {"00", "07", "09"}


@pytest.mark.parametrize(
    "spoilt",
    [
        "[]",
        '{"questions": 3, "lessons": 4}',
        '{"questions": {"01": [1]}, "lessons": [1, null, "00"]}',
        '{"questions": {"01": {"a": "yes", "b": 1}}}',
        "[" * 100_000,
    ],
)
def test_a_spoilt_file_stops_nothing(own_progress, spoilt):
    own_progress.write_text(spoilt)
    kept = progress.read()
    assert kept["questions"].get("01", {}) == {} and set(kept["lessons"]) <= {"00"}
    answer("01", [True])
    assert sum(progress.answers("01").values()) == 1


def test_a_lesson_once_done_stays_done_when_its_questions_change(own_progress):
    own_progress.write_text(json.dumps({"lessons": ["01"], "questions": {"01": {"an older question": True}}}))
    row = report.lessons().set_index("lesson").loc["01"]
    assert row.state == "done" and row.questions == 0


def test_nothing_done_yet_says_where_to_begin():
    table = report.lessons()
    assert (table.state == "open").all() and "Nothing is done yet" in report.summary(table)
    assert "Nothing is done yet" in plot_progress(table).alt_text


def test_the_picture_says_the_numbers_of_the_table():
    answer("00", [True] * 4)
    answer("02", [True, False])
    table = report.lessons()
    figure = plot_progress(table)
    assert report.summary(table) in figure.alt_text and "1 of 11 lessons done" in figure.alt_text
    assert "lesson 02 begun, questions 1 of 4" in figure.alt_text
    left, right = figure.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert "✔ done" in names[0] and "begun" in names[2] and "open" in names[3]
    written = [text.get_text() for text in left.texts]
    assert written[:3] == ["4 of 4", "0 of 4", "1 of 4"] and "0 of 100" in [t.get_text() for t in right.texts]


def test_a_table_that_is_none_of_progress_is_refused():
    with pytest.raises(ValueError, match=r"report\.lessons"):
        plot_progress(report.lessons().drop(columns="state"))


def test_the_command_prints_the_same_numbers(capsys):
    answer("00", [True] * 4)
    assert report.main() == 0
    said = capsys.readouterr().out
    assert report.summary(report.lessons()) in said and "done" in said and "4 of 4" in said


def test_the_file_may_be_named_from_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("COURSE_PROGRESS", "~/mine.json")
    assert progress.progress_file() == tmp_path / "mine.json"
