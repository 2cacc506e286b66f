"""The web edition: every link leads somewhere, every picture says in words what it shows, pages follow each other in
order, and it can be searched from the disk, without a server."""

import os
import re
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import badges, playground, website

pytest_plugins = ["built_site"]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
CHROMIUM = next((p for n in ("chromium", "google-chrome") if (p := website.shutil.which(n))), None)


class Page(HTMLParser):
    """What a page links to, shows and names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.images, self.places, self.steps = [], [], set(), {}
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        own = dict(attributes)
        self.places |= {own[key] for key in ("id", "name") if own.get(key)}
        if tag == "img":
            self.images.append(own)
        if tag == "link" and own.get("rel") in ("next", "prev"):
            self.steps[own["rel"]] = own["href"]
        for key in ("href", "src"):
            if own.get(key):
                self.links.append(own[key])


@cache
def page(path: Path) -> Page:
    return Page(path)


def html_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]


# -- the built site -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_notebook_is_a_page_and_sphinx_has_nothing_to_say(site):
    folder, warnings = site
    for path in website.pages():
        assert (folder / path.parent.name / f"{path.stem}.html").exists()
    assert warnings == ""


@pytest.mark.slow
def test_every_link_within_the_site_leads_to_a_file_and_a_place_in_it(site):
    folder, _ = site
    broken = []
    for path in html_files(folder):
        for link in page(path).links:
            target, _, place = link.partition("#")
            if re.match(r"\w+:|//", link):
                continue
            aim = (path.parent / unquote(target.partition("?")[0])).resolve() if target else path
            if not aim.is_file():
                broken.append(f"{path.relative_to(folder)}: {link}")
            elif place and aim.suffix == ".html" and unquote(place) not in page(aim).places:
                broken.append(f"{path.relative_to(folder)}: {link} (no such place)")
    assert broken == []


@pytest.mark.slow
def test_every_picture_says_in_words_what_it_shows(site):
    folder, _ = site
    shown = [(path.name, own) for path in html_files(folder) for own in page(path).images]
    assert len(shown) >= 10
    for name, own in shown:
        assert len((own.get("alt") or "").split()) > 3, (name, own.get("src"))


@pytest.mark.slow
def test_lessons_follow_each_other_and_tell_their_reading_time(site):
    folder, _ = site
    lessons = [
        folder / "notebooks" / f"{p.stem}.html" for p in website.pages() if p.parent.name == "notebooks"
    ]
    for here, there in pairwise(lessons):
        assert page(here).steps["next"] == there.name and page(there).steps["prev"] == here.name
    for path in lessons:
        assert re.search(r"Reading time about \d+ minutes", page(path).text)
        assert badges.SETUP_ID not in page(path).text and "google.colab" not in page(path).text


@pytest.mark.slow
def test_no_path_of_this_machine_is_on_a_page(site):
    folder, _ = site
    for path in html_files(folder):
        for forbidden in (str(website.ROOT), str(folder)):
            assert forbidden not in page(path).text, path.name


@pytest.mark.slow
def test_formulas_are_drawn_by_the_browser_and_no_script_style_or_frame_comes_from_the_network(site):
    folder, _ = site
    lesson = (folder / "notebooks" / "07_the_spectrum.html").read_text(encoding="utf-8")
    formulas = re.findall(r"<math.*?</math>", lesson, re.S)
    assert any('display="block"' in formula for formula in formulas)
    left_as_they_were = [formula for formula in formulas if re.search(r"\\[a-z]", formula)]
    assert left_as_they_were == []
    for path in html_files(folder):
        text = path.read_text(encoding="utf-8")
        outside = r"""<(?:script|iframe)[^>]*src="https?:|<link[^>]*rel="stylesheet"[^>]*href="https?:"""
        assert not re.findall(outside, text), path.name


@pytest.mark.slow
@pytest.mark.browser
def test_the_search_finds_a_lesson_and_no_page_complains(site):
    api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    folder, _ = site
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        said = []
        view.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        view.on("pageerror", lambda error: said.append(str(error)))
        view.goto((folder / "search.html").as_uri() + "?q=perplexity")
        api.expect(view.locator("#search-results")).to_contain_text("Next-token prediction", timeout=60_000)
        for path in html_files(folder):
            view.goto(path.as_uri())
            lost = view.evaluate(
                "[...document.images].filter(i => i.src.startsWith('file:') && i.complete && !i.naturalWidth)"
                ".map(i => i.src)"
            )
            assert lost == [], path.name
            if os.environ.get("COURSE_SHOTS"):
                view.screenshot(
                    path=Path(os.environ["COURSE_SHOTS"]) / f"site-{path.parent.name}-{path.stem}.png"
                )
        browser.close()
    assert [text for text in said if "colab-badge" not in text and "badge_logo" not in text] == []


@pytest.mark.slow
def test_the_playgrounds_examples_lead_to_places_in_lessons(site):
    folder, _ = site
    links = [example["link"] for example in playground.examples("")]
    assert links
    for link in links:
        file, _, place = link.partition("#")
        assert place in page(folder / file).places, link


@pytest.mark.slow
def test_the_front_page_and_lessons_hold_the_playground(site):
    folder, _ = site
    assert f"{playground.PAGE}?inside" in page(folder / "index.html").links
    for number in ("00", "01", "02", "03", "06"):
        [lesson] = (folder / "notebooks").glob(f"{number}_*.html")
        inside = [link for link in page(lesson).links if f"{playground.PAGE}?inside&" in link]
        assert inside and all(link.endswith("&small") for link in inside), lesson.name
        assert page(lesson).text.count("Try it here: ") == len(inside)


@pytest.mark.slow
@pytest.mark.browser
def test_the_playground_runs_in_the_front_page_and_in_a_lesson_from_disk(site):
    api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    folder, _ = site
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": 390, "height": 844})
        view.goto((folder / "index.html").as_uri())
        bars = view.frame_locator("iframe.playground").locator("#bars")
        bars.wait_for(timeout=120_000)
        frame = view.locator("iframe.playground")
        assert (
            frame.evaluate("it => it.offsetHeight") > 1000
        )  # as tall as what it holds, and not a page in a page
        view.goto((folder / "notebooks" / "02_two_variants_one_architecture.html").as_uri())
        folded = view.locator("details.try-here")
        folded.locator("summary").click()
        shown = folded.frame_locator("iframe.playground")
        shown.locator("#bars").wait_for(timeout=120_000)
        assert shown.locator("#text").input_value() == "The capital of France is"
        assert shown.locator("#examples").is_hidden() and shown.locator("#write").is_visible()
        browser.close()


# -- what is prepared -----------------------------------------------------------------------------------------


def figure(**metadata) -> nbformat.NotebookNode:
    return new_output("display_data", data={"image/png": PIXEL, "text/plain": "x"}, metadata=metadata)


def prepared(tmp_path, *cells) -> list:
    (tmp_path / "_static" / "figures").mkdir(parents=True)
    notebook = new_notebook(cells=[new_markdown_cell("# 01 · A title"), *cells])
    known = {"notebooks/01_a.ipynb", "README.md"}
    return website.prepared(notebook, "notebooks/01_a.ipynb", known, tmp_path / "_static" / "figures").cells


def test_a_figure_gets_its_own_alt_text_or_the_sentence_beneath_it(tmp_path):
    own = new_code_cell("a", outputs=[figure(**{"image/png": {"alt": 'Both "rise" & fall', "width": 10}})])
    bare = new_code_cell("b", outputs=[figure()])
    cells = prepared(tmp_path, own, bare, new_markdown_cell("**Both** rise, see [there](x.md).\n\nMore."))
    shown = [cell.outputs[0].data["text/html"] for cell in cells[1:3]]
    assert 'alt="Both &quot;rise&quot; &amp; fall" width="10"' in shown[0]
    assert 'alt="Both rise, see there."' in shown[1]
    assert all("image/png" not in cell.outputs[0].data for cell in cells[1:3])
    assert len(list((tmp_path / "_static" / "figures").iterdir())) == 1


def test_the_set_up_cell_is_left_out_and_the_reading_time_stands_under_the_title(tmp_path):
    setup = new_code_cell("import google.colab", id=badges.SETUP_ID)
    title, text = prepared(tmp_path, setup, new_markdown_cell("word " * 950))
    assert title.source.split("\n")[2] == "*Reading time about 5 minutes.*" and text.source.startswith("word")


@pytest.mark.parametrize(
    "given, shown",
    [
        ("[x](01_b.ipynb#there)", "[x](../notebooks/01_b.ipynb#there)"),
        ("[x](../README.md)", "[x](../index.md)"),
        ("[x](https://example.org/a)", "[x](https://example.org/a)"),
        ("[x](#there)", "[x](#there)"),
        ("a [file](../course.py) that is no page", "a file that is no page"),
        ("[all](../exercises/)", "[all](../exercises/01_b.ipynb)"),
        ("`[x](../course.py)`", "`[x](../course.py)`"),
        ("```\n[x](../course.py)\n```", "```\n[x](../course.py)\n```"),
    ],
)
def test_links_are_made_to_work_on_the_site(given, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(badges, "read_address", lambda: badges.Address("", "v1"))
    known = {"notebooks/01_b.ipynb", "exercises/01_b.ipynb", "README.md"}
    assert website.with_links(given, "notebooks/00_a.ipynb", known, tmp_path) == shown


def test_the_set_up_is_folded_and_so_is_what_would_answer_a_prediction(tmp_path):
    printed = new_output("stream", text="Paris")
    cells = prepared(
        tmp_path,
        new_code_cell("import course_utils"),
        new_markdown_cell("**Predict** the word."),
        new_code_cell("a", outputs=[printed]),
        new_code_cell("b", outputs=[printed]),
        new_markdown_cell("It is Paris."),
        new_code_cell("c", outputs=[printed]),
    )
    tags = [cell.metadata.get("tags") for cell in cells if cell.cell_type == "code"]
    assert tags == [["hide-input"], ["hide-output"], ["hide-output"], []]


@pytest.mark.parametrize(
    "given, shown",
    [
        ("(LIMA, arXiv 2305.11206)", "(LIMA, [arXiv 2305.11206](https://arxiv.org/abs/2305.11206))"),
        (
            "[arXiv 2305.11206](https://arxiv.org/abs/2305.11206)",
            "[arXiv 2305.11206](https://arxiv.org/abs/2305.11206)",
        ),
        ("`arXiv 2305.11206`", "`arXiv 2305.11206`"),
    ],
)
def test_papers_are_links(given, shown, tmp_path):
    assert website.with_links(given, "notebooks/00_a.ipynb", set(), tmp_path) == shown


@pytest.mark.slow
@pytest.mark.browser
def test_no_output_of_text_is_cut_off_and_every_page_says_what_it_is(site):
    folder, _ = site
    for path in [folder / "index.html", *(folder / "notebooks").glob("*.html")]:
        assert '<meta content="What changes when' in page(path).text and "favicon.svg" in page(path).text, (
            path.name
        )
    api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        clipped = {}
        for width in (390, 1440):
            view = browser.new_page(viewport={"width": width, "height": 900})
            for path in sorted((folder / "notebooks").glob("*.html")):
                view.goto(path.as_uri())
                view.evaluate(
                    "document.querySelectorAll('details').forEach(it => it.open = !it.matches('.try-here'))"
                )
                clipped[path.name, width] = view.evaluate(
                    "[...document.querySelectorAll('.cell_output pre')]"
                    ".filter(it => it.scrollWidth > it.clientWidth).length"
                )
        browser.close()
    assert sum(clipped.values()) == 0, clipped


def test_with_an_address_files_that_are_no_pages_are_linked_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(badges, "read_address", lambda: badges.Address("ada/x", "v1"))
    shown = website.with_links("[x](../course.py)", "notebooks/00_a.ipynb", set(), tmp_path)
    assert shown == "[x](https://github.com/ada/x/blob/v1/course.py)"


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(website.SiteError, match="replaced"):
        website.build(tmp_path, Path("python"))
    assert (tmp_path / "letter.txt").exists()
