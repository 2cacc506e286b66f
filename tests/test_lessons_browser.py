"""Every lesson from top to bottom in a real JupyterLab in a real browser, as a learner runs it; then axe-core on
what it shows, in both themes.

By default lessons 00 and 01 run; COURSE_SLOW=1 runs all nine, which takes a quarter of an hour on two quiet cores and
twice that on busy ones. Each is a copy: the committed notebooks stay as they are. Set COURSE_SHOTS to a folder to keep
screenshots of whole lessons in both themes.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import axe
import pytest

pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")

from test_browser import (  # noqa: F401 (two of them are fixtures)
    ALL_RUN,
    CLEARED,
    CODE_CELLS,
    CONNECTED,
    REPOSITORY,
    Notebook,
    browser,
    lab,
)

from course_grading.report import TITLES

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.notebooks]

QUICK = ("00", "01")
PATIENCE = 2400  # seconds for a whole lesson; a bound against hanging for ever, not a measurement
NOT_QUICK = pytest.mark.skipif(not os.environ.get("COURSE_SLOW"), reason="takes minutes: set COURSE_SLOW=1")
LESSONS = [pytest.param(number, marks=() if number in QUICK else NOT_QUICK) for number in TITLES]
# Every source that has no number: cells that were passed over. A cell of comments alone would be one, too.
NOT_EXECUTED = f"() => {CODE_CELLS}.filter(cell => cell.execution_count === null).map(cell => cell.source)"
OUTPUTS = f"() => {CODE_CELLS}.map(cell => cell.outputs)"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# Pictures on the page that are there but empty: no width means that the browser could not draw them.
UNDRAWN = """() => [...document.querySelectorAll('.jp-OutputArea-output img')]
    .filter(image => !image.complete || image.naturalWidth < 100).length"""
# What JupyterLab itself reports as an error on a healthy page of ours and of anybody else's.
THEIRS = (
    "Failed to load resource",  # an optional file of JupyterLab's own: a translation, a source map
)
# What axe-core finds in our outputs, and only their front-ends could mend.
NOT_OURS = (
    ".jp-RenderedImage img",  # JupyterLab drops the alt text that a figure brings; test_notebooks.py sees that it does
    ".noUi-handle",  # ipywidgets gives no slider a name; ours have a number box with a name beside them
)


def committed(number: str) -> Path:
    (path,) = (REPOSITORY / "notebooks").glob(f"{number}_*.ipynb")
    return path


def figures(outputs: list[list[dict]]) -> list[int]:
    """How many pictures each code cell shows, in order; a widget's own still picture counts as one."""
    return [sum("image/png" in output.get("data", {}) for output in of_cell) for of_cell in outputs]


def complaints(outputs: list[list[dict]]) -> list[str]:
    """What a learner would see in red: errors, and whatever came on stderr."""
    flat = [output for of_cell in outputs for output in of_cell]
    errors = [f"{out['ename']}: {out['evalue']}" for out in flat if out["output_type"] == "error"]
    return errors + ["".join(out["text"]) for out in flat if out.get("name") == "stderr"]


def photograph(lesson: Notebook, name: str) -> None:
    """The whole notebook in both themes, a picture a screenful, if COURSE_SHOTS names a folder."""
    folder = os.environ.get("COURSE_SHOTS")
    panel = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"
    for theme in ("Light", "Dark") if folder else ():
        lesson.in_theme(theme)
        height, step = lesson.page.eval_on_selector(panel, "node => [node.scrollHeight, node.clientHeight]")
        for number, top in enumerate(range(0, height, step)):
            lesson.page.eval_on_selector(panel, "(node, top) => { node.scrollTop = top; }", top)
            lesson.page.wait_for_timeout(150)
            shot = f"lesson_{name}_{theme.lower()}_{number:02}.png"
            lesson.page.locator(panel).screenshot(path=Path(folder) / shot)


@dataclass
class Run:
    """A lesson that has run in the browser: its page, still open, and what came of it."""

    notebook: Notebook
    committed: list[list[dict]]  # of each code cell, the outputs in the committed notebook
    outputs: list[list[dict]] = field(default_factory=list)  # and those of this run
    said: list[str] = field(default_factory=list)  # errors on the browser's console


@pytest.fixture(scope="module", params=LESSONS)
def run(request, lab, browser) -> Iterator[Run]:  # noqa: F811
    path = committed(request.param)
    name, text = f"copy_{path.name}", path.read_text(encoding="utf-8")
    (lab.folder / name).write_text(text, encoding="utf-8")
    cells = json.loads(text)["cells"]
    run = Run(Notebook(lab, browser, name), [c["outputs"] for c in cells if c["cell_type"] == "code"])
    page = run.notebook.page
    page.on("console", lambda message: run.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: run.said.append(f"uncaught: {error}"))
    try:
        run.notebook.command("notebook:clear-all-cell-outputs")
        page.wait_for_function(CLEARED)
        run.notebook.command("notebook:run-all-cells")
        page.wait_for_function(ALL_RUN, timeout=PATIENCE * 1000, polling=500)
        page.wait_for_function(CONNECTED, timeout=PATIENCE * 1000)  # the last cell, too, has ended
        run.outputs = page.evaluate(OUTPUTS)
        photograph(run.notebook, request.param)
        yield run
    finally:
        run.notebook.close()


def test_a_lesson_runs_in_the_browser_and_shows_what_the_committed_one_shows(run):
    page = run.notebook.page
    assert complaints(run.outputs) == []
    assert page.evaluate(NOT_EXECUTED) == []
    assert figures(run.outputs) == figures(run.committed) and sum(figures(run.outputs)) > 0
    still = [out for of_cell in run.outputs for out in of_cell if "image/png" in out.get("data", {})]
    drawn = sum(WIDGET_VIEW not in out["data"] for out in still)
    assert page.locator(".jp-OutputArea-output img").count() >= drawn
    assert page.evaluate(UNDRAWN) == 0
    assert [text for text in run.said if not text.startswith(THEIRS)] == []


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_nothing_that_a_lesson_shows_has_a_serious_violation(run, theme):
    axe.source()
    run.notebook.in_theme(theme)
    assert run.notebook.page.locator(".jp-OutputArea-output").count() > 0
    assert axe.violations(run.notebook.page, ".jp-OutputArea-output", NOT_OURS) == []
