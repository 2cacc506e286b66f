"""HTML from the templates beside this file: `ribbon.jinja`, `explorer.jinja`."""

from functools import cache
from html import escape
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template


@cache
def template(name: str) -> Template:
    """The template of this name. Its line breaks and indentation are for its reader alone; `|text` escapes a text."""
    environment = Environment(undefined=StrictUndefined)
    environment.filters["text"] = escape
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    # A line break between two cells would be a text of its own, and one inside a text would be shown.
    return environment.from_string("".join(line.strip() for line in lines))
