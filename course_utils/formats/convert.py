"""Turning rows of one format into another over the shortest way of steps, and saying what would be lost.

What a step gives up it declares; whatever is declared nowhere is checked by converting back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from .flaws import error_text
from .specs import Format, FormatError, require_types, same_key
from .steps import STEPS, Lose, Loss, Numbered, Row


class LossyConversion(FormatError):
    """A conversion that would lose something. `.dropped` lists it as (row, field, lost)."""

    def __init__(self, message: str, dropped: Sequence[Loss]):
        super().__init__(message)
        self.dropped = list(dropped)


def convert_rows(rows: Sequence[Row], source: Format, target: Format) -> tuple[list[Row], list[Loss]]:
    """`rows` of one format as rows of another, and all that the conversion lost.

    Columns beyond the format's own (an id, a source) are carried along. Raises FormatError where a row cannot
    be converted at all.
    """
    require_types(rows, [source.name] * len(rows))
    path = _path(source, target)
    lost: list[Loss] = []
    numbered = _walk([(i, dict(row)) for i, row in enumerate(rows, 1)], path, lost)
    if not lost:
        lost = _differences(rows, numbered, path)
    lost = [loss._replace(field=_field_of_source(loss.field, source)) for loss in lost]
    return [row for _, row in numbered], sorted(lost, key=lambda loss: loss.row)


def _field_of_source(field: str, source: Format) -> str:
    """A field as the rows themselves call it; steps on the way may call it otherwise."""
    if source.name == "alpaca":
        return {"prompt": "instruction", "completion": "output"}.get(field, field)
    if source.name not in ("sharegpt", "messages", "tool-calls"):
        return field
    (column,) = source.required
    field = re.sub(r"^completion(\[0\])?", f"{column}[-1]", field)
    field = re.sub(r"^(messages|prompt)(?=\[)", column, field)
    if column == "conversations":
        field = field.replace("].content", "].value").replace("].role", "].from")
    return field


def _walk(numbered: Numbered, path: Sequence[str], lost: list[Loss]) -> Numbered:
    def losing(row: int) -> Lose:
        return lambda field, what: lost.append(Loss(row, field, what))

    for here, there in pairwise(path):
        numbered = STEPS[here][there](numbered, losing)
    return numbered


def _path(source: Format, target: Format) -> list[str]:
    """The names from source to target, over the fewest steps; FormatError where no way leads there."""
    if "text" in (source.name, target.name) and source.conversational != target.conversational:
        kind = "turns to text" if target.name == "text" else "text to turns"
        raise FormatError(error_text(kind, source=source.name))
    ways = [[source.name]]
    for way in ways:  # which grows on the way
        if way[-1] == target.name:
            return way
        ways += [[*way, name] for name in STEPS[way[-1]] if not any(name in known for known in ways)]
    lacking = "an answer to each prompt"
    if "rejected" in target.required and source.name not in ("prompt-only", "conversational-prompt-only"):
        lacking = "a rejected answer beside each good one"
    elif "label" in target.required:
        lacking = "a label for each answer, good or bad"
    raise FormatError(error_text("no way", source=source.name, target=target.name, lacking=lacking))


def _differences(rows: Sequence[Row], numbered: Numbered, path: Sequence[str]) -> list[Loss]:
    """What converting back does not return, row by row."""
    try:
        back = [row for _, row in _walk(numbered, path[::-1], [])]
    except KeyError:
        return [Loss(1, "", f"no way leads back from {path[-1]}")]
    except FormatError as error:
        return [Loss(1, "", f"the rows cannot be converted back: {error}")]
    returned = Counter(same_key(row) for row in back)
    lost = []
    for i, row in enumerate(rows, 1):
        key = same_key(row)
        if returned[key] > 0:
            returned[key] -= 1
            continue
        other = back[i - 1] if len(back) == len(rows) else {}
        fields = [k for k in row if same_key(row[k]) != same_key(other.get(k))] or [""]
        lost += [Loss(i, str(field), "is not the same after converting back") for field in fields]
    return lost
