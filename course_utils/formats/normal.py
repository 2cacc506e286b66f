"""Rows as they come, made alike at the door: arrays, JSON in a string, empty lists, a table given by its columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

_TURN_COLUMNS = ("messages", "conversations", "prompt", "completion", "chosen", "rejected")
_KNOWN = {*_TURN_COLUMNS, "text", "instruction", "input", "output", "label"}


def normal(row: Any) -> Any:
    """A row in plain Python values; what is the same thing in another coat looks the same afterwards.

    Arrays, tuples and NumPy's scalars become lists and Python's own values; a list of turns or of tools that stands
    as JSON in a string is decoded; `tools: []` and `tool_calls: []` count as none. Nothing else is changed.
    """
    with suppress(RecursionError):  # a row nested that deeply is reported later on
        row = to_python(row.to_dict() if type(row).__name__ == "Series" else row)
    if not isinstance(row, Mapping):
        return row
    row = {key: _decoded(key, value) for key, value in row.items()}
    if row.get("tools") == []:
        del row["tools"]
    for column in _TURN_COLUMNS:
        if isinstance(row.get(column), list):
            row[column] = [_turn(turn) for turn in row[column]]
    return row


def to_python(value: Any, padded: bool = False) -> Any:
    """Arrays, tuples and NumPy's scalars as lists and Python's own values.

    From a table, where `padded`: NaN as None, and keys of a turn that it only padded with null are left out.
    """
    if isinstance(value, Mapping):
        kept = {key: to_python(item, padded) for key, item in value.items()}
        if not padded:
            return kept
        stays = ("role", "from", "value") if kept.get("tool_calls") else ("role", "from", "content", "value")
        return {key: item for key, item in kept.items() if item is not None or key in stays}
    if isinstance(value, (list, tuple)):
        return [to_python(item, padded) for item in value]
    if hasattr(value, "tolist"):
        return to_python(value.tolist(), padded)
    return None if padded and isinstance(value, float) and value != value else value


def _decoded(column: Any, value: Any) -> Any:
    if column == "tools" and isinstance(value, list):
        schemas = [from_json(one) for one in value]
        return schemas if all(isinstance(one, Mapping) for one in schemas) else value
    if not isinstance(value, str) or column not in (*_TURN_COLUMNS, "tools"):
        return value
    found = from_json(value)
    if column == "tools":
        return found if found == [] or are_objects(found) else value
    # A prompt may be a text about JSON.
    return found if are_objects(found) and all({"role", "from"} & one.keys() for one in found) else value


def from_json(value: Any) -> Any:
    """The list or object that a text holds as JSON; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def are_objects(value: Any) -> bool:
    """Whether a value is a list of objects, and not an empty one."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _turn(turn: Any) -> Any:
    if isinstance(turn, Mapping) and "tool_calls" in turn and not turn["tool_calls"]:
        return {key: value for key, value in turn.items() if key != "tool_calls"}
    return turn


def by_columns(table: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of a table that is given by its columns, as a slice of a data set is; None for a single row.

    All columns must be equally long lists (or objects with the same row names, as pandas' to_json writes them), and a
    known column among them must hold what a single row could not: several texts, or several lists of turns.
    """
    columns = {key: _column(value) for key, value in table.items()}
    known = [columns[key] for key in table if key in _KNOWN and columns[key]]
    if not known or None in columns.values() or len({len(values) for values in columns.values()}) != 1:
        return None
    # Neither a list of turns, which makes a row, nor anything else that no format holds.
    if not all(isinstance(one, (str, list, bool)) for values in known for one in values):
        return None
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(value: Any) -> Sequence[Any] | None:
    if isinstance(value, Mapping):
        return list(value.values()) if value and all(str(key).isdigit() for key in value) else None
    value = to_python(value)
    return value if isinstance(value, list) else None
