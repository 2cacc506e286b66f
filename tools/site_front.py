"""The web edition's front page: made from the README, with the playground, and cards instead of the table of lessons.

What the page says about the course stands in the README alone: its line in bold, its sections "For whom" and "Start",
and its table of lessons with one finding each.
"""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from tools import badges

DESCRIPTION = (
    "What changes when a base language model becomes an instruct model? Try both in the page, then measure every claim "
    "in eleven lessons, on models that run on any laptop."
)
ROW = re.compile(r"^\| (\d\d) \| \[([^\]]+)\]\(([^)]+)\)[^|]*\| ([^|]+) \| (\d+) \|$", re.M)
LINK_IN_MARKDOWN = re.compile(r"\]\(([^)]*)\)\Z")


class FrontError(Exception):
    """The README lacks what the front page is made from. The message says what."""


class Lesson(NamedTuple):
    """A row of the README's table of lessons."""

    number: str
    title: str
    file: str
    finding: str
    minutes: int


def lessons(readme: str) -> list[Lesson]:
    """The rows of the README's table of lessons (badges taken out before)."""
    return [Lesson(*found[:4], int(found[4])) for found in ROW.findall(readme)]


def bold_line(readme: str) -> str:
    """The sentence in bold under the README's title. Raises FrontError without one."""
    found = re.search(r"\A# [^\n]+\n\n\*\*([^*]+)\*\*$", readme, re.M)
    if not found:
        raise FrontError("README.md has no line in bold under its title, which the front page begins with.")
    return " ".join(found[1].split())


def section(readme: str, heading: str) -> str:
    """The text of the README's section `heading`, without the heading. Raises FrontError without it."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", readme, re.M | re.S)
    if not found:
        raise FrontError(f'README.md has no section "{heading}", which the front page shows.')
    return found[1].strip()


def places_to_run(address: badges.Address, name: str) -> Iterator[tuple[str, str]]:
    """(label, address) of each place where the notebook `name` can be run in a browser; none without a repository."""
    if address.repository:
        yield "Open in Colab", LINK_IN_MARKDOWN.search(address.colab(name))[1]
        first = LINK_IN_MARKDOWN.search(address.binder())[1]
        path = "%2Flab%2Ftree%2F" + name.replace("/", "%2F")
        yield "Open in Binder", re.sub(r"urlpath=.*", f"urlpath={path}", first)


def page(readme: str, playground: str, address: badges.Address, shown: int) -> str:
    """The front page as Markdown with links as in the README; `playground` is HTML to hold (or "").

    `shown` is how many lessons the site has; without any, the page has no cards.
    """
    rows = lessons(readme)
    start = rows[0].file if rows else ""
    actions = [button(label, target) for label, target in places_to_run(address, start)]
    parts = [
        f'---\nmyst:\n  html_meta:\n    "description": "{DESCRIPTION}"\nog:description: "{DESCRIPTION}"\n---',
        f"# {bold_line(readme)}",
        '<p class="lead">What changes when a base language model becomes an instruct model? '
        "Try it, then measure it.</p>",
    ]
    if shown:
        first = f"{start.removesuffix('.ipynb')}.html"
        parts.append(
            f'<p class="actions">{button("Start reading", first, main=True)}{"".join(actions)}'
            f"{button('Run it yourself', '#start')}</p>"
        )
    parts.append(playground)
    if shown:
        parts += [f"(lessons)=\n## {in_words(len(rows))} lessons, one finding each", cards(rows)]
    parts += ["(for-whom)=\n## For whom", section(readme, "For whom")]
    parts += ["(start)=\n## Run it on your computer", section(readme, "Start").split("\n\n**Predict")[0]]
    parts.append("More about installing and running, real models and Pebble: [Install and run](README.md).")
    return "\n\n".join(part for part in parts if part) + "\n"


def in_words(count: int) -> str:
    """A number of lessons as a heading begins with it."""
    words = (
        "No",
        "One",
        "Two",
        "Three",
        "Four",
        "Five",
        "Six",
        "Seven",
        "Eight",
        "Nine",
        "Ten",
        "Eleven",
        "Twelve",
    )
    return words[count] if count < len(words) else str(count)


def cards(rows: list[Lesson]) -> str:
    """A grid of sphinx-design's cards, one per lesson, the whole card a link."""
    listed = [
        f"::::{{grid-item-card}} {row.number} · {row.title}\n"
        f":link: {row.file.removesuffix('.ipynb')}\n:link-type: doc\n\n"
        f"{row.finding}\n\n:::{{card-footer}}\n{row.minutes} minutes\n:::\n::::"
        for row in rows
    ]
    return ":::::{grid} 1 2 3 3\n:gutter: 3\n\n" + "\n\n".join(listed) + "\n:::::"


def button(label: str, target: str, main: bool = False) -> str:
    """A link that looks like a button, as HTML."""
    kind = "sd-btn-primary" if main else "sd-btn-outline-primary"
    return f'<a class="sd-btn {kind}" href="{html.escape(target)}">{html.escape(label)}</a>'
