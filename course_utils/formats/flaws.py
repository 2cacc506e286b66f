"""What is said about a row or a file: flaws, worded in flaws.json beside this file, and errors, in errors.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

_HERE = Path(__file__).parent
_FLAWS = json.loads((_HERE / "flaws.json").read_text(encoding="utf-8"))
_ERRORS = json.loads((_HERE / "errors.json").read_text(encoding="utf-8"))


class Flaw(NamedTuple):
    """Something wrong in one field of one row: which field, what kind, what exactly, what to do."""

    field: str
    problem: str
    detail: str
    what_to_do: str


def flaw(kind: str, field: str = "", /, **values: Any) -> Flaw:
    """The flaw of this kind in flaws.json; its texts hold the field and these values by their names."""
    text = _FLAWS[kind]
    detail, todo = (text[part].format(field=field, **values) for part in ("detail", "what_to_do"))
    return Flaw(field, text["problem"], detail, todo)


def error_text(kind: str, /, **values: Any) -> str:
    """The sentences of this kind in errors.json, with these values put in by their names."""
    return _ERRORS[kind].format(**values)
