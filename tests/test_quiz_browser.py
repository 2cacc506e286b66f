"""The self-check in a real JupyterLab, worked with the mouse and with the keyboard alone."""

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")

from test_browser import KERNEL, browser, expect, lab, opened  # noqa: F401 (fixtures)

from course_grading import progress, quizzes

pytestmark = pytest.mark.browser

# Of each choice, in pixels: how far its button's top is below its text's, the button's right and the text's left edge.
PLACES = """() => [...document.querySelectorAll('.course-quiz .widget-radio-box label')].map(label => {
    const words = document.createRange();
    words.selectNodeContents(label.firstChild);
    const lines = [...words.getClientRects()], button = label.querySelector('input').getBoundingClientRect();
    return {lines: lines.length, below: button.top - lines[0].top, right: button.right,
        text: Math.min(...lines.map(line => line.left))};
})"""


def shown_quiz(opened, lab, name: str, number: str, progress_in):  # noqa: F811
    """The notebook `name`, which shows quiz `number` and has run; progress goes to `progress_in`, or is "off"."""
    source = f"%env COURSE_PROGRESS={progress_in}\nfrom course_utils import quiz\nquiz('{number}')"
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), lab.folder / f"{name}.ipynb")
    notebook = opened(f"{name}.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    return notebook


def test_the_keyboard_alone_answers_a_question_and_the_reason_is_read_out(opened, lab):  # noqa: F811
    file = lab.folder / "progress.json"
    notebook = shown_quiz(opened, lab, "quiz", "01", file)
    page = notebook.page
    group = page.locator(".course-quiz")
    expect(group).to_have_count(1)
    # Shown once, not as static HTML too.
    expect(page.get_by_text("You add 5 to every logit")).to_have_count(1)
    assert page.locator(".jp-OutputArea-output details").count() == 0
    notebook.shot("quiz")

    radios = group.locator("input[type=radio]")
    # From the cell, which has the focus after it has run.
    notebook.press_tab_until(".course-quiz input[type=radio]")
    expect(radios.first).to_be_focused()
    for key in ("Space", "Tab", "Tab", "Space"):  # each choice is a Tab stop of its own; Space chooses
        page.keyboard.press(key)
    expect(radios.nth(2)).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(group.get_by_role("button", name="Check answer 1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(group.get_by_role("alert")).to_have_count(1)
    notebook.shot("quiz_answered")
    assert group.get_by_role("alert").inner_text().startswith(("✔", "✘"))
    assert file.exists()


SLOW_CHOICES = """
import time
from course_utils import quiz
q = quiz('01')
q.cards[0].options.observe(lambda change: time.sleep(2), 'index')  # a kernel that is busy, as on a busy machine
q
"""


def test_a_check_is_about_the_last_choice_even_if_the_kernel_is_busy_with_an_earlier_one(opened, lab):  # noqa: F811
    """The page sends a click at once, but holds a second choice back while the kernel is busy with the first."""
    file = lab.folder / "busy.json"
    cells = [nbformat.v4.new_code_cell(f"%env COURSE_PROGRESS={file}{SLOW_CHOICES}")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), lab.folder / "busy.ipynb")
    notebook = opened("busy.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    group = notebook.page.locator(".course-quiz")
    radios = group.locator(".widget-radio").first.locator("input[type=radio]")
    radios.first.wait_for()
    choices = quizzes.load("01")[0].choices
    wrong, right = ([c.right for c in choices].index(kind) for kind in (False, True))
    for place in (wrong, right):
        radios.nth(place).click()
    group.get_by_role("button", name="Check answer 1").click()
    expect(group.get_by_role("alert")).to_contain_text(choices[right].why.replace("`", ""))
    expect(group.get_by_role("status")).to_contain_text("1 of 4")


def test_the_mouse_answers_every_question_and_the_result_is_kept(opened, lab, monkeypatch):  # noqa: F811
    file = lab.folder / "clicked.json"
    notebook = shown_quiz(opened, lab, "clicked", "01", file)
    group = notebook.page.locator(".course-quiz")
    group.wait_for()
    questions = quizzes.load("01")
    for number, question in enumerate(questions, 1):
        check = group.get_by_role("button", name=f"Check answer {number}")
        for right in (False, True):
            letter, choice = next((a, c) for a, c in zip("ABCD", question.choices) if c.right == right)
            words = f"{letter}. {choice.text.replace('`', '')}"
            group.locator(".widget-radio").nth(number - 1).get_by_text(words, exact=True).click()
            check.click()
            said = group.get_by_role("alert").filter(has_text="✔" if right else "✘")
            expect(said.filter(has_text=choice.why.replace("`", ""))).to_have_count(1)
    expect(group.get_by_role("status")).to_contain_text(f"All {len(questions)} answered right")
    notebook.shot("quiz_by_mouse")
    monkeypatch.setenv("COURSE_PROGRESS", str(file))
    assert list(progress.answers("01").values()) == [True] * len(questions)


def test_a_choice_of_two_lines_keeps_its_button_at_its_left_and_on_its_first_line(opened, lab):  # noqa: F811
    notebook = shown_quiz(opened, lab, "narrow", "09", "off")
    notebook.page.set_viewport_size({"width": 900, "height": 1500})
    notebook.page.locator(".course-quiz input[type=radio]").first.wait_for()
    # JupyterLab lays its panels out anew some time after the window has changed.
    expect(notebook.page.locator(".course-quiz input[type=radio]")).to_have_count(16)
    notebook.page.wait_for_function(f"() => ({PLACES})().some(place => place.lines >= 2)")
    notebook.shot("quiz_narrow")
    places = notebook.page.evaluate(PLACES)
    assert len(places) == 16
    assert all(abs(place["below"]) <= 6 and place["right"] <= place["text"] for place in places), places
