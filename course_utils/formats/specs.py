"""The formats that fine-tuning data comes in: their columns, and which of them a row is written in.

The names and columns follow TRL's dataset types (huggingface.co/docs/trl, *Dataset formats and types*); Alpaca
and ShareGPT are the two older layouts that TRL does not take as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

from .flaws import Flaw, error_text, flaw
from .normal import are_objects, from_json


class FormatError(ValueError):
    """Rows that are in no known format, or that cannot be turned into the format asked for."""


@dataclass(frozen=True)
class Format:
    """One layout of a row. `required` and `optional` are its columns."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    conversational: bool = False  # its columns hold lists of turns, not strings
    used_for: str = ""

    @property
    def turn_columns(self) -> tuple[str, ...]:
        """The columns that hold a list of turns."""
        return tuple(c for c in self.required if c != "label") if self.conversational else ()

    @property
    def answers(self) -> list[str]:
        """The columns that hold an answer to the prompt."""
        return [column for column in ("chosen", "rejected", "completion") if column in self.required]

    @property
    def turn_keys(self) -> tuple[str, ...]:
        """The keys of a turn: the first says who speaks, the second what; the others may be left out."""
        return TURN_KEYS if self.name == "sharegpt" else MESSAGE_KEYS

    @property
    def other_keys(self) -> tuple[str, ...]:
        """What the other layout of turns calls the speaker and the text."""
        return (MESSAGE_KEYS if self.name == "sharegpt" else TURN_KEYS)[:2]

    @property
    def roles(self) -> Mapping[str, str]:
        """The known names of speakers, and the role among messages that each stands for."""
        return SHAREGPT_ROLES | SHAREGPT_SYNONYMS if self.name == "sharegpt" else dict(zip(ROLES, ROLES))


_FACTS = json.loads(Path(__file__).with_name("formats.json").read_text(encoding="utf-8"))
# The most specific first: a row is in the first of these whose columns it has.
FORMATS: dict[str, Format] = {
    name: Format(name, tuple(own["required"]), tuple(own["optional"]), own["conversational"], own["used_for"])
    for name, own in _FACTS["formats"].items()
}
COLUMNS = {c for spec in FORMATS.values() for c in (*spec.required, *spec.optional)}

# Marks of other trainers for "leave this turn out of the loss": OpenAI's and axolotl's, axolotl's, ms-swift's.
LOSS_KEYS = ("weight", "train", "loss")

# Names of the roles. ShareGPT's are those of its original dump, plus LLaMA-Factory's two for tools.
ROLES = ("system", "developer", "user", "assistant", "tool")
SHAREGPT_ROLES: dict[str, str] = _FACTS["sharegpt_roles"]
SHAREGPT_SYNONYMS: dict[str, str] = _FACTS["sharegpt_synonyms"]
MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "thinking", "reasoning_content")
TURN_KEYS = ("from", "value", "name")


def format_named(name: str) -> Format:
    """The Format called `name`; spaces and underscores count as hyphens. FormatError lists the names."""
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    key = _FACTS["aliases"].get(key, key)
    if key not in FORMATS:
        raise FormatError(error_text("no such format", name=name, names=", ".join(FORMATS)))
    return FORMATS[key]


def format_of(row: Any) -> str | None:
    """The name of the format whose columns this row has, or None.

    Columns decide, so a row with a null or wrongly typed value still has the format that it was meant to be
    in; further columns do no harm. A list in a column that takes text or turns makes it conversational.
    """
    if not isinstance(row, Mapping):
        return None
    for spec in FORMATS.values():
        if not all(column in row for column in spec.required):
            continue
        if spec.name == "tool-calls" and not calls_tools(row):
            continue
        # A copy of the prompt beside two whole conversations does not make it explicit.
        pair = {"prompt", "rejected"} <= set(spec.required)
        if pair and isinstance(row["prompt"], str) and isinstance(row["chosen"], list):
            continue
        turns = any(isinstance(row[column], list) for column in spec.required if column != "label")
        name = f"conversational-{spec.name}"
        name = name if turns and name in FORMATS else spec.name
        return None if _holds_more(row, name) else name
    return None


def _holds_more(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a column that this format would pass over, and that another format knows by another name."""
    meant = set(_FACTS["would_mean"].get(name, ())) - row.keys()
    return any(meant & set(meant_by(key)) for key in row if key not in ("input", "output"))


def meant_by(key: Any) -> Sequence[str]:
    """The columns that other people may mean by this name, the likeliest first: for advice, never to read by."""
    return _FACTS["columns"].get(str(key).lower(), ())


def calls_tools(row: Mapping[str, Any]) -> bool:
    """Whether a row of messages declares, calls or answers as a tool."""
    messages = row.get("messages")
    messages = messages if isinstance(messages, list) else []
    return bool(row.get("tools")) or any(
        isinstance(m, Mapping) and (m.get("tool_calls") or m.get("role") == "tool") for m in messages
    )


def formats_of(rows: Iterable[Any]) -> list[str | None]:
    """The format of each row, with plain messages counted as tool-calls where some rows call tools.

    Data with tools has conversations in which none was needed; that does not make it mixed.
    """
    names = [format_of(row) for row in rows]
    tools = "tool-calls" in names
    return ["tool-calls" if tools and name == "messages" else name for name in names]


def nearest_format(row: Mapping[str, Any]) -> tuple[Format, dict[str, str], list[str]]:
    """The format that an unknown row comes closest to, {its column: the format's name for it}, and what lacks."""

    def likeness(column: str, key: str) -> float:
        if key == column or column in meant_by(key):
            return 1.0
        return SequenceMatcher(None, column, key.lower()).ratio()

    keys = [str(key) for key in row][:50]
    found: list[tuple[float, Format, dict[str, str], list[str]]] = []
    for spec in FORMATS.values():
        if spec.conversational != (spec.name in ("sharegpt", "messages")) or spec.name == "tool-calls":
            continue
        renamed, missing, score = {}, [], 0.0
        for column in spec.required:
            key = max(keys, key=partial(likeness, column), default="")
            closeness = likeness(column, key)
            if closeness < 0.75 or key in renamed:
                missing.append(column)
            else:
                renamed[key] = column
                score += closeness
        score = (score - 0.5 * len(missing)) / len(spec.required) + 0.01 * len(renamed)
        found.append((score, spec, {k: c for k, c in renamed.items() if k != c}, missing))
    return max(found, key=lambda one: one[0])[1:]


def unknown_format(row: Any) -> tuple[str, str]:
    """What is wrong with a row in no known format, and what to do about it, as two sentences."""
    if not isinstance(row, Mapping):
        todo = "Write each row as {…} with the columns of one format."
        if are_objects(row):
            column = "conversations" if "from" in row[0] else "messages"
            todo = f"A conversation is a row once it stands under a name: {{'{column}': […]}}."
        return f"is {type_name(row)}, where an object with named columns was expected", todo
    keys = ", ".join(repr(str(key)) for key in list(row)[:8]) + (", …" if len(row) > 8 else "")
    what = f"has the keys {keys}, which are no known format's" if keys else "is empty"
    special = _known_otherwise(row)
    if special:
        return what, special
    spec, renamed, missing = nearest_format(row)
    if len(missing) == len(spec.required):
        return what, "No format is near it. The simplest is {'text': …}; formats.FORMATS lists them all."
    steps = [f"rename {old!r} to {new!r}" for old, new in renamed.items()]
    steps += [f"add {column!r}" for column in missing]
    advice = f"The nearest format is {spec.name} ({', '.join(spec.required)})"
    advice += f": {' and '.join(steps)}." if steps else "."
    if "prompt" in row and set(renamed.values()) == {"completion"}:
        advice += f" (If only a reward looks at it, pass allow={list(renamed)} to validate.)"
    return what, advice


def _known_otherwise(row: Mapping[str, Any]) -> str | None:
    """What to do with a row that is known, but is no row of a format: a turn, a split, tokens, calls apart."""
    keys = {str(key) for key in row}
    if {"role", "content"} <= keys or {"from", "value"} <= keys:
        column = "messages" if "role" in keys else "conversations"
        return f"This is one turn. A row holds the whole conversation: {{'{column}': [turn, turn, …]}}."
    if keys & {"train", "test", "validation"} and not any(isinstance(value, str) for value in row.values()):
        return f"These are the splits of a data set. Give one of them: rows[{next(iter(row))!r}]."
    if {"input_ids", "labels"} <= keys or {"input_ids", "attention_mask"} <= keys:
        return error_text("tokens")
    answers = from_json(row.get("answers", row.get("answer")))
    calls = isinstance(answers, list) and [isinstance(one, Mapping) and "arguments" in one for one in answers]
    return error_text("calls alone") if calls and all(calls) else None


def type_name(value: Any) -> str:
    """What JSON calls a value's type, with its article."""
    name = type(value).__name__
    return _FACTS["types"].get(name, f"a {name}")


def type_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    """What keeps this row from being read as `spec`: values of a wrong type, turns without role or content."""
    for column in spec.required:
        value = row.get(column)
        known = {"format": spec.name, "type": type_name(value)}
        if column not in row:
            yield flaw("column missing", column, **known)
        elif column in spec.turn_columns and other_coat(value, spec):
            right = {"conversations": "messages", "messages": "conversations"}.get(column)
            known |= {"column": column, "own": spec.turn_keys, "other": spec.other_keys, "right": right}
            yield flaw("other column" if right else "other keys", f"{column}[0].{spec.turn_keys[0]}", **known)
        elif value is None:
            yield flaw("null", column)
        elif column == "label":
            if not isinstance(value, bool):
                yield flaw("label", column, **known)
        elif spec.conversational:
            yield from _turn_list_flaws(column, value, spec)
        elif not isinstance(value, str):
            yield flaw("no string", column, **known)
    for column in spec.optional:
        value = row.get(column)
        wanted = {"tools": list, "prompt": (str, list), "id": object}.get(column, str)
        if value is not None and not isinstance(value, wanted):
            yield flaw("tools" if column == "tools" else "optional", column, type=type_name(value))


def require_types(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Raise FormatError for the first row that cannot be read as the format of this name."""
    for number, (row, name) in enumerate(zip(rows, names, strict=True), 1):
        for found in type_flaws(row, FORMATS[name]):
            raise FormatError(error_text("wrong type", number=number, found=found))


def other_coat(turns: Any, spec: Format) -> bool:
    """Whether these turns have the other layout's keys: from and value in messages, role and content in ShareGPT."""
    own, other = set(spec.turn_keys[:2]), spec.other_keys[0]
    is_list = isinstance(turns, list) and bool(turns)
    return is_list and all(isinstance(t, Mapping) and other in t and not own & t.keys() for t in turns)


def _turn_list_flaws(column: str, turns: Any, spec: Format) -> Iterator[Flaw]:
    role, text = spec.turn_keys[:2]
    known = {"format": spec.name, "role": role, "text": text}
    if not isinstance(turns, list):
        printed = isinstance(turns, str) and turns.lstrip().startswith("[")
        yield flaw("printed list" if printed else "no list", column, type=type_name(turns), **known)
        return
    if not turns:
        yield flaw("no turns", column)
    for i, turn in enumerate(turns):
        place = f"{column}[{i}]"
        if not isinstance(turn, Mapping):
            yield flaw("no turn", place, type=type_name(turn), **known)
            continue
        said_by = turn.get(role)
        if not isinstance(said_by, str):
            todo = f"Name who speaks in {role!r}."
            if spec.other_keys[0] in turn:
                whose = "those of messages" if spec.name == "sharegpt" else "ShareGPT's"
                todo = f"Its keys are {whose}; {spec.name} writes {role!r} and {text!r}."
            name = "no role" if said_by is None else "role's type"
            yield flaw(name, f"{place}.{role}", turn=place, role=role, type=type_name(said_by), todo=todo)
        yield from _content_flaws(place, turn, text)


def _content_flaws(place: str, turn: Mapping[str, Any], text: str) -> Iterator[Flaw]:
    calls, content, field = turn.get("tool_calls"), turn.get(text), f"{place}.{text}"
    if calls:
        yield from _call_flaws(f"{place}.tool_calls", calls)
    if isinstance(content, str) or (content is None and calls):
        return
    if text not in turn:
        names = ("text", "value", "content", "message")
        other = next((name for name in names if isinstance(turn.get(name), str)), None)
        yield flaw("text by another name" if other else "no text", field, turn=place, text=text, other=other)
    else:
        yield flaw("null" if content is None else "text's type", field, type=type_name(content))


def _call_flaws(field: str, calls: Any) -> Iterator[Flaw]:
    if not isinstance(calls, list):
        yield flaw("no calls", field)
        return
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            yield flaw("no function", f"{field}[{i}]")
        elif not isinstance(from_json(function.get("arguments")), Mapping):
            yield flaw("arguments", f"{field}[{i}].function.arguments")


def same_key(row: Any) -> str:
    """A value as one string that is the same for equal values; null counts as absent, as does an empty input."""
    try:
        return json.dumps(_without_nulls(row), sort_keys=True, default=repr)
    except (TypeError, ValueError, RecursionError):
        return f"{type(row).__name__} {id(row)}"


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    # JSON written into a string is the same whatever its white space, and whether or not it was decoded.
    value = {k: from_json(v) if k in ("arguments", "value", "tools") else v for k, v in value.items()}
    idle = ("input", "content") if value.get("tool_calls") else ("input",)
    return {k: _without_nulls(v) for k, v in value.items() if v is not None and not (v == "" and k in idle)}
