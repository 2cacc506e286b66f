"""The lessons as web pages, to read without running: `python course.py site [--to _site] [NOTEBOOK ...]`.

Sphinx builds the pages from the committed notebooks, with their results as they are (nothing is executed): myst-nb
reads them, furo gives navigation, search, previous and next. What is prepared here first: the set-up cell for Colab is
left out, each figure gets its alt text, each page its reading time, and links to files that are not pages lead to the
repository, if the course has a public address (tools/address.json), or become plain text. The playground
(tools/playground.py) is exported beside the pages: the front page holds it, and so does each section of a lesson that
an example of it belongs to.

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
from pathlib import Path, PurePosixPath

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import badges, notebooks, playground

ROOT = notebooks.ROOT
VENV = ROOT / ".venv-site"
NEEDS = ("sphinx", "myst_nb", "furo", "latex2mathml")
WORDS_A_MINUTE, SECONDS_A_CODE_LINE = 200, 3
STYLE, SCRIPT = Path(__file__).with_name("website.css"), Path(__file__).with_name("website.js")
LINK = re.compile(r"(?<!!)\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")

ARXIV = re.compile(r"(?<![\[/\w])arXiv[ :](\d{4}\.\d{4,5})(?!\])")
FAVICON = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect x="1" y="2" width="9" height="5" rx="1" fill="#0072B2"/>
<rect x="1" y="9" width="14" height="5" rx="1" fill="#D55E00"/></svg>
"""

CONF = """\
project = "Base vs Instruct"
DESCRIPTION = "What changes when a base language model becomes an instruct model: measured, in the page and in notebooks."
author = "The authors of Base vs Instruct"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["website.css"]
html_js_files = ["website.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it would read the pages by a request, which no browser allows for files
html_use_index = False
html_show_copyright = False
exclude_patterns = ["_static"]
html_favicon = "_static/favicon.svg"
myst_html_meta = {
    "description": DESCRIPTION,
    "property=og:title": project,
    "property=og:description": DESCRIPTION,
    "property=og:type": "website",
}
nb_execution_mode = "off"
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "misc.highlighting_failure", "myst.xref_missing", "mystnb.unknown_mime_type"]
html_math_renderer = "mathml"  # which browsers draw themselves; the default fetches a library from the network


def setup(app):
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    def render(display):
        def visit(writer, node):
            drawn = convert(node.astext(), display=display)
            writer.body.append(f'<div class="math" tabindex="0">{drawn}</div>' if display == "block" else drawn)
            raise SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", inline_renderers=render("inline"), block_renderers=render("block"))
"""


class SiteError(Exception):
    """The site cannot be built. The message says what is missing and what to do next."""


# --- Sphinx ---------------------------------------------------------------------------------------------------


def sphinx_python(install: bool) -> Path | None:
    """A Python with what requirements-site.txt names: COURSE_SITE_PYTHON, this one, or the one of .venv-site.

    With `install`, .venv-site is made where there is none; without, None is returned then.
    """
    if os.environ.get("COURSE_SITE_PYTHON"):
        return Path(os.environ["COURSE_SITE_PYTHON"])
    if all(importlib.util.find_spec(name) for name in NEEDS):
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
            page.write_text(made_accessible(page.read_text(encoding="utf-8")), encoding="utf-8")
        for unneeded in (".doctrees", ".buildinfo", "objects.inv"):
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
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages of the course">'),
    ('<aside class="toc-drawer', '<aside aria-label="Sections of this page" class="toc-drawer'),
]


def made_accessible(page: str) -> str:
    """A page's HTML with the attributes of ADDED_ATTRIBUTES."""
    for before, after in ADDED_ATTRIBUTES:
        page = page.replace(before, after)
    return page


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
    (source / "conf.py").write_text(CONF, encoding="utf-8")
    for file in (STYLE, SCRIPT):
        shutil.copy(file, source / "_static")
    (source / "_static" / "favicon.svg").write_text(FAVICON, encoding="utf-8")
    names = [f"{path.parent.name}/{path.name}" for path in chosen]
    references = [name for name in references_there() if len(chosen) > 1]
    known = {*names, *references, "README.md"}
    for path, name in zip(chosen, names, strict=True):
        (source / name).parent.mkdir(exist_ok=True)
        notebook = prepared(notebooks.read(path), name, known, figures)
        if with_playground and path.parent.name == "notebooks":
            notebook.cells = with_try_here(notebook.cells, path.name)
        notebooks.write(notebook, source / name)
    for name in references:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        (source / name).write_text(with_links(text, name, known, source), encoding="utf-8")
    front = front_page(names, references, known, source)
    if with_playground:
        title, first, rest = front.split("\n\n", 2)
        shown = frame("", "", "The playground: a base and an instruct model side by side")
        front = f"{title}\n\n{first}\n\n{shown}\n\n{rest}"
    (source / "index.md").write_text(front, encoding="utf-8")


def references_there() -> list[str]:
    """Markdown files besides the README that become pages, as paths from the root: the glossary and Pebble's cards."""
    found = [*sorted(ROOT.glob("docs/*.md")), ROOT / "pebble_lm/DATA_CARD.md"]
    found += sorted(ROOT.glob("pebble_lm/models/*/README.md"))
    return [path.relative_to(ROOT).as_posix() for path in found if path.exists()]


def front_page(names: list[str], references: list[str], known: set[str], source: Path) -> str:
    """The README with the tables of contents that give Sphinx the order of the pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = [
        ("Lessons", [name for name in names if name.startswith("notebooks/")]),
        ("Exercises", [name for name in names if name.startswith("exercises/")]),
        ("Reference", references),
    ]
    trees = []
    for caption, entries in parts:
        if entries:
            listed = "\n".join(str(PurePosixPath(entry).with_suffix("")) for entry in entries)
            trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n")
    return with_links(readme, "README.md", known, source) + "\n" + "\n".join(trees)


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
    fold(cells)
    title, *rest = cells[0].source.split("\n")
    note = f"*Reading time about {reading_minutes(cells)} minutes.*"
    cells[0].source = "\n".join([title, "", note, *rest])
    notebook.cells = cells
    return notebook


def fold(cells: list) -> None:
    """Fold the set-up (the first code cell, where it shows nothing), and what would answer a *Predict* before it is made."""
    predicting, first = False, True
    for cell in cells:
        if cell.cell_type == "markdown":
            predicting = "**Predict" in cell.source
        elif cell.cell_type == "code":
            tags = cell.metadata.setdefault("tags", [])
            if predicting and cell.get("outputs"):
                tags.append("hide-output")
            elif first and not cell.get("outputs"):
                tags.append("hide-input")
            first = False


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
    output.data = {"text/html": f'<img class="figure" src="{up}_static/figures/{file}" alt="{alt}"{size}>'}


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
    up = "../" * name.count("/") if name != "README.md" else ""

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
            return f"[{found[1]}]({up}{'index.md' if target == 'README.md' else target}{fragment(found[2])})"
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
