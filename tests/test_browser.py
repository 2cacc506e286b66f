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

TINY_PAIR = """
from tiny import tiny_variant
from course_utils.pairs import Pair
pair = Pair(tiny_variant(), tiny_variant(chat=True, seed=1), "tiny")
"""
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

    def ask(self, path: str) -> list | dict:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

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
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
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
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
    ]
    command += ["--IdentityProvider.token=", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}"]
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

    def command(self, name: str, **arguments) -> None:
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments]
        )

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")
        self.lab.wait_for("end of the run", lambda: self.lab.kernel_is_idle(self.name))
        self.page.wait_for_function(
            "() => ![...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('*'))"
        )

    def errors(self) -> list[str]:
        selector = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'
        return [output.inner_text() for output in self.page.locator(selector).all()]

    def shot(self, name: str) -> None:
        if folder := os.environ.get("COURSE_SHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def close(self) -> None:
        self.page.close()


@pytest.fixture
def opened(lab, browser):
    notebooks = []

    def open_notebook(name: str) -> Notebook:
        notebooks.append(Notebook(lab, browser, name))
        return notebooks[-1]

    yield open_notebook
    for notebook in notebooks:
        notebook.close()


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
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.command("apputils:change-theme", theme=theme)
        notebook.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
        notebook.shot("pictures_" + theme.split()[-1].lower())
        ribbon = notebook.page.get_by_role("table")
        ink, paper = ribbon.first.evaluate(
            "node => [getComputedStyle(node).color, getComputedStyle(document.querySelector('.jp-Notebook'))"
            ".getPropertyValue('--jp-layout-color0')]"
        )
        assert contrast(ink, paper) > 4.5, (theme, ink, paper)
    assert notebook.page.locator(".jp-OutputArea-output img").count() == 1
    assert "assistant" in notebook.page.get_by_role("table").last.inner_text()
    assert (
        notebook.page.locator(".jp-OutputArea-output b", has_text="bye").count() == 0
    )  # no markup from a text


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
    ending = re.compile("ended by itself|cut after|stopped by you")
    playwright_api.expect(written).to_contain_text(ending, timeout=PATIENCE * 1000)
    notebook.shot("explorer_generated")


def test_the_explorer_can_be_worked_with_the_keyboard(opened):
    notebook = opened("explorer.ipynb")
    page = notebook.page
    notebook.run_all()
    box = page.get_by_role("textbox", name="Prompt")
    box.focus()
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.title || document.activeElement.textContent.trim()")
        )
        if seen[-1].startswith("append"):
            break
    assert any("chat template" in name or name == "" for name in seen)
    assert seen[-1].startswith("append"), f"no token button reached with Tab: {seen}"
    length = len(box.input_value())
    page.keyboard.press("Enter")
    page.wait_for_function("([box, n]) => box.value.length > n", arg=[box.element_handle(), length])


def test_a_saved_explorer_shows_a_picture_once_the_widget_is_gone(opened, lab):
    notebook = opened("explorer.ipynb")
    notebook.run_all()
    notebook.command("docmanager:save")
    path = lab.folder / "explorer.ipynb"
    lab.wait_for("saved output", lambda: nbformat.read(path, 4).cells[-1].outputs)
    saved = nbformat.read(path, 4)
    output = saved.cells[-1].outputs[0]
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(output.data)
    del output.data["application/vnd.jupyter.widget-view+json"]
    saved.metadata.pop("widgets", None)
    nbformat.write(saved, lab.folder / "cleaned.ipynb")
    cleaned = opened("cleaned.ipynb")
    picture = cleaned.page.locator(".jp-OutputArea-output img")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 300
