"""What the web edition's search looks through: the text of every section of every page, in one script.

A script, because a page that was opened from disk may load one, but may not fetch a file. site_files/search.js reads
it.
"""

import json
from html.parser import HTMLParser
from pathlib import Path

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
WITHIN_A_LINE = {"a", "abbr", "b", "code", "em", "i", "kbd", "mark", "span", "strong", "sub", "sup"}
LEFT_OUT = {"headerlink", "page-line", "try-here", "why", "so-far"}  # classes
EMPTY = {"br", "hr", "img", "input", "link", "meta", "wbr", "source", "col"}


class Sections(HTMLParser):
    """The sections of a page: `found` is a list of [place, heading, text], in the order of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._open: list[str] = []  # the tags around, within the article
        self._sections: list[int] = []  # which of `found` each open <section> is
        self._skipped = 0  # how many tags are open inside something that is no text of the page
        self._in_heading = False

    def handle_starttag(self, tag: str, attributes: list) -> None:
        own = dict(attributes)
        classes = (own.get("class") or "").split()
        if not self._open and tag not in ("article", "main"):
            return
        if tag in EMPTY:
            self.handle_data(" ")
            return
        self._open.append(tag)
        left_out = tag in ("script", "style", "noscript", "math", "iframe", "form", "summary")
        if self._skipped or left_out or LEFT_OUT & set(classes):
            self._skipped += 1
        elif tag == "section":
            self._sections.append(len(self.found))
            self.found.append([own.get("id") or "", "", ""])
        elif tag in HEADINGS:
            self._in_heading = True
        elif tag not in WITHIN_A_LINE:
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or tag in EMPTY:
            return
        self._open.pop()
        if self._skipped:
            self._skipped -= 1
        elif tag == "section":
            self._sections.pop()
        elif tag in HEADINGS:
            self._in_heading = False
        elif tag not in WITHIN_A_LINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        if self._sections and not self._skipped:
            self.found[self._sections[-1]][1 if self._in_heading else 2] += data


def sections(page: str) -> list[list[str]]:
    """[place, heading, text] of every section of a page's HTML that has a heading, white space made single."""
    reader = Sections()
    reader.feed(page)
    return [
        [place, " ".join(heading.split()), " ".join(text.split())]
        for place, heading, text in reader.found
        if heading.strip()
    ]


def write(site: Path, source: Path) -> None:
    """Write _static/sections.js for the pages in `site` that come from a file in `source`."""
    entries = []
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).as_posix()
        if not any((source / name).with_suffix(kind).exists() for kind in (".md", ".ipynb")):
            continue
        found = sections(path.read_text(encoding="utf-8"))
        title = found[0][1] if found else ""
        entries += [[name, place, title, heading, text] for place, heading, text in found]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    (site / "_static" / "sections.js").write_text(f"const SECTIONS = [\n{lines}\n];\n", encoding="utf-8")
