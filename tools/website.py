"""The lessons as web pages, to read without running: `python course.py site [--to _site] [NOTEBOOK ...]`.

Sphinx builds the pages from the committed notebooks, with their results as they are (nothing is executed): myst-nb
reads them, furo gives navigation, search, previous and next. What is prepared here first: the set-up cell for Colab is
left out, each figure gets its alt text, each page its reading time, the self-check its answers, and links to files that
are no pages lead to the repository, if the course has a public address (tools/address.json), or become plain text. What
answers a *Predict* is folded. The playground (tools/playground.py) is exported beside the pages: the front page
(tools/site_front.py) holds it, and so does each section of a lesson that an example of it belongs to.
tools/site_search.py writes what the search looks through; settings, style, scripts and templates are in site_files/.

The result needs no server and no network: open _site/index.html.
"""

import argparse
import base64
import hashlib
import html
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from course_grading import quizzes
from tools import badges, notebooks, playground, site_front, site_search

ROOT = notebooks.ROOT
VENV = ROOT / ".venv-site"
NEEDS = (
    "sphinx",
    "myst_nb",
    "furo",
    "latex2mathml",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxext.opengraph",
)
WORDS_A_MINUTE, SECONDS_A_CODE_LINE = 200, 3
FILES = Path(__file__).with_name("site_files")
PREVIEW = ROOT / "docs" / "preview.png"  # what link previews show; made by tools/moving_picture.py
LINK = re.compile(r"(?<!!)\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")

ARXIV = re.compile(r"(?<![\[/\w])arXiv[ :](\d{4}\.\d{4,5})(?!\])")


class SiteError(Exception):
    """The site cannot be built. The message says what is missing and what to do next."""


# --- Sphinx ---------------------------------------------------------------------------------------------------


def sphinx_python(install: bool) -> Path | None:
    """A Python with what requirements-site.txt names: COURSE_SITE_PYTHON, this one, or the one of .venv-site.

    With `install`, .venv-site is made where there is none; without, None is returned then.
    """
    if os.environ.get("COURSE_SITE_PYTHON"):
        return Path(os.environ["COURSE_SITE_PYTHON"])
    if all(is_there(name) for name in NEEDS):
        return Path(sys.executable)
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    has_all = [str(python), "-c", "import " + ", ".join(NEEDS)]
    if python.exists() and subprocess.call(has_all, stderr=subprocess.DEVNULL) == 0:
        return python
    if not install:
        return None
    print(f"==> Making {VENV.name} with what requirements-site.txt names", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r"]
    if subprocess.call([*command, str(ROOT / "requirements-site.txt")]) != 0:
        raise SiteError(
            "Installing Sphinx failed; the lines above say why.\nNext: connect to the internet and run this again, or "
            "name a Python that has the packages of requirements-site.txt in COURSE_SITE_PYTHON."
        )
    return python


def is_there(name: str) -> bool:
    """Whether the module `name`, such as "sphinxext.opengraph", can be imported here."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that is not there
        return False


def site_address(address: badges.Address) -> str:
    """Where the site will be: COURSE_SITE_URL, or GitHub's pages of the course's repository; "" without either."""
    given = os.environ.get("COURSE_SITE_URL", "")
    if not given and address.repository:
        owner, name = address.repository.split("/")
        given = f"https://{owner.lower()}.github.io/{name}"
    return given.rstrip("/") + "/" if given else ""


def build(to: Path, python: Path, chosen: list[Path] | None = None) -> str:
    """Build the site into the folder `to`, which is replaced; returns Sphinx's warnings.

    `chosen` are the notebooks to put in (default: all lessons and exercises, and the playground). Raises SiteError when
    Sphinx fails.
    """
    if to.exists() and any(to.iterdir()) and not (to / "searchindex.js").exists():
        raise SiteError(
            f"{to} holds something else than a site, and would be replaced.\nNext: name an empty folder."
        )
    with tempfile.TemporaryDirectory() as folder:
        source, fresh = Path(folder, "source"), Path(folder, "html")
        stage(source, pages() if chosen is None else chosen, with_playground=chosen is None)
        command = [str(python), "-m", "sphinx", "-q", "-b", "html", str(source), str(fresh)]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SiteError(f"Sphinx stopped:\n{done.stderr.strip()}")
        for page in fresh.rglob("*.html"):
            text = made_accessible(page.read_text(encoding="utf-8"))
            # Without an address of the site, sphinxext-opengraph writes one that leads nowhere.
            text = re.sub(r'<meta property="og:url" content="(?!https?:)[^"]*" />\n?', "", text)
            page.write_text(text, encoding="utf-8")
        site_search.write(fresh, source)
        for unneeded in (".doctrees", "_sources", ".buildinfo", "objects.inv"):
            path = fresh / unneeded
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if to.exists():
            shutil.rmtree(to)
        shutil.copytree(fresh, to)
    if chosen is None:
        playground.export(to, lessons="")
    return done.stderr.replace(str(source) + os.sep, "")


# What Sphinx and the theme leave out of a page, and a reader without a mouse or without the picture needs.
ADDED_ATTRIBUTES = [
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    (
        "<pre>",
        '<pre tabindex="0">',
    ),  # long lines are read by scrolling, and a keyboard scrolls what has the focus
    ('<div class="output text_html">', '<div class="output text_html" tabindex="0">'),
    (
        'overflow-x: auto;">',
        'overflow-x: auto;" tabindex="0">',
    ),  # a token ribbon made before it had this itself
    ('<summary aria-label="Toggle hidden content">', "<summary>"),  # its text says what it shows
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages of the course">'),
    ('<aside class="toc-drawer', '<aside aria-label="Sections of this page" class="toc-drawer'),
]


def made_accessible(page: str) -> str:
    """A page's HTML with the attributes of ADDED_ATTRIBUTES. What was printed wraps, so the keyboard may pass it by."""
    for before, after in ADDED_ATTRIBUTES:
        page = page.replace(before, after)
    return re.sub(r'(<div class="output [^>]*>\s*<div class="highlight"><pre) tabindex="0">', r"\1>", page)


def pages() -> list[Path]:
    """The notebooks of the site: lessons, then exercises."""
    return [
        p for part in ("notebooks", "exercises") for p in sorted((ROOT / part).glob("[0-9][0-9]_*.ipynb"))
    ]


# --- what Sphinx reads ----------------------------------------------------------------------------------------


def stage(source: Path, chosen: list[Path], with_playground: bool = False) -> None:
    """Write the prepared notebooks, the front page and the settings into the folder `source`."""
    figures = source / "_static" / "figures"
    figures.mkdir(parents=True)
    shutil.copy(FILES / "conf.py", source)
    shutil.copytree(FILES / "templates", source / "_templates")
    for file in ("site.css", "site.js", "search.js", "favicon.svg"):
        shutil.copy(FILES / file, source / "_static")
    if PREVIEW.exists():
        shutil.copy(PREVIEW, source / "_static")
    address = badges.read_address()
    told = {"site": site_address(address), "repository": address.url, "playground": with_playground}
    (source / "settings.json").write_text(json.dumps(told), encoding="utf-8")
    names = [f"{path.parent.name}/{path.name}" for path in chosen]
    references = [name for name in references_there() if len(chosen) > 1]
    known = {*names, *references}
    for path, name in zip(chosen, names, strict=True):
        (source / name).parent.mkdir(exist_ok=True)
        notebook = prepared(notebooks.read(path), name, known, figures)
        if with_playground and path.parent.name == "notebooks":
            notebook.cells = with_try_here(notebook.cells, path.name)
        notebooks.write(notebook, source / name)
    for name in references:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        text = without_badges((ROOT / name).read_text(encoding="utf-8"))
        (source / name).write_text(with_links(text, name, known, source), encoding="utf-8")
    readme = without_badges((ROOT / "README.md").read_text(encoding="utf-8"))
    shown = (
        frame("", "", "The playground: a base and an instruct model side by side") if with_playground else ""
    )
    front = site_front.page(readme, shown, address, sum(name.startswith("notebooks/") for name in names))
    front = with_links(front, "README.md", known, source) + "\n" + tables_of_contents(names, references)
    (source / "index.md").write_text(front, encoding="utf-8")


def references_there() -> list[str]:
    """Markdown files that become pages, as paths from the root: README, docs and Pebble's cards."""
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "pebble_lm/DATA_CARD.md"]
    found += sorted(ROOT.glob("pebble_lm/models/*/README.md"))
    return [path.relative_to(ROOT).as_posix() for path in found if path.exists()]


def without_badges(text: str) -> str:
    """The text without the badges for Colab and Binder, whose pictures come from the network."""
    text = re.sub(rf"(?m)^(?:{badges.BINDER_BADGE.pattern}|{badges.COLAB_BADGE.pattern})\n\n?", "", text)
    return re.sub(rf"[ \t]*(?:{badges.COLAB_BADGE.pattern})", "", text)


TEACHING = ("docs/instructors.md", "docs/publishing.md")


def tables_of_contents(names: list[str], references: list[str]) -> str:
    """Hidden tables of contents, which give Sphinx the order of the pages."""
    of_pebble = [name for name in references if name.startswith("pebble_lm/")]
    parts = [
        ("Lessons", [name for name in names if name.startswith("notebooks/")]),
        ("Exercises", [name for name in names if name.startswith("exercises/")]),
        ("Help", [name for name in references if name not in (*of_pebble, *TEACHING)]),
        ("For teachers and maintainers", [name for name in references if name in TEACHING]),
        ("Pebble", of_pebble),
    ]
    trees = []
    for caption, entries in parts:
        if entries:
            listed = "\n".join(
                f"Install and run <{stem}>" if stem == "README" else stem
                for stem in (str(PurePosixPath(entry).with_suffix("")) for entry in entries)
            )
            trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n")
    return "\n".join(trees)


def prepared(
    notebook: nbformat.NotebookNode, name: str, known: set[str], figures: Path
) -> nbformat.NotebookNode:
    """The notebook as the page at `name` shows it. Changes the notebook and returns it."""
    cells = [cell for cell in notebook.cells if cell.get("id") != badges.SETUP_ID]
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            cell.source = with_links(cell.source, name, known, figures.parent.parent)
            continue
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                below = cells[number + 1].source if number + 1 < len(cells) else ""
                show_figure(output, below, name, figures)
            elif "text/html" in output.get("data", {}):
                output.data["text/html"] = with_papers(output.data["text/html"])
    fold(cells)
    show_self_check(cells)
    title, *rest = without_badges(cells[0].source).split("\n")
    cells[0].source = "\n".join([title, "", page_line(name, reading_minutes(cells)), *rest])
    notebook.cells = cells
    return notebook


def page_line(name: str, minutes: int) -> str:
    """The line under the title of the notebook's page, as HTML: minutes to read, and where the notebook can be run."""
    parts = [f"<span>Reading time about {minutes} minutes</span>"]
    address = badges.read_address()
    for label, target in site_front.places_to_run(address, name):
        parts.append(f'<a href="{html.escape(target)}">{label}</a>')
    return f'<p class="page-line">{" ".join(parts)}</p>'


def show_self_check(cells: list) -> None:
    """Where a cell shows the self-check, show questions that can be answered in the page, and leave the code out.

    What the text before says about running the cell is left out with it.
    """
    for number, cell in enumerate(cells):
        asked = (
            re.search(r"^quiz\([\"'](\d\d)[\"']\)", cell.source, re.M) if cell.cell_type == "code" else None
        )
        if asked:
            shown = {"text/html": self_check(quizzes.load(asked[1]))}
            cell.outputs = [nbformat.v4.new_output("display_data", data=shown)]
            cell.metadata["tags"] = ["remove-input"]
            before = cells[number - 1]
            if before.cell_type == "markdown":
                before.source = re.sub(r" ?\bRun the cell,[^.]*\.", "", before.source)


def self_check(questions: Sequence[quizzes.Question]) -> str:
    """Questions as HTML: each choice is a button that shows why it is right or wrong (site.js).

    Without scripts all reasons are shown.
    """

    def rich(text: str) -> str:
        return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))

    items = []
    for number, question in enumerate(questions, 1):
        choices = []
        for letter, choice in zip("ABCD", question.choices, strict=False):
            place, right = f"why-{number}-{letter.lower()}", "yes" if choice.right else "no"
            verdict = "✔ Right." if choice.right else "✘ Not this one."
            choices.append(
                f'<li><button type="button" class="choice" data-right="{right}" aria-expanded="false" '
                f'aria-controls="{place}"><span class="letter">{letter}</span> '
                f"<span>{rich(choice.text)}</span></button>"
                f'<p class="why" id="{place}" hidden><b>{verdict}</b> {rich(choice.why)}</p></li>'
            )
        items.append(
            f'<li class="question"><p id="question-{number}">{rich(question.text)}</p>'
            f'<ul aria-labelledby="question-{number}">{"".join(choices)}</ul></li>'
        )
    return (
        '<noscript><style>.self-check .why { display: block; }</style></noscript><div class="self-check">'
        f'<ol>{"".join(items)}</ol><p class="so-far">Choose an answer: you are told why at once.</p>'
        '<p class="visually-hidden" role="status"></p></div>'
    )


SHOW, HIDE = "Your prediction first. Then show the result", "Hide the result"
SETUP_SHOW, SETUP_HIDE = "Set-up: show what is imported and loaded", "Hide the set-up"


def fold(cells: list) -> None:
    """Fold the set-up, and what would answer a *Predict* before it is made.

    The set-up is the first code cell, where it shows nothing. What answers are the outputs after a *Predict*, and the
    first words about them: all up to the text that follows, or to the next one where only a short line was printed
    (it rarely is the answer), or where the text only leads on to the next output. A heading ends what is asked; two
    predictions in a row are answered by two outputs.
    """
    asked, first = 0, True  # how many predictions wait for their answer
    folded: list = []  # the cells that were folded since the last text
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            heading, asks = re.search(r"^#", cell.source, re.M), "**Predict" in cell.source
            if folded:
                goes_on = (len(folded) == 1 and is_one_line(folded[0])) or leads_on(cell.source)
                if heading or asks or not (goes_on and has_output_before_a_text(cells[number + 1 :])):
                    asked -= 1
                    cell.source = with_explanation(cell.source)
            asked = (0 if heading else asked) + asks
            folded = []
        elif cell.cell_type == "code":
            tags = cell.metadata.setdefault("tags", [])
            if asked and cell.get("outputs"):
                tags.append("hide-output")
                cell.metadata["mystnb"] = {"code_prompt_show": SHOW, "code_prompt_hide": HIDE}
                folded.append(cell)
            elif first and not cell.get("outputs"):
                tags.append("hide-input")
                cell.metadata["mystnb"] = {"code_prompt_show": SETUP_SHOW, "code_prompt_hide": SETUP_HIDE}
            first = False


def is_one_line(cell: nbformat.NotebookNode) -> bool:
    """Whether all that a code cell shows is one short printed line."""
    if any(output.output_type != "stream" for output in cell.outputs):
        return False
    text = "".join(output.text for output in cell.outputs).strip()
    return "\n" not in text and len(text) <= 80


def leads_on(markdown: str) -> bool:
    """Whether a text is one sentence about what the next cell will show, such as "And paired:"."""
    text = markdown.strip()
    sentence = "\n\n" not in text and not re.search(r"[.!?]\W*\s", text)
    return sentence and (text.startswith("And ") or text.endswith((":", "?")))


def has_output_before_a_text(cells: list) -> bool:
    """Whether the code cells at the beginning of `cells` show something."""
    for cell in cells:
        if cell.cell_type == "markdown":
            return False
        if cell.get("outputs"):
            return True
    return False


def with_explanation(markdown: str) -> str:
    """The text after a folded output with its first paragraph in <div class="explained">.

    So is a list that this paragraph announces; site.js shows them when the fold is opened. A heading, or a paragraph
    that asks for a prediction, stays where it is.
    """
    blocks = re.split(r"\n\s*\n", markdown.strip())
    count = (
        2 if blocks[0].rstrip().endswith(":") and len(blocks) > 1 and re.match(r"[-*|\d]", blocks[1]) else 1
    )
    explained, rest = blocks[:count], blocks[count:]
    if any(block.startswith("#") or "**Predict" in block or "```" in block for block in explained):
        return markdown
    return "\n\n".join(['<div class="explained">', *explained, "</div>", *rest])


def with_try_here(cells: list, file: str) -> list:
    """The cells of the lesson `file` with a folded playground at the end of each section that an example belongs to."""
    listed = json.loads((playground.WEB / "examples.json").read_text(encoding="utf-8"))
    ends: dict[int, str] = {}
    for example in listed:
        path, title = playground.lesson_section(example["lesson"], example["section"])
        if path.name != file:
            continue
        headings = [
            i
            for i, cell in enumerate(cells)
            if cell.cell_type == "markdown" and re.search(r"^#", cell.source, re.M)
        ]
        start = next(i for i in headings if title in re.sub(r"[*`]", "", cells[i].source))
        end = next((i for i in headings if i > start), len(cells))
        ends.setdefault(end, try_here(example))  # one per section: the first example
    found = []
    for i in range(len(cells) + 1):
        if i in ends:
            found.append(nbformat.v4.new_markdown_cell(ends[i]))
        found += cells[i : i + 1]
    return found


def try_here(example: dict) -> str:
    """A folded playground in HTML, with an example's prompt in it; nothing is loaded before it is opened."""
    name = html.escape(example["name"])
    shown = frame("../", playground.query(example["state"]) + "&small", f"Playground: {name}")
    return f'<details class="try-here"><summary>Try it here: {name}</summary>{shown}</details>'


def frame(up: str, state: str, title: str) -> str:
    """An <iframe> with the playground, which lies `up` from the page, as one line of HTML."""
    address = html.escape(f"{up}{playground.PAGE}?inside" + (f"&{state}" if state else ""))
    return f'<iframe class="playground" loading="lazy" src="{address}" title="{html.escape(title)}"></iframe>'


def with_papers(shown: str) -> str:
    """HTML with the arXiv numbers in its text as links."""
    parts = re.split(r"(<a .*?</a>|<[^>]+>)", shown, flags=re.S)
    parts[::2] = [ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>', part) for part in parts[::2]]
    return "".join(parts)


def show_figure(output: nbformat.NotebookNode, below: str, name: str, figures: Path) -> None:
    """Turn a PNG output into an <img> with alt text and write its file into `figures`.

    The alt text is the figure's own; without one, the sentence that stands beneath the figure.
    """
    data = base64.b64decode(output.data["image/png"])
    file = hashlib.sha256(data).hexdigest()[:16] + ".png"
    (figures / file).write_bytes(data)
    own = output.get("metadata", {}).get("image/png", {})
    alt = html.escape(own.get("alt") or first_sentences(below) or "A figure.", quote=True)
    size = "".join(f' {side}="{int(own[side])}"' for side in ("width", "height") if side in own)
    up = "../" * name.count("/")
    place = f"{up}_static/figures/{file}"
    shown = f'<img class="figure" src="{place}" alt="{alt}"{size}>'
    output.data = {"text/html": f'<a class="figure-link" href="{place}">{shown}</a>'}  # to look at it closely


def first_sentences(markdown: str, characters: int = 300) -> str:
    """The beginning of a markdown text as plain words."""
    paragraph = next((p for p in markdown.split("\n\n") if p.strip() and not p.startswith("#")), "")
    words = re.sub(r"[*_`]|<[^>]*>", "", LINK.sub(r"\1", paragraph)).split()
    text = " ".join(words)
    return text if len(text) <= characters else text[:characters].rsplit(" ", 1)[0] + " …"


def reading_minutes(cells: list) -> int:
    """Minutes to read the cells: words of text, lines of code."""
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    lines = sum(
        1 for cell in cells if cell.cell_type == "code" for line in cell.source.splitlines() if line.strip()
    )
    return max(1, math.ceil(words / WORDS_A_MINUTE + lines * SECONDS_A_CODE_LINE / 60))


def with_links(text: str, name: str, known: set[str], source: Path) -> str:
    """The text of the file `name` with links and pictures that work on the site; pictures are copied into `source`."""
    up = "../" * name.count("/")

    def picture(found: re.Match) -> str:
        target = inside(found[2], name)
        if target is None or not (ROOT / target).is_file():
            return found[0]
        place = source / "_static" / "pictures" / target.replace("/", "-")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / target, place)
        alt = html.escape(" ".join(found[1].split()), quote=True)
        return f'<img class="figure" src="{up}_static/pictures/{place.name}" alt="{alt}">'

    def link(found: re.Match) -> str:
        target = inside(found[2], name)
        if target is None:
            return found[0]
        if target in known:
            return f"[{found[1]}]({up}{target}{fragment(found[2])})"
        first = next((page for page in sorted(known) if page.startswith(target.rstrip("/") + "/")), None)
        if first and (ROOT / target).is_dir():
            return f"[{found[1]}]({up}{first})"
        address = badges.read_address()
        if address.repository:
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            return f"[{found[1]}]({address.url}/{kind}/{address.tag}/{target})"
        return found[1]

    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)  # what stands in code is shown as it is
    parts[::2] = [
        ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", LINK.sub(link, IMAGE.sub(picture, part)))
        for part in parts[::2]
    ]
    return "".join(parts)


def inside(target: str, name: str) -> str | None:
    """The path from the root that a link in the file `name` leads to; None for an address or a place on the page."""
    path = target.partition("#")[0]
    if not path or re.match(r"\w+:|//", target):
        return None
    full = os.path.normpath(os.path.join(os.path.dirname(name), path)).replace(os.sep, "/")
    return None if full.startswith("..") else full


def fragment(target: str) -> str:
    """What follows the # of a link, with it."""
    return "#" + target.partition("#")[2] if "#" in target else ""


# --- the command ----------------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """Build the site. 1: it could not be built."""
    parser = argparse.ArgumentParser(description="Build the lessons as web pages.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="only these (default: lessons and exercises)")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "_site", help="the folder to write (default: _site)"
    )
    options = parser.parse_args(argv)
    try:
        warnings = build(
            options.to, sphinx_python(install=True), [path.resolve() for path in options.notebooks] or None
        )
    except (SiteError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    print(warnings, end="", file=sys.stderr)
    print(f"The site is built: open {options.to / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
