"""What is reported about a row or a file: one flaw each, worded in flaws.json beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

TEXTS = json.loads(Path(__file__).with_name("flaws.json").read_text(encoding="utf-8"))


class Flaw(NamedTuple):
    """Something wrong in one field of one row: which field, what kind, what exactly, what to do."""

    field: str
    problem: str
    detail: str
    what_to_do: str


def flaw(kind: str, field: str = "", /, **values: Any) -> Flaw:
    """The flaw of this kind in flaws.json; its texts hold the field and these values by their names."""
    text = TEXTS[kind]
    detail, todo = (text[part].format(field=field, **values) for part in ("detail", "what_to_do"))
    return Flaw(field, text["problem"], detail, todo)


def type_name(value: Any) -> str:
    """What JSON calls a value's type, with its article."""
    names = {
        type(None): "null", str: "a string", bool: "true or false", int: "a number", float: "a number",
        list: "a list", dict: "an object",
    }  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")
