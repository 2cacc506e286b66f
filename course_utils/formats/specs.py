"""The formats that fine-tuning data comes in: their columns, and which of them a row is written in.

The names and columns follow TRL's dataset types (huggingface.co/docs/trl, *Dataset formats and types*); Alpaca
and ShareGPT are the two older layouts that TRL does not take as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from .flaws import Flaw, flaw, type_name
from .normal import from_json


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


_PAIR = ("prompt", "chosen", "rejected")
_JUDGED = ("prompt", "completion", "label")
_ANSWER = ("prompt", "completion")
_TOOLS = ("tools",)
_SFT, _DPO, _KTO = "SFT", "DPO, reward models", "KTO"
_ROLLOUT = "GRPO, RLOO (the model writes the answer)"

# The most specific first: a row is in the first of these whose columns it has.
FORMATS: dict[str, Format] = {
    spec.name: spec
    for spec in (
        Format("preference", _PAIR, used_for=_DPO),
        Format("conversational-preference", _PAIR, _TOOLS, True, _DPO),
        Format("implicit-preference", _PAIR[1:], used_for=_DPO),
        Format("conversational-implicit-preference", _PAIR[1:], ("prompt", "tools"), True, _DPO),
        Format("unpaired-preference", _JUDGED, used_for=_KTO),
        Format("conversational-unpaired-preference", _JUDGED, _TOOLS, True, _KTO),
        Format("sharegpt", ("conversations",), ("id", "tools"), True, f"{_SFT}, once converted to messages"),
        Format("tool-calls", ("messages",), _TOOLS, True, _SFT),
        Format("messages", ("messages",), (), True, _SFT),
        Format("alpaca", ("instruction", "output"), ("input",), used_for=f"{_SFT}, once converted"),
        Format("prompt-completion", _ANSWER, used_for=_SFT),
        Format("conversational-prompt-completion", _ANSWER, _TOOLS, True, _SFT),
        Format("text", ("text",), used_for="pretraining, SFT with loss on every token"),
        Format("prompt-only", ("prompt",), used_for=_ROLLOUT),
        Format("conversational-prompt-only", ("prompt",), _TOOLS, True, _ROLLOUT),
    )
}

COLUMNS = {c for spec in FORMATS.values() for c in (*spec.required, *spec.optional)}

# What other people call these formats and their columns (a list: what it may mean, the likeliest first). Such a
# column is never read as ours, but known when it comes to advice.
_OTHERS = json.loads(Path(__file__).with_name("other_names.json").read_text(encoding="utf-8"))
_ALIASES: dict[str, str] = _OTHERS["formats"]
OTHER_NAMES: dict[str, list[str]] = _OTHERS["columns"]
# Of a format that a row falls back on, what further columns would mean under a known other name.
_WOULD_MEAN = {
    "prompt-only": {"completion", "chosen", "rejected"},
    "conversational-prompt-only": {"completion", "chosen", "rejected"},
    "implicit-preference": {"prompt"},
    "conversational-implicit-preference": {"prompt"},
}
# Marks of other trainers for "leave this turn out of the loss": OpenAI's and axolotl's, axolotl's, ms-swift's.
LOSS_KEYS = ("weight", "train", "loss")

# Names of the roles. ShareGPT's are those of its original dump, plus LLaMA-Factory's two for tools.
ROLES = ("system", "developer", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system", "human": "user", "gpt": "assistant",
    "function_call": "assistant", "observation": "tool",
}  # fmt: skip
SHAREGPT_SYNONYMS = {"user": "user", "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant"}
MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "thinking", "reasoning_content")
TURN_KEYS = ("from", "value", "name")


def format_named(name: str) -> Format:
    """The Format called `name`; spaces and underscores count as hyphens. FormatError lists the names."""
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    key = _ALIASES.get(key, key)
    if key not in FORMATS:
        raise FormatError(f"There is no format {name!r}. Choose one of: {', '.join(FORMATS)}.")
    return FORMATS[key]


# --- which format a row is in -------------------------------------------------------------------------------


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
        if spec.name in ("sharegpt", "messages") or (spec.name == "tool-calls" and calls_tools(row)):
            return spec.name
        # A copy of the prompt beside two whole conversations does not make it explicit.
        copied = spec.required == _PAIR and isinstance(row["prompt"], str) and isinstance(row["chosen"], list)
        if spec.name == "tool-calls" or copied:
            continue
        turns = any(isinstance(row[column], list) for column in spec.required if column != "label")
        name = f"conversational-{spec.name}"
        name = name if turns and name in FORMATS else spec.name
        return None if _holds_more(row, name) else name
    return None


def _holds_more(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a column that this format would pass over, and that another format knows by another name."""
    meant = _WOULD_MEAN.get(name, set()) - row.keys()
    return any(
        meant & set(OTHER_NAMES.get(str(key).lower(), ())) for key in row if key not in ("input", "output")
    )


def calls_tools(row: Mapping[str, Any]) -> bool:
    """Whether a row of messages declares, calls or answers as a tool."""
    messages = row.get("messages")
    messages = messages if isinstance(messages, list) else []
    return bool(row.get("tools")) or any(
        isinstance(m, Mapping) and (m.get("tool_calls") or m.get("role") == "tool") for m in messages
    )


def settle(names: Iterable[str | None]) -> list[str | None]:
    """The rows' formats, with plain messages counted as tool-calls where some rows call tools.

    Data with tools has conversations in which none was needed; that does not make it mixed.
    """
    names = list(names)
    tools = "tool-calls" in names
    return ["tool-calls" if tools and name == "messages" else name for name in names]


def nearest_format(row: Mapping[str, Any]) -> tuple[Format, dict[str, str], list[str]]:
    """The format that an unknown row comes closest to, {its column: the format's name for it}, and what lacks."""

    def likeness(column: str, key: str) -> float:
        if key == column or column in OTHER_NAMES.get(key.lower(), ()):
            return 1.0
        return SequenceMatcher(None, column, key.lower()).ratio()

    keys = [str(key) for key in row][:50]
    found: list[tuple[float, Format, dict[str, str], list[str]]] = []
    for spec in FORMATS.values():
        if spec.conversational != (spec.name in ("sharegpt", "messages")) or spec.name == "tool-calls":
            continue
        renamed, missing, score = {}, [], 0.0
        for column in spec.required:
            closeness, key = max(
                ((likeness(column, k), k) for k in keys), key=lambda one: one[0], default=(0, "")
            )
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
        if isinstance(row, list) and row and all(isinstance(one, Mapping) for one in row):
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
        return "These are tokens already, and the formats are about text; course_utils.audit_batch looks at tokens."
    answers = _json_or(row.get("answers", row.get("answer")))
    calls = isinstance(answers, list) and [isinstance(one, Mapping) and "arguments" in one for one in answers]
    if calls and all(calls):
        return (
            "The answers are calls of tools. Wrap them: {'messages': [{'role': 'user', 'content': query}, {'role': "
            "'assistant', 'tool_calls': [{'type': 'function', 'function': answer}]}], 'tools': …}."
        )
    return None


# --- whether the values have the types that the format takes -------------------------------------------------


def type_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    """What keeps this row from being read as `spec`: values of a wrong type, turns without role or content."""
    for column in spec.required:
        value = row.get(column)
        known = {"format": spec.name, "type": type_name(value)}
        if column not in row:
            yield flaw("column missing", column, **known)
        elif column in spec.turn_columns and other_coat(value, spec):
            yield _other_coat_flaw(column, spec)
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
            raise FormatError(
                f"Row {number}: {found.detail} {found.what_to_do} validate(rows) lists every such row."
            )


def turn_keys(name: str) -> tuple[str, str]:
    """What a turn of the format of this name calls its speaker and its text."""
    return ("from", "value") if name == "sharegpt" else ("role", "content")


def _other(name: str) -> str:
    """The format whose turns have the other two keys."""
    return "messages" if name == "sharegpt" else "sharegpt"


def other_coat(turns: Any, spec: Format) -> bool:
    """Whether these turns have the other layout's keys: from and value in messages, role and content in ShareGPT."""
    own, other = set(turn_keys(spec.name)), turn_keys(_other(spec.name))[0]
    is_list = isinstance(turns, list) and bool(turns)
    return is_list and all(isinstance(t, Mapping) and other in t and not own & t.keys() for t in turns)


def _other_coat_flaw(column: str, spec: Format) -> Flaw:
    own, other = turn_keys(spec.name), turn_keys(_other(spec.name))
    right = {"conversations": "messages", "messages": "conversations"}.get(column)
    name = "other column" if right else "other keys"
    field = f"{column}[0].{own[0]}"
    return flaw(name, field, column=column, format=spec.name, own=own, other=other, right=right)


def _turn_list_flaws(column: str, turns: Any, spec: Format) -> Iterator[Flaw]:
    role, text = turn_keys(spec.name)
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
            other = turn_keys(_other(spec.name))[0]
            todo = f"Name who speaks in {role!r}."
            if other in turn:
                whose = "ShareGPT's" if other == "from" else "those of messages"
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
        elif not isinstance(_json_or(function.get("arguments")), Mapping):
            yield flaw("arguments", f"{field}[{i}].function.arguments")


def same_key(row: Any) -> str:
    """A value as one string that is the same for equal values; null counts as absent, as does an empty input."""
    try:
        return json.dumps(_without_nulls(row), sort_keys=True, default=repr)
    except (TypeError, ValueError, RecursionError):
        return f"{type(row).__name__} {id(row)}"


def _json_or(value: Any) -> Any:
    found = from_json(value) if isinstance(value, str) else None
    return value if found is None else found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    # JSON written into a string is the same whatever its white space, and whether or not it was decoded.
    value = {k: _json_or(v) if k in ("arguments", "value", "tools") else v for k, v in value.items()}
    idle = ("input", "content") if value.get("tool_calls") else ("input",)
    return {k: _without_nulls(v) for k, v in value.items() if v is not None and not (v == "" and k in idle)}
