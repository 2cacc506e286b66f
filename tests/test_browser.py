"""A learner's view: a real JupyterLab in a real browser, driven through lesson 00 and the explorer.

Needs the playwright package and a chromium. Set COURSE_SHOTS to a folder to keep screenshots.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")

pytestmark = pytest.mark.browser
expect = playwright_api.expect

REPOSITORY = Path(__file__).resolve().parents[1]
LESSON = REPOSITORY / "notebooks" / "00_start_here.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120  # seconds; a bound against hanging for ever, not a measurement
# What the explorer says of a text it has written.
ENDING = re.compile("ended by itself|cut after|stopped by you")

expect.set_options(timeout=PATIENCE * 1000)

# The open notebook's code cells, from JupyterLab's own model of it: the page may not have drawn them all.
CODE_CELLS = """window.jupyterapp.shell.currentWidget.content.model.toJSON().cells
    .filter(cell => cell.cell_type === 'code' && cell.source.length)"""
ERRORS = f"() => {CODE_CELLS}.flatMap(cell => cell.outputs).filter(out => out.output_type === 'error')"
CLEARED = f"() => {CODE_CELLS}.every(cell => cell.execution_count === null)"
ALL_RUN = f"() => {CODE_CELLS}.every(cell => cell.execution_count !== null) || ({ERRORS})().length > 0"
# The server may call a kernel idle before this page has connected to it; cells run then would go nowhere.
CONNECTED = """() => {
    const context = window.jupyterapp.shell.currentWidget?.sessionContext;
    const kernel = context?.session?.kernel;
    return context?.isReady && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
}"""
TINY_PAIR = """
from tiny import tiny_variant
from course_utils.pairs import Pair
pair = Pair(tiny_variant(), tiny_variant(chat=True, seed=1), "tiny")
"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
CELLS = {
    "explorer.ipynb": [TINY_PAIR, "from course_utils import explore\nexplorer = explore(pair)\nexplorer"],
    "pictures.ipynb": [
        TINY_PAIR,
        "from course_utils import plot_next_token\nplot_next_token(pair, 'The capital of France is', k=5)",
        "from course_utils import show_tokens\n"
        "messages = [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello & <b>bye</b>.'}]\n"
        "show_tokens(pair.instruct, messages, labels=True)",
    ],
}


class Lab:
    """A JupyterLab server on the loopback interface."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"

    def ask(self, path: str, method: str = "GET") -> list | dict | None:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def wait_for(self, what: str, condition) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.25)
        raise TimeoutError(f"JupyterLab: no {what} after {PATIENCE} s")

    def kernel_is_idle(self, name: str) -> bool:
        return any(
            s["path"].endswith(name) and s["kernel"] and s["kernel"]["execution_state"] == "idle"
            for s in self.ask("/api/sessions")
        )


def settings(folder: Path, plugin: str, values: dict) -> None:
    path = folder / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    if LESSON.exists():
        shutil.copy(LESSON, work)
    for name, sources in CELLS.items():
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source.strip()) for source in sources],
            metadata=KERNEL,
        )
        nbformat.write(notebook, work / name)
    # Everything drawn at once, no questions about news.
    settings(
        home / "settings", "apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}
    )
    settings(home / "settings", "notebook-extension/tracker", {"windowingMode": "none"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = os.environ | {place: str(home) for place in places}
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    paths = (REPOSITORY, REPOSITORY / "tests", REPOSITORY / "tests" / "no_network")
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    environment["COURSE_PROGRESS"] = str(home / "progress.json")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
    ]
    command += [
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={work}",
    ]
    command += ["--LabApp.expose_app_in_browser=True"]
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=work, stdout=log, stderr=log)
        try:
            lab = Lab(work, port)
            lab.wait_for("server", lambda: process.poll() is None and lab.ask("/api/status"))
            yield lab
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    executable = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser found (looked for {', '.join(BROWSERS)})")
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield chromium
        chromium.close()


class Notebook:
    """One notebook, open in a page of its own."""

    def __init__(self, lab: Lab, browser, name: str) -> None:
        self.lab, self.name = lab, name
        self.page = browser.new_page(viewport={"width": 1250, "height": 1500})
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.goto(f"{lab.url}/lab/tree/{name}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        lab.wait_for(f"idle kernel for {name}", lambda: lab.kernel_is_idle(name))
        self.page.wait_for_function(CONNECTED)

    def command(self, name: str, **arguments) -> None:
        """Start one of JupyterLab's commands, and do not wait for its end: some never say that they ended."""
        script = "([name, args]) => { window.jupyterapp.commands.execute(name, args); }"
        self.page.evaluate(script, [name, arguments])

    def run_all(self) -> None:
        self.command("notebook:clear-all-cell-outputs")
        self.page.wait_for_function(CLEARED)
        self.command("notebook:run-all-cells")
        self.page.wait_for_function(ALL_RUN)
        self.lab.wait_for("end of the run", lambda: self.lab.kernel_is_idle(self.name))

    def in_theme(self, theme: str) -> None:
        """Change to JupyterLab's theme "Light" or "Dark"."""
        name = f"JupyterLab {theme}"
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def press_tab_until(self, focused: str) -> None:
        """Press Tab until what has the focus matches the CSS selector `focused`."""
        passed = []
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", focused):
                return
            passed.append(self.page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
        raise AssertionError(f"Tab did not reach {focused}, but {passed}")

    def errors(self) -> list[str]:
        return [f"{error['ename']}: {error['evalue']}" for error in self.page.evaluate(ERRORS)]

    def shot(self, name: str) -> None:
        if folder := os.environ.get("COURSE_SHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def saved(self) -> nbformat.NotebookNode:
        """The file, once the last cell's output has reached it."""
        self.command("docmanager:save")
        path = self.lab.folder / self.name
        self.lab.wait_for("saved output", lambda: nbformat.read(path, 4).cells[-1].outputs)
        return nbformat.read(path, 4)

    def close(self) -> None:
        self.page.close()
        for session in self.lab.ask("/api/sessions"):
            if session["path"].endswith(self.name):
                self.lab.ask(f"/api/sessions/{session['id']}", method="DELETE")


@pytest.fixture
def opened(lab, browser):
    """Open a copy of a notebook: with its own kernel, whose idleness can then only be that of this page."""
    notebooks = []

    def open_notebook(name: str) -> Notebook:
        copied = f"{len(list(lab.folder.glob('copy*')))}_{name}"
        shutil.copy(lab.folder / name, lab.folder / f"copy_{copied}")
        notebooks.append(Notebook(lab, browser, f"copy_{copied}"))
        return notebooks[-1]

    yield open_notebook
    for notebook in notebooks:
        notebook.close()


def test_an_error_in_a_cell_is_noticed(opened, lab):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1 / 0"), nbformat.v4.new_code_cell("2")], metadata=KERNEL
    )
    nbformat.write(broken, lab.folder / "broken.ipynb")
    notebook = opened("broken.ipynb")
    notebook.run_all()
    assert notebook.errors() == ["ZeroDivisionError: division by zero"]


def test_lesson_00_runs_from_top_to_bottom_and_shows_a_figure(opened):
    assert LESSON.exists(), f"lesson 00 is missing: {LESSON}"
    lesson = opened(LESSON.name)
    lesson.run_all()
    lesson.shot("lesson_00")
    assert lesson.errors() == []
    assert lesson.page.locator(".jp-OutputArea-output img").count() >= 1


def test_figures_and_ribbons_are_drawn_once_and_read_in_both_themes(opened):
    notebook = opened("pictures.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    for theme in ("Dark", "Light"):
        notebook.in_theme(theme)
        notebook.shot(f"pictures_{theme.lower()}")
        ribbon = notebook.page.get_by_role("table")
        ink, paper = ribbon.first.evaluate(
            "node => [getComputedStyle(node).color, getComputedStyle(document.querySelector('.jp-Notebook'))"
            ".getPropertyValue('--jp-layout-color0')]"
        )
        assert contrast(ink, paper) > 4.5, (theme, ink, paper)
    assert notebook.page.locator(".jp-OutputArea-output img").count() == 1
    assert "assistant" in notebook.page.get_by_role("table").last.inner_text()
    # No markup from a text.
    assert notebook.page.locator(".jp-OutputArea-output b", has_text="bye").count() == 0


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two CSS colours (rgb(…) or a hex colour)."""
    levels = sorted(map(luminance, (one, other)))
    return (levels[1] + 0.05) / (levels[0] + 0.05)


def luminance(color: str) -> float:
    color = {"white": "#ffffff", "black": "#000000"}.get(color.strip(), color.strip())
    if color.startswith("#"):
        digits = color[1:] if len(color) == 7 else "".join(2 * d for d in color[1:])
        parts = [int(digits[i : i + 2], 16) for i in (0, 2, 4)]
    else:
        parts = [float(p) for p in color[color.index("(") + 1 : -1].replace(",", " ").split()[:3]]
    linear = [p / 255 / 12.92 if p <= 10 else ((p / 255 + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_learner_clicks_through_the_explorer(opened):
    notebook = opened("explorer.ipynb")
    page = notebook.page
    notebook.run_all()
    assert notebook.errors() == []
    box = page.get_by_role("textbox", name="Prompt")
    box.wait_for()
    notebook.shot("explorer")
    before = box.input_value()
    assert before == "The capital of France is"

    tokens = page.locator("button[title^='append']")
    token = tokens.first
    expected = len(before) + 1
    token.click()
    page.wait_for_function("([box, n]) => box.value.length >= n", arg=[box.element_handle(), expected])
    assert box.input_value().startswith(before)

    handle, number = page.get_by_role("slider").first, page.get_by_role("spinbutton", name="temperature")
    place = handle.bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] / 2 - 500, place["y"], steps=5)
    page.mouse.up()
    expect(number).to_have_value("0")
    number.fill("1")
    number.press("Enter")
    expect(handle).to_have_attribute("aria-valuenow", "1.0")

    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("([box, text]) => box.value === text", arg=[box.element_handle(), before])

    reads = page.get_by_role("group", name="Both variants read")
    assert "<|im_start|>" not in reads.inner_text()
    page.get_by_role("checkbox", name="chat template").check()
    page.wait_for_function("() => document.body.innerText.includes('<|im_start|>')")
    assert box.input_value() == before
    tokens.first.click()
    page.locator(
        "[aria-label^='Both variants read'] u"
    ).wait_for()  # the clicked token, in the answer's place
    notebook.shot("explorer_template")

    box.fill("Once upon a time")
    page.wait_for_function(
        "() => document.querySelector(\"[aria-label^='Both variants read']\").innerText.includes('upon')"
    )

    page.get_by_role("button", name="Generate: instruct").click()
    written = page.get_by_role("region", name="what instruct writes")  # found anew each time: it is redrawn
    expect(written).to_contain_text(ENDING)
    notebook.shot("explorer_generated")


def test_the_explorer_is_worked_with_the_keyboard_alone(opened):
    notebook = opened("explorer.ipynb")
    page, keys, press = notebook.page, notebook.page.keyboard, notebook.page.keyboard.press
    notebook.run_all()
    box, reads = (
        page.get_by_role("textbox", name="Prompt"),
        page.get_by_role("group", name="Both variants read"),
    )
    box.wait_for()

    notebook.press_tab_until("textarea.widget-input")  # from the cell, which has the focus after it has run
    expect(box).to_be_focused()
    press("ControlOrMeta+a")
    keys.type("Once upon a time")
    expect(reads).to_contain_text(
        "time"
    )  # all of it: under load the page holds the last letters back for a while

    notebook.press_tab_until("input[type=checkbox]")
    press("Space")
    expect(page.get_by_role("checkbox", name="chat template")).to_be_checked()
    expect(reads).to_contain_text("<|im_start|>")
    notebook.press_tab_until("button[title='take back the last step']")
    press("Enter")
    expect(reads).not_to_contain_text("<|im_start|>")
    expect(box).to_have_value("Once upon a time")

    number = page.get_by_role("spinbutton", name="temperature")
    notebook.press_tab_until("input[type=number]")
    expect(number).to_be_focused()
    press("ArrowUp")
    expect(page.get_by_role("slider").first).to_have_attribute("aria-valuenow", "1.1")
    notebook.press_tab_until("[role=slider]")
    press("ArrowLeft")
    expect(number).to_have_value("1")

    for _ in range(2):  # the focus stays on the button, whose token is another one after it was pressed
        length = len(box.input_value())
        if not page.evaluate("document.activeElement.matches(\"button[title^='append']\")"):
            notebook.press_tab_until("button[title^='append']")
        press("Enter")
        page.wait_for_function("([box, n]) => box.value.length > n", arg=[box.element_handle(), length])

    notebook.press_tab_until("button[title^='let tiny-base']")
    press("Enter")
    expect(page.get_by_role("region", name="what base writes")).to_contain_text(ENDING)
    notebook.shot("explorer_by_keyboard")
    notebook.press_tab_until(":not(.jp-OutputArea *)")  # there is a way out again


def test_a_saved_explorer_shows_a_picture_once_the_widget_is_gone(opened, lab):
    notebook = opened("explorer.ipynb")
    notebook.run_all()
    saved = notebook.saved()
    output = saved.cells[-1].outputs[0]
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(output.data)
    del output.data["application/vnd.jupyter.widget-view+json"]
    saved.metadata.pop("widgets", None)
    nbformat.write(saved, lab.folder / "cleaned.ipynb")
    cleaned = opened("cleaned.ipynb")
    picture = cleaned.page.locator(".jp-OutputArea-output img")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 300


def test_a_ribbon_stays_readable_in_a_notebook_that_is_not_trusted(opened, lab):
    """What a learner sees who opens a committed lesson before running it: JupyterLab cleans the stored HTML."""
    notebook = opened("pictures.ipynb")
    notebook.run_all()
    saved = notebook.saved()
    saved.cells[-1].source += "  # changed by someone else"
    nbformat.write(saved, lab.folder / "untrusted.ipynb")
    untrusted = opened("untrusted.ipynb")
    table = untrusted.page.get_by_role("table").last
    assert "assistant" in table.inner_text() and "<|im_end|>" in table.inner_text()
    special = table.locator("td", has_text="<|im_end|>").first
    untrusted.shot("untrusted")
    assert special.evaluate("cell => getComputedStyle(cell).borderTopStyle") == "solid"
