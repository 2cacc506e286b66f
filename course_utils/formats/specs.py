"""The formats that fine-tuning data comes in: their columns, and which of them a row is written in.

The names and columns follow TRL's dataset types (huggingface.co/docs/trl, *Dataset formats and types*); Alpaca
and ShareGPT are the two older layouts that TRL does not take as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, NamedTuple

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

_ALIASES = {
    "raw-text": "text", "chatml": "messages", "openai": "messages", "chat": "messages", "dpo": "preference",
    "kto": "unpaired-preference", "tools": "tool-calls", "tool-calling": "tool-calls",
    "explicit-preference": "preference",
}  # fmt: skip

# What other data sets call these columns: never read as them, but known when it comes to advice.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("question", "query", "problem", "human", "user"), ("prompt",)),
    **dict.fromkeys(("answer", "answers", "response", "responses", "reply", "solution", "target", "assistant", "bot",
                     "gpt", "generation"), ("completion", "output")),
    "output": ("completion",), "outputs": ("output", "completion"), "input": ("prompt",), "inputs": ("prompt",),
    "context": ("input",), "instructions": ("instruction",), "content": ("text",), "document": ("text",),
    **dict.fromkeys(("conversation", "dialog", "dialogue", "chat", "turns"), ("messages",)),
    **dict.fromkeys(("choosen", "chosen_response", "response_j", "preferred", "accepted", "win"), ("chosen",)),
    **dict.fromkeys(("reject", "rejected_response", "response_k", "dispreferred", "lose"), ("rejected",)),
}  # fmt: skip
# Of a format that a row falls back on, what further columns would mean under a known other name.
_WOULD_MEAN = {
    "prompt-only": {"completion", "chosen", "rejected"},
    "conversational-prompt-only": {"completion", "chosen", "rejected"},
    "implicit-preference": {"prompt"},
    "conversational-implicit-preference": {"prompt"},
}
LOSS_KEYS = (
    "weight",
    "train",
    "loss",
)  # a turn that is not to be learned: OpenAI and axolotl, axolotl, ms-swift

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
        if spec.name == "tool-calls" and not calls_tools(row):
            continue
        if spec.name in ("sharegpt", "tool-calls", "messages"):
            return spec.name
        if spec.required == _PAIR and isinstance(row["prompt"], str) and isinstance(row["chosen"], list):
            continue  # a copy of the prompt beside two whole conversations: its prompt is implicit
        with_turns = any(isinstance(row[column], list) for column in spec.required if column != "label")
        with_turns = with_turns and f"conversational-{spec.name}" in FORMATS
        name = f"conversational-{spec.name}" if with_turns else spec.name
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
    if "tool-calls" in names:
        return ["tool-calls" if name == "messages" else name for name in names]
    return names


def nearest_format(row: Mapping[str, Any]) -> tuple[Format, dict[str, str], list[str]]:
    """The format that an unknown row comes closest to, {its column: the format's name for it}, and what lacks."""

    def likeness(column: str, key: str) -> float:
        if key == column or column in OTHER_NAMES.get(key.lower(), ()):
            return 1.0
        return SequenceMatcher(None, column, key.lower()).ratio()

    keys = [str(key) for key in row][:50]
    best: tuple[float, Format, dict[str, str], list[str]] | None = None
    for spec in FORMATS.values():
        if spec.conversational != (spec.name in ("sharegpt", "messages")) or spec.name == "tool-calls":
            continue
        renamed, missing, score = {}, [], 0.0
        for column in spec.required:
            key = max(keys, key=lambda k, column=column: likeness(column, k), default="")
            closeness = likeness(column, key) if key else 0.0
            if closeness < 0.75 or key in renamed:
                missing.append(column)
            else:
                renamed[key] = column
                score += closeness
        score = (score - 0.5 * len(missing)) / len(spec.required) + 0.01 * len(renamed)
        if best is None or score > best[0]:
            best = (score, spec, {k: c for k, c in renamed.items() if k != c}, missing)
    return best[1:]


def unknown_format(row: Any) -> tuple[str, str]:
    """What is wrong with a row in no known format, and what to do about it, as two sentences."""
    if not isinstance(row, Mapping):
        todo = "Write each row as {…} with the columns of one format."
        if isinstance(row, list) and row and all(isinstance(one, Mapping) for one in row):
            column = "conversations" if "from" in row[0] else "messages"
            todo = f"A conversation is a row once it stands under a name: {{'{column}': […]}}."
        return f"is {_a_type(row)}, where an object with named columns was expected", todo
    keys = ", ".join(repr(str(key)) for key in list(row)[:8]) + (", …" if len(row) > 8 else "")
    special = _known_otherwise(row)
    if special:
        return f"has the keys {keys}, which are no known format's", special
    spec, renamed, missing = nearest_format(row)
    what = f"has the keys {keys}, which are no known format's" if keys else "is empty"
    if len(missing) == len(spec.required):
        return what, "No format is near it. The simplest is {'text': …}; formats.table() lists them all."
    steps = [f"rename {old!r} to {new!r}" for old, new in renamed.items()]
    steps += [f"add {column!r}" for column in missing]
    advice = f"The nearest format is {spec.name} ({', '.join(spec.required)})"
    advice = f"{advice}: {' and '.join(steps)}." if steps else f"{advice}."
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
        return (
            "These are tokens already, and the formats are about text; batches.audit_batch looks at tokens."
        )
    answers = row.get("answers", row.get("answer"))
    answers = from_json(answers) if isinstance(answers, str) else answers
    if (
        isinstance(answers, list)
        and answers
        and all(isinstance(a, Mapping) and "arguments" in a for a in answers)
    ):
        return (
            "The answers are calls of tools. Wrap them: {'messages': [{'role': 'user', 'content': query}, {'role': "
            "'assistant', 'tool_calls': [{'type': 'function', 'function': answer}]}], 'tools': …}."
        )
    return None


def _a_type(value: Any) -> str:
    names = {
        type(None): "null", str: "a string", bool: "true or false", int: "a number", float: "a number",
        list: "a list", dict: "an object",
    }  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")


# --- whether the values have the types that the format takes -------------------------------------------------


class Flaw(NamedTuple):
    """Something wrong in one field of one row: which field, what kind, what exactly, what to do."""

    field: str
    problem: str
    detail: str
    what_to_do: str


_FILL = "Fill it in."


def type_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    """What keeps this row from being read as `spec`: values of a wrong type, turns without role or content."""
    for column in spec.required:
        value = row.get(column)
        if column not in row:
            yield Flaw(column, "missing key", f"{spec.name} needs the column {column!r}.", _FILL)
        elif spec.conversational and column != "label" and other_coat(value, spec):
            yield _other_coat_flaw(column, spec)
        elif value is None:
            yield Flaw(column, "null content", f"{column} is null.", _FILL)
        elif column == "label":
            if not isinstance(value, bool):
                detail = f"label is {_a_type(value)}, not true or false."
                yield Flaw(column, "wrong type", detail, "Write true for a good completion, false for a bad.")
        elif spec.conversational:
            yield from _turn_list_flaws(column, value, spec)
        elif not isinstance(value, str):
            detail = f"{column} is {_a_type(value)}, where {spec.name} has a string."
            yield Flaw(column, "wrong type", detail, "Write text, or use the conversational form throughout.")
    for column in spec.optional:
        value = row.get(column)
        wanted = {"tools": list, "prompt": (str, list), "id": object}.get(column, str)
        if value is not None and not isinstance(value, wanted):
            detail = f"{column} is {_a_type(value)}."
            todo = "tools is a list of JSON schemas." if column == "tools" else "Write text, or leave it out."
            yield Flaw(column, "wrong type", detail, todo)


def other_coat(turns: Any, spec: Format) -> bool:
    """Whether these turns have the other layout's keys: from and value in messages, role and content in ShareGPT."""
    own, other = (("from", "value"), ("role", "content"))[:: 1 if spec.name == "sharegpt" else -1]
    return (
        isinstance(turns, list)
        and bool(turns)
        and all(isinstance(t, Mapping) and other[0] in t and not set(own) & t.keys() for t in turns)
    )


def _other_coat_flaw(column: str, spec: Format) -> Flaw:
    own, other = turn_keys(spec), turn_keys(FORMATS["messages" if spec.name == "sharegpt" else "sharegpt"])
    detail = (
        f"The turns of {column} have {other[0]!r} and {other[1]!r}, "
        f"where {spec.name} has {own[0]!r} and {own[1]!r}."
    )
    todo = f"Rename {other[0]!r} to {own[0]!r} and {other[1]!r} to {own[1]!r}."
    if column in ("conversations", "messages"):
        right = "messages" if column == "conversations" else "conversations"
        todo = f"Rename the column {column!r} to {right!r}, whose turns have these keys."
    return Flaw(f"{column}[0].{own[0]}", "missing key", detail, todo)


def _turn_list_flaws(column: str, turns: Any, spec: Format) -> Iterator[Flaw]:
    role_key, text_key = turn_keys(spec)
    if not isinstance(turns, list):
        detail = f"{column} is {_a_type(turns)}, where {spec.name} has a list of turns."
        todo = f'Write [{{"{role_key}": …, "{text_key}": …}}, …].'
        if isinstance(turns, str) and turns.lstrip().startswith("["):
            todo += " (The text looks like a list printed into one cell; JSON Lines keeps lists as they are.)"
        yield Flaw(column, "wrong type", detail, todo)
        return
    if not turns:
        yield Flaw(column, "missing turns", f"{column} is an empty list.", _FILL)
    for i, turn in enumerate(turns):
        field = f"{column}[{i}]"
        if not isinstance(turn, Mapping):
            todo = f'Write {{"{role_key}": …, "{text_key}": …}}.'
            yield Flaw(field, "wrong type", f"{field} is {_a_type(turn)}, not a turn.", todo)
            continue
        role = turn.get(role_key)
        if not isinstance(role, str):
            swapped = {"role": "from", "from": "role"}[role_key]
            todo = f"Name who speaks in {role_key!r}."
            if swapped in turn:
                other = "ShareGPT's" if swapped == "from" else "those of messages"
                todo = f"Its keys are {other}; {spec.name} writes {role_key!r} and {text_key!r}."
            detail = (
                f"{field} has no {role_key!r}." if role is None else f"{field}.{role_key} is {_a_type(role)}."
            )
            yield Flaw(f"{field}.{role_key}", "missing key" if role is None else "wrong type", detail, todo)
        yield from _content_flaws(field, turn, text_key)


def _content_flaws(field: str, turn: Mapping[str, Any], text_key: str) -> Iterator[Flaw]:
    calls = turn.get("tool_calls")
    if calls:
        yield from _call_flaws(f"{field}.tool_calls", calls)
    content = turn.get(text_key)
    if isinstance(content, str) or (content is None and calls):
        return
    name = f"{field}.{text_key}"
    if text_key not in turn:
        other = next(
            (k for k in ("text", "value", "content", "message") if isinstance(turn.get(k), str)), None
        )
        todo = f"Rename {other!r} to {text_key!r}." if other else _FILL
        yield Flaw(name, "missing key", f"{field} has no {text_key!r}.", todo)
    elif content is None:
        yield Flaw(name, "null content", f"{name} is null.", _FILL)
    else:
        todo = "Write text. Lists of parts (text and images) are for vision models; join their texts."
        yield Flaw(name, "wrong type", f"{name} is {_a_type(content)}, not a string.", todo)


def _call_flaws(field: str, calls: Any) -> Iterator[Flaw]:
    todo = 'Write [{"type": "function", "function": {"name": …, "arguments": {…}}}].'
    if not isinstance(calls, list) or not calls:
        yield Flaw(field, "wrong type", f"{field} is no list of calls.", todo)
        return
    for i, call in enumerate(calls):
        name = f"{field}[{i}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            yield Flaw(name, "wrong type", f"{name} names no function.", todo)
            continue
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            arguments = from_json(arguments)
        if not isinstance(arguments, Mapping):
            detail = f"{name}.function.arguments is not a JSON object."
            yield Flaw(
                f"{name}.function.arguments", "wrong type", detail, 'Write {"name of argument": value}.'
            )


def turn_keys(spec: Format) -> tuple[str, str]:
    """What a turn of this format calls its speaker and its text."""
    return ("from", "value") if spec.name == "sharegpt" else ("role", "content")


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
