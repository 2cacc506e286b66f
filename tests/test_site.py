"""The web edition: every link leads somewhere, every picture says in words what it shows, pages follow each other in
order, and it can be searched from the disk, without a server."""

import http.server
import os
import re
import threading
from functools import cache, partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_grading import quizzes
from tools import badges, moving_picture, playground, site_front, site_search, website

pytest_plugins = ["built_site"]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
CHROMIUM = next((p for n in ("chromium", "google-chrome") if (p := website.shutil.which(n))), None)
README = (website.ROOT / "README.md").read_text(encoding="utf-8")


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


@pytest.fixture(scope="module")
def browser():
    """A real browser, for tests that look at pages."""
    api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def served(site):
    """The address of the built site on a server of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site[0])))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


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
def test_no_page_complains_lacks_a_picture_or_asks_the_network(site, browser):
    folder, _ = site
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    said = []
    view.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
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
    view.close()
    assert said == []


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize(
    "asked, lesson, place",
    [
        ("perplexity", "01_next_token_prediction", "#"),
        ("McNemar", "06_base_as_instruct", "#"),
        ("loss mask", "04_sft_data_formats", "#the-loss-mask"),
    ],
)
def test_the_search_finds_a_term_inside_a_lesson_and_leads_to_its_section(
    asked, lesson, place, site, browser
):
    folder, _ = site
    view = browser.new_page()
    view.goto((folder / "index.html").as_uri())
    view.goto((folder / "search.html").as_uri() + "?q=" + asked.replace(" ", "+"))
    view.locator("#search-results li").first.wait_for()
    links = view.eval_on_selector_all(
        "#search-results a", "found => found.map(it => it.getAttribute('href'))"
    )
    [first, *_] = [link for link in links if link.startswith(f"notebooks/{lesson}.html{place}")]
    file, _, section = first.partition("#")
    assert section in page(folder / file).places
    words = set(asked.lower().split())
    assert {text.lower() for text in view.locator("#search-results mark").all_inner_texts()} >= words
    view.locator("#search-words").fill(f'"{asked}"')
    assert view.locator("#search-results a").first.get_attribute("href") == links[0]
    view.locator("#search-words").fill("zzqqx")
    assert "Nothing found" in view.locator("#search-status").inner_text()
    view.close()


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
def test_the_playground_runs_in_the_front_page_and_in_a_lesson_from_disk(site, browser):
    folder, _ = site
    view = browser.new_page(viewport={"width": 390, "height": 844})
    view.goto((folder / "index.html").as_uri())
    view.frame_locator("iframe.playground").locator("#bars").wait_for(timeout=120_000)
    # As tall as what it holds, and not a page in a page.
    assert view.locator("iframe.playground").evaluate("it => it.offsetHeight") > 1000
    view.goto((folder / "notebooks" / "02_two_variants_one_architecture.html").as_uri())
    folded = view.locator("details.try-here")
    folded.locator("summary").click()
    shown = folded.frame_locator("iframe.playground")
    shown.locator("#bars").wait_for(timeout=120_000)
    assert shown.locator("#text").input_value() == "The capital of France is"
    assert shown.locator("#examples").is_hidden() and shown.locator("#write").is_visible()
    view.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_the_front_page_stays_at_its_top_when_the_playground_is_ready(width, height, served, browser):
    view = browser.new_page(viewport={"width": width, "height": height})
    view.goto(f"{served}/index.html")
    view.frame_locator("iframe.playground").locator("#bars").wait_for(timeout=120_000)
    view.wait_for_timeout(500)
    assert view.evaluate("scrollY") == 0
    view.close()


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
    assert "Reading time about 5 minutes" in title.source.split("\n")[2] and text.source.startswith("word")


@pytest.mark.parametrize(
    "given, shown",
    [
        ("[x](01_b.ipynb#there)", "[x](../notebooks/01_b.ipynb#there)"),
        ("[x](../README.md)", "[x](../README.md)"),
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


def test_a_self_check_that_is_answered_in_the_page_asks_nobody_to_run_a_cell(tmp_path):
    before = new_markdown_cell("## Check yourself\n\nFour questions. Run the cell, choose: you are told why.")
    cells = prepared(tmp_path, before, new_code_cell('from course_utils import quiz\n\nquiz("01")'))
    assert cells[1].source == "## Check yourself\n\nFour questions."
    assert "self-check" in cells[2].outputs[0].data["text/html"]


LINE, LINES = new_output("stream", text="1080 answers\n"), new_output("stream", text="a\nb\n")
ASK, WORDS, LEAD = "**Predict** it.", "It is so. It is plain.", "And paired, on the same prompts:"


@pytest.mark.parametrize(
    "shown, folded, explained",
    [
        ([ASK, LINES, WORDS, LINES], [0], [1]),
        ([ASK, None, "Words.", LINES, WORDS, LINES], [1], [2]),  # nothing is shown before a text
        ([ASK, LINE, WORDS, LINES, WORDS, LINES], [0, 1], [2]),  # a short line is no answer
        ([ASK, LINE, WORDS, "## Next", LINES], [0], [1]),
        ([ASK, LINE, ASK, LINES, WORDS, LINES], [0, 1], [2]),  # but here it has to be
        ([ASK, LINES, LEAD, LINES, WORDS, LINES], [0, 1], [2]),
        ([ASK, None, ASK, LINES, WORDS, LINES, WORDS, LINES], [1, 2], [2, 3]),  # two predictions, two answers
        ([ASK, None, "## Next", LINES], [], []),
    ],
)
def test_outputs_are_folded_until_a_prediction_is_answered(shown, folded, explained):
    cells = [
        new_markdown_cell(it) if isinstance(it, str) else new_code_cell("x", outputs=[it] if it else [])
        for it in ["# Title", LINES, *shown]
    ]
    website.fold(cells)
    code = [cell.metadata["tags"] for cell in cells[2:] if cell.cell_type == "code"]
    text = [cell.source for cell in cells[2:] if cell.cell_type == "markdown"]
    assert [i for i, tags in enumerate(code) if "hide-output" in tags] == folded
    assert [i for i, words in enumerate(text) if "explained" in words] == explained


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
def test_papers_are_links_in_text(given, shown, tmp_path):
    assert website.with_links(given, "notebooks/00_a.ipynb", set(), tmp_path) == shown


@pytest.mark.slow
def test_every_page_says_what_it_is_to_search_engines_and_link_previews(site):
    folder, _ = site
    for path in html_files(folder):
        text = page(path).text
        if path.name in ("search.html", playground.PAGE):
            continue
        assert "favicon.svg" in text, path
        for meta in ('property="og:title"', 'property="og:description"', 'name="description"'):
            [tag] = re.findall(rf"<meta [^>]*{meta}[^>]*>", text)
            assert len(re.search(r'content="([^"]+)"', tag)[1]) > 5, (path, tag)
        assert not re.search(r'property="og:(url|image)" content="(?!https?:)', text), path
    assert "What changes when a base" in page(folder / "index.html").text


@pytest.mark.slow
def test_papers_are_links_on_every_page(site):
    folder, _ = site
    linked = 0
    for path in html_files(folder):
        text = re.sub(r"<(pre|script|title).*?</\1>|<meta[^>]*>", "", page(path).text, flags=re.S)
        linked += len(re.findall(r'href="https://arxiv.org/abs/', text))
        bare = re.sub(r'<a [^>]*href="https://arxiv.org.*?</a>', "", text, flags=re.S)
        assert re.findall(r"arXiv[ :]\d{4}\.\d{4,5}", bare) == [], path.name
    assert linked >= 20


# What is too wide, on a page whose folds are open. Playgrounds in lessons stay closed: they have tests of their own.
TOO_WIDE = """() => {
    const clipped = selector => [...document.querySelectorAll(selector)].filter(
        it => it.scrollWidth > it.clientWidth + 1);
    return {
        page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        outputs: clipped('.cell_output pre').length,
        figures: [...document.querySelectorAll('a.figure-link, img.figure')].filter(
            it => !it.parentElement.matches('a.figure-link')  // such a one scrolls in its link's box
                && it.getBoundingClientRect().right > document.documentElement.clientWidth).length,
        code: clipped('.cell_input pre').length,
        cells: document.querySelectorAll('.cell_input pre').length,
    };
}"""


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_output_or_figure_is_cut_off_and_code_has_room(width, site, browser):
    folder, _ = site
    view = browser.new_page(viewport={"width": width, "height": 900})
    cells = code = 0
    for path in html_files(folder):
        view.goto(path.as_uri())
        view.evaluate("document.querySelectorAll('details.hide').forEach(it => it.open = true)")
        found = view.evaluate(TOO_WIDE)
        assert (found["page"], found["outputs"], found["figures"]) == (0, 0, 0), (path.name, found)
        cells, code = cells + found["cells"], code + found["code"]
    view.close()
    assert cells > 200
    if width == 1440:
        assert code < 0.1 * cells


@pytest.mark.slow
@pytest.mark.browser
def test_tables_are_aligned_at_the_top(site, browser):
    folder, _ = site
    view = browser.new_page()
    for name in ("notebooks/02_two_variants_one_architecture.html", "docs/trouble.html"):
        view.goto((folder / name).as_uri())
        found = view.eval_on_selector_all(
            "table.dataframe td, table.docutils td",
            "all => all.map(it => getComputedStyle(it).verticalAlign)",
        )
        assert found and set(found) == {"top"}, name
    view.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_prediction_is_not_spoilt_until_the_result_is_asked_for(theme, site, browser):
    folder, _ = site
    view = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=theme)
    view.goto((folder / "notebooks" / "00_start_here.html").as_uri())
    set_up = view.locator(".output", has_text="The set-up works")
    assert set_up.is_visible()  # it answers nothing
    fold = view.locator("details.below-input").first
    assert fold.locator("img.figure").count() == 1  # the first question is answered by a figure
    assert "prediction first" in fold.locator("summary").inner_text()
    result = fold.locator("img.figure, .output").first
    assert not result.is_visible()
    explained = view.locator(".explained").first
    assert not explained.is_visible()
    fold.locator("summary").press("Enter")
    assert result.is_visible()
    explained.locator("p").wait_for()
    view.close()


@pytest.mark.slow
@pytest.mark.browser
def test_no_explanation_stands_under_a_fold_that_is_closed(site, browser):
    folder, _ = site
    view = browser.new_page()
    explained = 0
    for path in sorted(folder.glob("notebooks/[0-9]*.html")):
        view.goto(path.as_uri())
        shown = view.locator(".explained").evaluate_all("all => all.map(it => it.hidden === 'until-found')")
        assert all(shown), path.name
        explained += len(shown)
    view.close()
    assert explained > 50


@pytest.mark.slow
@pytest.mark.browser
def test_the_self_check_is_answered_in_the_page_by_keyboard_and_says_why(site, browser):
    folder, _ = site
    view = browser.new_page()
    view.goto((folder / "notebooks" / "01_next_token_prediction.html").as_uri())
    questions = quizzes.load("01")
    shown = view.locator(".self-check .question")
    assert shown.count() == len(questions) and view.get_by_text("Run this cell to answer").count() == 0
    for number, question in enumerate(questions):
        for place, choice in enumerate(question.choices):
            button = shown.nth(number).locator("button.choice").nth(place)
            why = shown.nth(number).locator(".why").nth(place)
            assert not why.is_visible() and choice.text.replace("`", "") in button.inner_text()
            button.press("Enter")
            assert why.is_visible() and button.get_attribute("aria-expanded") == "true"
            assert ("Right." in why.inner_text()) is choice.right
            assert choice.why.replace("`", "") in view.locator(".self-check [role=status]").inner_text()
        assert view.locator(".so-far").inner_text() == f"{number + 1} of {len(questions)} answered right."
    view.close()


# -- the front page -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_front_page_has_the_readme_s_line_a_card_per_lesson_and_a_way_in(site):
    folder, _ = site
    front = page(folder / "index.html")
    assert site_front.bold_line(README) in front.text
    plain = " ".join(re.sub(r"<[^>]+>", "", front.text).split())
    rows = site_front.lessons(website.without_badges(README))
    assert [row.file for row in rows] == [
        f"notebooks/{p.name}" for p in website.pages() if p.parent.name == "notebooks"
    ]
    for row in rows:
        assert front.links.count(row.file.replace(".ipynb", ".html")) >= 1
        assert re.sub(r"[*`]", "", row.finding) in plain.replace("’", "'"), row.finding
    assert re.search(
        r'<a class="sd-btn sd-btn-primary" href="notebooks/00_start_here.html">Start reading</a>', front.text
    )
    assert "(docs/" not in plain and "colab" not in plain.lower()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize(
    "width, height, seen", [(1440, 900, "#bars"), (768, 1024, "#user"), (390, 844, "#user")]
)
def test_the_playground_is_above_the_fold(width, height, seen, site, browser):
    folder, _ = site
    view = browser.new_page(viewport={"width": width, "height": height})
    view.goto((folder / "index.html").as_uri())
    place = view.frame_locator("iframe.playground").locator(seen)
    view.frame_locator("iframe.playground").locator("#bars").wait_for(timeout=120_000)
    view.wait_for_timeout(500)  # the frame becomes as tall as its page
    box = place.bounding_box()
    assert box["y"] + min(box["height"], 100) <= height
    view.close()


def test_with_an_address_the_front_page_and_lessons_can_be_opened_in_colab_and_binder(monkeypatch):
    address = badges.Address("Ada/x", "v1")
    monkeypatch.setattr(badges, "read_address", lambda: address)
    line = website.page_line("notebooks/02_b.ipynb", 5)
    assert "https://colab.research.google.com/github/Ada/x/blob/v1/notebooks/02_b.ipynb" in line
    assert "https://mybinder.org/v2/gh/Ada/x/v1?urlpath=%2Flab%2Ftree%2Fnotebooks%2F02_b.ipynb" in line
    front = site_front.page(website.without_badges(badges.with_address(README, address)), "", address, 9)
    assert "Open in Colab" in front and "Open in Binder" in front and "badge" not in front
    assert website.site_address(address) == "https://ada.github.io/x/"
    monkeypatch.setenv("COURSE_SITE_URL", "https://course.example")
    assert website.site_address(address) == "https://course.example/"


def test_without_an_address_nothing_is_offered_that_leads_nowhere(monkeypatch):
    monkeypatch.delenv("COURSE_SITE_URL", raising=False)
    nowhere = badges.Address("", "v1")
    monkeypatch.setattr(badges, "read_address", lambda: nowhere)
    assert "href" not in website.page_line("notebooks/02_b.ipynb", 5)
    assert "Colab" not in site_front.page(README, "", nowhere, 9) and website.site_address(nowhere) == ""


@pytest.mark.parametrize("missing", ["**Make", "## For whom", "## Start"])
def test_a_readme_without_what_the_front_page_shows_is_refused(missing):
    with pytest.raises(site_front.FrontError, match=r"README\.md has no"):
        site_front.page(README.replace(missing, "Else"), "", badges.Address("", "v1"), 9)


# -- the README -----------------------------------------------------------------------------------------------


def test_the_readme_opens_with_one_bold_line_and_a_picture_that_moves_and_is_small():
    from PIL import Image

    title, bold, picture, *_ = README.split("\n\n")
    assert title.startswith("# ") and re.fullmatch(r"\*\*[^*]+\*\*", bold)
    alt, file = re.match(r"!\[([^\]]+)\]\(([^)]+)\)", picture).groups()
    assert len(alt.split()) > 20
    path = website.ROOT / file
    assert path == moving_picture.MOVING and path.stat().st_size < 3_000_000
    with Image.open(path) as moving:
        assert moving.n_frames > 20


def test_the_readme_says_for_whom_how_to_predict_first_and_where_help_is():
    assert "What you should know" in site_front.section(README, "For whom")
    start = site_front.section(README, "Start")
    assert "Clear Outputs of All Cells" in start and "(docs/trouble.md)" in start
    assert "## When something goes wrong" not in README
    assert "course.py doctor" in (website.ROOT / "docs" / "trouble.md").read_text(encoding="utf-8")
    for row in site_front.lessons(website.without_badges(README)):
        assert 5 < len(row.finding.split()) < 40 and row.finding.endswith(".")


# -- the search's sections ------------------------------------------------------------------------------------


def test_sections_have_their_own_text_with_words_apart():
    text = (
        '<nav><p>menu</p></nav><article role="main"><section id="a"><h1>A <code>b</code>'
        '<a class="headerlink" href="#a">¶</a>'
        '</h1><p class="page-line">5 minutes</p><p>one</p><p>t<b>w</b>o<br>three</p>'
        '<section id="c"><h2>C</h2><img src="x">'
        "<p>four</p><script>no()</script><details><summary><p>Show it</p></summary></details>"
        '<button>B</button><p class="why" hidden><b>Right.</b> Because.</p></section>'
        "<p>five</p></section></article>"
    )
    assert site_search.sections(text) == [["a", "A b", "one two three five"], ["c", "C", "four B"]]


def test_papers_are_links_in_tables():
    given = '<td title="arXiv 2303.08774">arXiv 2303.08774, Fig. 8</td><a href="x">arXiv 2305.11206</a>'
    link = '<a href="https://arxiv.org/abs/2303.08774">arXiv 2303.08774</a>'
    assert website.with_papers(given) == given.replace(">arXiv 2303.08774", f">{link}")


# -- what is prepared: cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, hidden",
    [
        ("It is Paris.\n\nMore.", "It is Paris."),
        ("Two things:\n\n- a\n- b\n\nMore.", "Two things:\n\n- a\n- b"),
        ("## 2. Next\n\nText.", None),
        ("**Predict** again.", None),
    ],
)
def test_the_words_that_explain_a_folded_result_wait_with_it(given, hidden):
    shown = website.with_explanation(given)
    found = re.search(r'<div class="explained">\n\n(.*?)\n\n</div>', shown, re.S)
    assert (found[1] if found else None) == hidden
    assert given.rpartition("\n\n")[2] in shown


def test_with_an_address_files_that_are_no_pages_are_linked_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(badges, "read_address", lambda: badges.Address("ada/x", "v1"))
    shown = website.with_links("[x](../course.py)", "notebooks/00_a.ipynb", set(), tmp_path)
    assert shown == "[x](https://github.com/ada/x/blob/v1/course.py)"


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(website.SiteError, match="replaced"):
        website.build(tmp_path, Path("python"))
    assert (tmp_path / "letter.txt").exists()
