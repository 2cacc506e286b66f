"""The self-check questions: every file is whole, an answer is explained at once, and the best result is kept."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from course_grading import progress, quizzes, selfcheck
from course_utils import quiz
from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
LESSONS = quizzes.lessons()
VIEW = notebooks.WIDGET_VIEW


@pytest.fixture(autouse=True)
def own_progress(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


def place(question: quizzes.Question, right: bool) -> int:
    """The place of the right choice, or of the first wrong one."""
    return [choice.right for choice in question.choices].index(right)


def answer(card: selfcheck.Card, right: bool) -> None:
    card.options.index = place(card.question, right)
    card.button.click()


# --- the files ----------------------------------------------------------------------------------------------


def test_every_lesson_has_questions():
    written = sorted(path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert set(written) <= set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_file_has_four_questions_one_right_choice_each_and_a_why_for_every_choice(lesson):
    content = json.loads((quizzes.FOLDER / f"{lesson}.json").read_text(encoding="utf-8"))
    assert quizzes.validate(content) == []
    for question in quizzes.load(lesson):
        reasons = [choice.why for choice in question.choices]
        assert len(set(reasons)) == len(reasons), f"the same why twice: {question.text}"
        assert all(text.count("`") % 2 == 0 for text in [question.text, *reasons]), "backticks come in pairs"


def test_the_right_choice_has_no_place_of_its_own():
    places = [place(question, True) for lesson in LESSONS for question in quizzes.load(lesson)]
    assert len(set(places)) >= 3 and max(map(places.count, places)) < 0.6 * len(places)


GOOD = {"text": "a", "right": True, "why": "so"}, {"text": "b", "right": False, "why": "no"}
THREE = [*GOOD, {"text": "c", "right": False, "why": "neither"}]


def content(**changed) -> list[dict]:
    return [{"question": f"{n}?", "choices": THREE} for n in range(3)] + [
        {"question": "3?", "choices": THREE} | changed
    ]


def test_the_example_of_these_tests_is_valid():
    assert quizzes.validate(content()) == []


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({}, "list of 4 questions, found dict"),
        (content()[:3], "list of 4 questions, found 3 entries"),
        (content(question=" "), 'question 4: "question" must be a text'),
        (content(question="0?"), "the same text"),
        (content(choices=THREE[:2]), 'question 4: "choices" must be a list of 3 or 4'),
        (
            content(choices=[*THREE[1:], THREE[1] | {"text": "d"}]),
            "exactly one choice must be right, but 0 are",
        ),
        (content(choices=[THREE[0], *(one | {"right": True} for one in THREE[1:])]), "but 3 are"),
        (content(choices=[*THREE, THREE[1]]), "two choices have the same text"),
        (
            content(choices=[*THREE[:2], {"text": "c", "right": False}]),
            'choice 3: expected an object with "text"',
        ),
        (content(choices=[*THREE[:2], THREE[2] | {"why": ""}]), 'choice 3: "why" must be a text'),
        (content(choices=[*THREE[:2], THREE[2] | {"right": 0}]), 'choice 3: "right" must be true or false'),
        ([*content()[:3], "no object"], "question 4: expected an object"),
        (content(hint="x"), 'expected an object with "question" and "choices"'),
    ],
)
def test_what_is_wrong_in_a_file_is_named(wrong, said):
    assert said in "; ".join(quizzes.validate(wrong))


def test_a_file_that_is_no_json_names_itself_and_the_place(tmp_path):
    (tmp_path / "01.json").write_text('[{"question": ')
    with pytest.raises(quizzes.QuizError, match=r"quizzes/01\.json is not valid JSON .*line 1"):
        quizzes.load("01", tmp_path)
    (tmp_path / "02.json").write_text("[]")
    with pytest.raises(quizzes.QuizError, match=r"quizzes/02\.json: expected a list of 4"):
        quizzes.load("02", tmp_path)


def test_an_unknown_lesson_says_which_there_are():
    with pytest.raises(ValueError, match="'77'; give one of 00, 01"):
        quiz("77")


def test_a_question_that_was_changed_is_another_question():
    first = quizzes.load("01")[0]
    assert first.key == quizzes.load("01")[0].key
    assert first.key != quizzes.Question(first.text + "?", first.choices).key


# --- in a live notebook ---------------------------------------------------------------------------------------


def test_a_wrong_answer_is_explained_and_can_be_tried_again():
    card = quiz("01").cards[0]
    wrong = card.question.choices[place(card.question, False)]
    answer(card, False)
    assert selfcheck.WRONG in card.feedback.value and selfcheck._rich(wrong.why) in card.feedback.value
    card.options.index = place(card.question, True)
    assert card.feedback.value == "", "the old reason is not about the new choice"
    card.button.click()
    right = card.question.choices[place(card.question, True)]
    assert selfcheck.RIGHT in card.feedback.value and selfcheck._rich(right.why) in card.feedback.value


def test_a_choice_that_the_page_held_back_is_the_one_that_is_judged(own_progress):
    """What the kernel sees of a busy page: the first choice, the click, the second choice, and then the echo."""
    card = quiz("01").cards[0]
    card.options.echo = card.asked.value  # the page echoes once, when it makes the link
    wrong, right = (place(card.question, kind) for kind in (False, True))
    card.options.index = right
    card.button.click()
    assert card.feedback.value == "" and not own_progress.exists(), "nothing is judged before the echo"
    card.options.index = wrong
    card.options.echo = card.asked.value
    assert selfcheck.WRONG in card.feedback.value and not any(progress.answers("01").values())
    card.options.index = right
    for _ in range(2):  # an impatient learner
        card.button.click()
    card.options.echo = card.asked.value - 1
    assert card.feedback.value == ""
    card.options.echo = card.asked.value
    assert selfcheck.RIGHT in card.feedback.value and progress.answers("01")[card.question.key]
    card.options.index = wrong
    assert card.feedback.value == "", "a new choice has no verdict until it is checked"


def test_a_choice_in_one_message_with_the_echo_is_judged_and_keeps_its_verdict(own_progress):
    card = quiz("01").cards[0]
    card.options.echo = card.asked.value
    wrong, right = (place(card.question, kind) for kind in (False, True))
    for held_back in (("index", "echo"), ("echo", "index")):
        card.options.index = wrong
        card.button.click()
        values = {"index": right, "echo": card.asked.value}
        card.options.set_state({name: values[name] for name in held_back})
        assert selfcheck.RIGHT in card.feedback.value
        card.options.index = wrong
        assert card.feedback.value == ""


@pytest.mark.parametrize("late_echo", (True, False), ids=("between them", "after them"))
def test_a_click_counts_even_if_the_page_has_made_no_link_yet(late_echo, own_progress):
    """A busy page makes the link late: the first choice and the click come before it, the second choice after them."""
    card = quiz("01").cards[0]
    wrong, right = (place(card.question, kind) for kind in (False, True))
    card.options.index = wrong
    card.button.click()
    if late_echo:
        card.options.echo = card.asked.value - 1
    card.options.index = right
    card.options.echo = card.asked.value
    assert selfcheck.RIGHT in card.feedback.value and progress.answers("01")[card.question.key]
    card.options.index = wrong
    assert card.feedback.value == ""


def test_a_page_that_leaves_a_click_without_echo_is_not_waited_for_twice(monkeypatch, own_progress):
    card = quiz("01").cards[0]
    card.options.echo = card.asked.value
    card.options.index = place(card.question, True)
    card.button.click()
    assert card.feedback.value == ""
    card.clicked -= selfcheck.PATIENCE + 1
    card.button.click()
    assert selfcheck.RIGHT in card.feedback.value


def test_nothing_is_chosen_beforehand_and_checking_then_says_so():
    card = quiz("01").cards[0]
    assert card.options.index is None
    card.button.click()
    assert selfcheck.OPEN in card.feedback.value and progress.answers("01") == {}


def test_every_control_has_a_label():
    shown = quiz("02")
    for card in shown.cards:
        assert card.options.description and card.button.description and card.button.tooltip
        assert len(card.options.options) == len(card.question.choices)
    assert len({card.button.description for card in shown.cards}) == len(shown.cards)


def test_four_right_answers_make_the_lesson_done_and_what_was_right_stays_right():
    shown = quiz("01")
    for card in shown.cards[:3]:
        answer(card, True)
    assert "3 of 4" in shown._summary.value and progress.read()["lessons"] == []
    answer(shown.cards[3], True)
    assert "lesson 01 is done" in shown._summary.value and progress.read()["lessons"] == ["01"]
    answer(shown.cards[0], False)
    assert all(progress.answers("01").values()) and progress.read()["lessons"] == ["01"]
    assert "All 4" in quiz("01")._summary.value, "also after a restart"


def test_without_a_progress_file_the_questions_work(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    shown = quiz("01")
    answer(shown.cards[0], True)
    assert "1 of 4" in shown._summary.value and "0 of 4" in quiz("01")._summary.value


# --- without widgets ------------------------------------------------------------------------------------------


def test_what_is_committed_are_the_questions_with_the_answers_folded():
    shown = quiz("03")
    for card in shown.cards:
        answer(card, True)  # a maintainer's own progress must not show in what is committed
    data = shown._repr_mimebundle_()
    assert data[VIEW]["model_id"] == shown.ui.model_id
    output = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
    (kept,) = notebooks._clean_outputs([output])
    assert set(kept.data) == {"text/plain", "text/html"}
    assert kept.data["text/html"] == quiz("03")._repr_html_(), "the same each time"
    folded = re.findall(r"<details>.*?</details>", kept.data["text/html"])
    assert len(folded) == 4
    unfolded = re.sub(r"<details>.*?</details>", "", kept.data["text/html"])
    for question in shown.questions:
        assert selfcheck._rich(question.text) in unfolded
        for choice in question.choices:
            assert selfcheck._rich(choice.text) in unfolded and selfcheck._rich(choice.why) not in unfolded
            assert selfcheck._rich(choice.why) in "".join(folded)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_committed_lesson_shows_the_questions_as_they_are_now(lesson):
    (path,) = notebooks.NOTEBOOKS.glob(f"{lesson}_*.ipynb")
    cell = next(cell for cell in notebooks.read(path).cells if f'quiz("{lesson}")' in cell.source)
    shown = [output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]
    assert shown == [quiz(lesson)._repr_html_()], "execute the lesson again and commit it"


def test_without_ipywidgets_the_questions_can_be_read():
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "from course_utils import quiz\n"
        "shown = quiz('01'); assert shown.ui is None and shown.cards == []\n"
        "assert sorted(shown._repr_mimebundle_()) == ['text/html', 'text/plain']\n"
        "print(shown); print(shown.answers())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    for question in quizzes.load("01"):
        assert question.text in done.stdout
        assert all(choice.why in done.stdout for choice in question.choices)


def test_the_name_stays_the_function_whatever_was_imported_first():
    code = "import course_grading.quizzes, course_grading.selfcheck\n"
    code += "from course_utils import quiz\nassert callable(quiz)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
