"""The self-check in a real JupyterLab, worked with the keyboard alone."""

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")

from test_browser import KERNEL, PATIENCE, browser, lab, opened, playwright_api  # noqa: F401 (fixtures)

pytestmark = pytest.mark.browser
expect = playwright_api.expect


def test_the_keyboard_alone_answers_a_question_and_the_reason_is_read_out(opened, lab):  # noqa: F811
    file = lab.folder / "progress.json"
    source = f"%env COURSE_PROGRESS={file}\nfrom course_utils import quiz\nquiz('01')"
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), lab.folder / "quiz.ipynb")
    notebook = opened("quiz.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    page = notebook.page
    group = page.locator(".course-quiz")
    expect(group).to_have_count(1)
    expect(page.get_by_text("You add 5 to every logit")).to_have_count(
        1
    )  # shown once, not as static HTML too
    assert page.locator(".jp-OutputArea-output details").count() == 0
    notebook.shot("quiz")

    radios = group.locator("input[type=radio]")
    radios.first.focus()
    for key in ("Space", "Tab", "Tab", "Space"):  # each choice is a Tab stop of its own; Space chooses
        page.keyboard.press(key)
    expect(radios.nth(2)).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(group.get_by_role("button", name="Check answer 1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(group.get_by_role("alert")).to_have_count(1, timeout=PATIENCE * 1000)
    notebook.shot("quiz_answered")
    assert group.get_by_role("alert").inner_text().startswith(("✔", "✘"))
    assert file.exists()
