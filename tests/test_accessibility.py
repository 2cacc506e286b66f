"""axe-core finds no serious violation: neither on the pages of the web edition, nor in the HTML that the course
shows in a notebook (token ribbon, explorer, checks, self-check questions), on a light and on a dark page.

axe-core comes with the package axe-playwright-python, here or beside Sphinx; COURSE_AXE names another axe.min.js.
"""

import os
import shutil
from pathlib import Path

import axe
import pytest
import torch
from tiny import tiny_variant

from course_grading.checks.task import CORRECT, NOT_ATTEMPTED, WRONG, Outcome
from course_utils import show_tokens
from course_utils.pairs import Pair

api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")

pytest_plugins = ["built_site"]
pytestmark = pytest.mark.browser

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
# JupyterLab's own colours of its two themes, as its style sheets give them.
THEMES = {
    "light": {"--jp-ui-font-color1": "rgba(0, 0, 0, 0.87)", "background": "#ffffff"},
    "dark": {"--jp-ui-font-color1": "rgba(255, 255, 255, 1)", "background": "#111111"},
}


@pytest.fixture(scope="module")
def view():
    """A page of a real browser."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    axe.source()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(600_000)
        yield page
        browser.close()


# -- what the course shows in a notebook -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def no_progress():
    """Nothing that is answered here is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_PROGRESS", "off")
        yield


@pytest.fixture(scope="module")
def pieces(no_progress) -> dict[str, str]:
    """The HTML of everything that the course displays, by name."""
    from course_utils import quiz
    from course_utils.explorer import explore

    pair = Pair(tiny_variant(), tiny_variant(chat=True, seed=1), "tiny")
    talk = [{"role": "user", "content": "Hi & <b>hello</b>"}, {"role": "assistant", "content": "Good\nday."}]
    probs = torch.rand(len(show_tokens(pair.instruct, talk))).tolist()
    explorer = explore(pair, "The capital of France is", max_new_tokens=4)
    explorer.token_buttons[0].click()
    explorer.generate["instruct"].click()
    explorer.wait(120)
    found = {
        "a text's ribbon": show_tokens(pair.base, "The capital of France is Paris.")._repr_html_(),
        "a talk's ribbon": show_tokens(pair.instruct, talk, labels=True)._repr_html_(),
        "a ribbon with probabilities": show_tokens(pair.instruct, talk, probs=probs)._repr_html_(),
        "what both variants read": explorer.reads.value,
        "the explorer's bars": explorer.bars.value,
        "what the instruct writes": explorer.written["instruct"].value,
    }
    explorer._show_error(ValueError("This prompt is <empty>."))
    found["the explorer's error"] = explorer.message.value
    for status in (CORRECT, WRONG, NOT_ATTEMPTED):
        outcome = Outcome("softmax", status, 0, 15, "Is the temperature applied before the softmax?")
        found[f"a check: {status}"] = outcome._repr_html_()
    found["self-check questions"] = quiz("01")._repr_html_()
    for number, card in enumerate(quiz("01").cards[:2]):
        card.options.index = number
        card.button.click()
        found[f"an answered question {number}"] = card.feedback.value
    return found


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_that_the_course_displays_has_a_serious_violation(theme, view, pieces, tmp_path):
    assert all(pieces.values()), [name for name, text in pieces.items() if not text]
    style = "".join(f"{name}: {value}; " for name, value in THEMES[theme].items())
    body = "".join(f"<section><h2>{name}</h2>{text}</section>" for name, text in pieces.items())
    page = tmp_path / "pieces.html"
    page.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pieces</title></head>'
        f'<body style="{style} color: var(--jp-ui-font-color1)"><main><h1>Pieces</h1>{body}</main></body></html>'
    )
    view.goto(page.as_uri())
    view.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    if os.environ.get("COURSE_SHOTS"):
        view.screenshot(path=Path(os.environ["COURSE_SHOTS"]) / f"pieces-{theme}.png", full_page=True)
    assert axe.violations(view) == []


# -- the web edition ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_no_page_of_the_web_edition_has_a_serious_violation(theme, view, site):
    folder, _ = site
    view.emulate_media(color_scheme=theme)
    found = {}
    for path in sorted(folder.rglob("*.html")):
        if "_static" not in path.parts:
            view.goto(path.as_uri())
            view.evaluate("document.querySelectorAll('details.hide').forEach(each => each.open = true)")
            found[path.relative_to(folder).as_posix()] = axe.violations(view)
    assert len(found) > 25 and {name: lines for name, lines in found.items() if lines} == {}
