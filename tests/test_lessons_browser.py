"""Every lesson from top to bottom in a real JupyterLab in a real browser, as a learner runs it.

By default lessons 00 and 01 run; COURSE_SLOW=1 runs all nine, which takes some ten minutes on two quiet cores. Each is a
copy: the committed notebooks stay as they are. Set COURSE_SHOTS to a folder to keep screenshots of whole lessons in
both themes.
"""

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")

from test_browser import ALL_RUN, CLEARED, CODE_CELLS, REPOSITORY, Notebook, browser, lab  # noqa: F401 (fixtures)

from course_utils.progress import TITLES

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
    for theme in ("JupyterLab Light", "JupyterLab Dark") if folder else ():
        lesson.command("apputils:change-theme", theme=theme)
        lesson.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
        lesson.page.wait_for_selector("#jupyterlab-splash", state="detached")
        height, step = lesson.page.eval_on_selector(panel, "node => [node.scrollHeight, node.clientHeight]")
        for number, top in enumerate(range(0, height, step)):
            lesson.page.eval_on_selector(panel, "(node, top) => { node.scrollTop = top; }", top)
            lesson.page.wait_for_timeout(150)
            shot = f"lesson_{name}_{theme.split()[-1].lower()}_{number:02}.png"
            lesson.page.locator(panel).screenshot(path=Path(folder) / shot)


@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_runs_in_the_browser_and_shows_what_the_committed_one_shows(number, lab, browser):  # noqa: F811
    name, text = f"copy_{committed(number).name}", committed(number).read_text(encoding="utf-8")
    (lab.folder / name).write_text(text, encoding="utf-8")
    said = []
    lesson = Notebook(lab, browser, name)
    lesson.page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    lesson.page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    try:
        lesson.command("notebook:clear-all-cell-outputs")
        lesson.page.wait_for_function(CLEARED)
        lesson.command("notebook:run-all-cells")
        lesson.page.wait_for_function(ALL_RUN, timeout=PATIENCE * 1000, polling=500)
        lab.wait_for("end of the run", lambda: lab.kernel_is_idle(lesson.name))
        outputs = lesson.page.evaluate(OUTPUTS)
        photograph(lesson, number)
        assert complaints(outputs) == []
        assert lesson.page.evaluate(NOT_EXECUTED) == []
        expected = [cell["outputs"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        assert figures(outputs) == figures(expected) and sum(figures(outputs)) > 0
        still = [out for of_cell in outputs for out in of_cell if "image/png" in out.get("data", {})]
        drawn = sum(WIDGET_VIEW not in out["data"] for out in still)
        assert lesson.page.locator(".jp-OutputArea-output img").count() >= drawn
        assert lesson.page.evaluate(UNDRAWN) == 0
        assert [text for text in said if not text.startswith(THEIRS)] == []
    finally:
        lesson.close()
